"""A study's report in the store: one run, as the report is now."""

import socket
import time
from pathlib import Path

import pytest

from lab.tracking import publish, publish_study
from lab.tracking.studies import CONTENT, Study

NOTE = "**Claim.** Replay forgets less.\n\n**Verdict: supported.**"


@pytest.fixture
def report(tmp_path):
    folder = tmp_path / "studies" / "replay"
    (folder / "figures").mkdir(parents=True)
    (folder / "report.html").write_text("<h1>Replay</h1>")
    (folder / "figures" / "ranks.svg").write_text("<svg/>")
    (folder / ".hidden").write_text("a lock")
    return folder


@pytest.fixture
def send(report, settings):
    def now(note=NOTE, tags=None, metrics=None, **changed):
        given = tags or {"verdict": "supported"}, metrics or {"p": 0.002}
        return publish_study("replay", note, report, settings | changed, *given)

    return now


def studies(client, settings):
    experiment = client.get_experiment_by_name(settings["experiment"])
    return client.search_runs([experiment.experiment_id], "tags.`lab.kind` = 'study'")


def files(client, run, folder=None):
    found = client.list_artifacts(run.info.run_id, folder)
    return sorted(path for f in found for path in (files(client, run, f.path) if f.is_dir else [f.path]))


def test_it_is_one_run_with_all_files_and_the_experiment_s_description(send, settings, client):
    assert send(tags={"verdict": "supported", "family": None}) is None
    (run,) = studies(client, settings)
    assert run.info.run_name == "study: replay"
    assert run.info.status == "FINISHED"
    assert files(client, run) == ["figures/ranks.svg", "report.html"]
    assert run.data.tags["mlflow.note.content"] == NOTE
    assert (run.data.tags["verdict"], run.data.metrics) == ("supported", {"p": 0.002})
    assert "family" not in run.data.tags
    described = client.get_experiment(run.info.experiment_id).tags["mlflow.note.content"]
    assert described.startswith(NOTE)
    assert "One row is a cell" in described


def test_the_same_is_not_sent_again_and_what_changed_takes_its_place(send, report, settings, client, tmp_path, monkeypatch):
    send()
    filled = []
    with monkeypatch.context() as patch:
        patch.setattr(Study, "_fill", lambda *arguments: filled.append(arguments))
        assert send() is None
    assert not filled
    (report / "figures" / "ranks.svg").unlink()
    (report / "report.html").write_text("<h1>Replay, second look</h1>")
    (report / "table.csv").write_text("a,b")
    assert send("**Verdict: undecided.**", {"verdict": "undecided"}, {"p": 0.2}) is None
    (run,) = studies(client, settings)
    assert files(client, run) == ["report.html", "table.csv"]
    assert "second look" in Path(client.download_artifacts(run.info.run_id, "report.html", str(tmp_path))).read_text()
    assert (run.data.tags["verdict"], run.data.metrics["p"]) == ("undecided", 0.2)
    assert client.get_experiment(run.info.experiment_id).tags["mlflow.note.content"].startswith("**Verdict: undecided.**")


def test_one_that_was_cut_off_is_made_whole_in_the_same_run(send, settings, client, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Study, "_remove_others", killed)
        with pytest.raises(KeyboardInterrupt):
            send()
    (begun,) = studies(client, settings)
    assert begun.data.tags[CONTENT] == ""
    assert send() is None
    (run,) = studies(client, settings)
    assert run.info.run_id == begun.info.run_id
    assert run.info.status == "FINISHED"


def test_what_a_user_deleted_stays_deleted_until_there_is_another(send, settings, client):
    send()
    client.delete_run(studies(client, settings)[0].info.run_id)
    assert send() is None
    assert studies(client, settings) == []
    assert send("another") is None
    assert [run.data.tags["mlflow.note.content"] for run in studies(client, settings)] == ["another"]


def test_it_lies_beside_the_cells(send, make_run, settings, client):
    publish(make_run(members=2, points=0), settings)
    send()
    runs = client.search_runs([studies(client, settings)[0].info.experiment_id])
    assert sorted(run.data.tags["lab.kind"] for run in runs) == ["cell", "member", "member", "study"]


def test_a_store_that_is_away_costs_its_timeout_and_a_sentence(send, report):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        warning = send(uri=f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=1)
        assert time.monotonic() - began < 4
    assert f"did not answer within 1 s; the report is in {report}, and sent with the next `lab study replay`" in warning


def test_a_folder_that_is_not_there_is_a_sentence(send, report, settings):
    warning = publish_study("none", NOTE, report / "none", settings, {}, {})
    assert "there is no folder" in warning
