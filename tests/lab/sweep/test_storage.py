"""Where trials are kept: what a killed writer leaves in a journal is mended, and a URL that leads nowhere is told of."""

from __future__ import annotations

import errno

import optuna
import pytest

from lab.errors import UserError
from lab.sweep.storage import JOURNAL, FileLock, in_words, open_storage


def _study(storage):
    return optuna.create_study(study_name="s", storage=storage, load_if_exists=True)


def test_a_line_that_a_killed_worker_had_begun_does_not_spoil_the_journal(tmp_path):
    _study(open_storage(tmp_path, None)).ask()
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"op_code":4,"worker_')
    for _ in range(2):
        _study(open_storage(tmp_path, None)).ask()
    assert [trial.number for trial in _study(open_storage(tmp_path, None)).trials] == [0, 1, 2]


def test_a_disk_that_knows_no_locks_is_told_of(tmp_path, monkeypatch):
    def none(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    with pytest.raises(UserError, match=r"journal\.log cannot be written \(No locks available\)"):
        open_storage(tmp_path, None)


def test_a_writer_that_fails_lets_go_of_the_journal(tmp_path, monkeypatch):
    study, whole, times = _study(open_storage(tmp_path, None)), FileLock._mend, []

    def fails_once(self):
        times.append(self)
        if len(times) == 1:
            raise OSError(errno.EIO, "Input/output error")
        whole(self)

    monkeypatch.setattr(FileLock, "_mend", fails_once)
    study.ask()
    assert len(times) == 2
    assert len(study.trials) == 1


def test_an_empty_journal_is_one(tmp_path):
    assert _study(open_storage(tmp_path, None)).trials == []


def test_a_journal_that_cannot_be_written_is_the_users_mistake(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"paths\.runs"):
        open_storage(tmp_path / "file" / "home", None)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "--storage=nonsense: expected the URL of a database"),
        ("postgresql://me:secret@127.0.0.1:1/none", r"me:\*\*\*@127\.0\.0\.1:1/none: the sweep's storage does not answer"),
        ("oddbase://host/name", "oddbase://host/name: its driver is missing"),
    ],
)
def test_a_url_that_leads_nowhere_is_told_of_at_once(tmp_path, url, says):
    with pytest.raises(UserError, match=says) as told:
        open_storage(tmp_path, url)
    assert "secret" not in str(told.value)


def test_a_storage_is_named_without_its_password(tmp_path):
    assert in_words("postgresql://me:secret@host/name", tmp_path) == "postgresql+psycopg://me:***@host/name"
    assert in_words(None, tmp_path) == str(tmp_path / JOURNAL)


def test_a_database_in_a_file_serves(tmp_path):
    url = f"sqlite:///{tmp_path}/trials.db"
    _study(open_storage(tmp_path, url)).ask()
    assert len(_study(open_storage(tmp_path, url)).trials) == 1
