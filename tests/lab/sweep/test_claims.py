"""Each piece of work is one worker's, and goes to another when that one is gone."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter

import pytest

from lab.sweep import claims as module
from lab.sweep.claims import Claims
from lab.sweep.storage import open_storage


class Machine:
    """Claims as made on a machine of its own: another system, with folders of its own, and the same storage."""

    def __init__(self, name, home, monkeypatch, **times):
        self.name, self.monkeypatch = name, monkeypatch
        self.claims = Claims(open_storage(home, None), "s", home / name, **times)

    def of(self, key):
        self.monkeypatch.setattr(module, "_boot", lambda: self.name)
        return self.claims.of(key)


def _claims(home):
    return Claims(open_storage(home, None), "s", home)


def test_work_that_is_done_is_done_for_all(tmp_path):
    one, other = _claims(tmp_path), _claims(tmp_path)
    with one.of("a") as claim:
        assert claim.times == 0
        with other.of("a") as none:
            assert none is None
        with other.of("b") as another:
            assert another is not None
        claim.done()
    with other.of("a") as none:
        assert none is None
    assert other.left(["a", "b"]) == ["b"]


def test_work_that_failed_is_free_again(tmp_path):
    one, other = _claims(tmp_path), _claims(tmp_path)
    with pytest.raises(ZeroDivisionError), one.of("a"):
        raise ZeroDivisionError
    with other.of("a") as claim:
        assert claim.times == 1
        claim.done()
    assert one.left(["a"]) == []


def test_a_killed_worker_on_this_machine_is_followed_at_once(tmp_path):
    began = tmp_path / "began"
    child = os.fork()
    if not child:
        with _claims(tmp_path).of("a"):
            began.touch()
            time.sleep(60)
    while not began.exists():
        time.sleep(0.01)
    with _claims(tmp_path).of("a") as none:
        assert none is None
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with _claims(tmp_path).of("a") as claim:
        assert claim.times == 1


def test_one_killed_while_it_took_work_up_leaves_no_claim_open(tmp_path):
    """It has made its own claim, and not ended the one before: whoever comes next ends both."""
    one = _claims(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "told", lambda *_: None)  # both killed: what they would have said is not said
        for _ in range(2):
            with _claims(tmp_path).of("a") as claim:
                assert claim is not None
    with one.of("a") as claim:
        assert claim.times == 2
        claim.done()
    states = [trial.state.name for trial in one.study.get_trials()]
    assert states == ["FAIL", "FAIL", "COMPLETE"]


def test_one_killed_after_another_was_faster_leaves_no_claim_open(tmp_path):
    one = _claims(tmp_path)
    with one.of("a") as claim:
        lock = one.study.get_trials()[0].user_attrs["lock"]
        with one.storage.born_with(key="a", after=module.FIRST, worker="gone", devices="all", lock=lock):
            one.study.ask()  # its maker is killed before it finds that another was faster
        claim.done()
    with one.of("a") as none:
        assert none is None
    assert [trial.state.name for trial in one.study.get_trials()] == ["COMPLETE", "FAIL"]


def test_a_worker_elsewhere_keeps_its_work_for_as_long_as_it_is_heard_of(tmp_path, monkeypatch):
    here = Machine("here", tmp_path, monkeypatch, beat=0.05, grace=0.4)
    there = Machine("there", tmp_path, monkeypatch, beat=0.05, grace=0.4)
    with here.of("a"):
        until = time.monotonic() + 1
        while time.monotonic() < until:
            with there.of("a") as none:
                assert none is None
            time.sleep(0.02)


def test_a_worker_elsewhere_that_falls_silent_is_followed_and_its_own_end_counts_no_more(tmp_path, monkeypatch):
    here = Machine("here", tmp_path, monkeypatch, beat=60, grace=0.3)
    there = Machine("there", tmp_path, monkeypatch, beat=60, grace=0.3)
    with here.of("a") as silent:
        with there.of("a") as none:
            assert none is None  # heard of for the first time
        time.sleep(0.5)
        with there.of("a") as claim:
            assert claim.times == 1
            silent.done()
            assert there.claims.left(["a"]) == ["a"]
            claim.done()
    assert here.claims.left(["a"]) == []


def test_silence_while_the_storage_was_away_is_no_sign(tmp_path, monkeypatch):
    here = Machine("here", tmp_path, monkeypatch, beat=60, grace=0.3)
    there = Machine("there", tmp_path, monkeypatch, beat=60, grace=0.3)
    with here.of("a"):
        with there.of("a"):
            pass
        time.sleep(0.5)
        there.claims.storage.answering_since = time.monotonic()
        with there.of("a") as none:
            assert none is None


def test_of_many_machines_that_want_the_same_one_has_it(tmp_path):
    one_has_it(None, tmp_path)


def one_has_it(url, home):
    """Six workers want the same twelve pieces of work, each with a folder of its own, so that no lock of the system decides."""
    keys = [f"k{number}" for number in range(12)]
    children = []
    for name in range(6):
        if not (child := os.fork()):
            status = 1
            try:
                module._boot = lambda name=name: f"machine-{name}"
                _try_all(Claims(open_storage(home, url), "s", home / str(name)), keys, home / "did")
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
    assert Counter((home / "did").read_text().split()) == dict.fromkeys(keys, 1)


def _try_all(claims, keys, did):
    for key in keys:
        with claims.of(key) as claim:
            if claim:
                with did.open("a") as file:
                    file.write(f"{key}\n")
                claim.done()
