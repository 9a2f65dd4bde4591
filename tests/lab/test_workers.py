"""Jobs side by side: results in order, failures reported, nobody's work thrown away."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from lab.errors import UserError
from lab.workers import WorkerError, locked, side_by_side


def test_results_come_in_order_and_steps_are_passed_on():
    seen: dict[int, int] = {}

    def job(number):
        return lambda report: (report(10 + number), number)[1]

    assert side_by_side([job(0), job(1), job(2)], seen.__setitem__, ()) == [0, 1, 2]
    assert seen == {0: 10, 1: 11, 2: 12}


def test_an_expected_failure_is_raised_here_when_the_others_are_done(tmp_path):
    def fails(report):
        raise UserError("a sentence")

    def works(report):
        (tmp_path / "done").touch()

    with pytest.raises(UserError, match="a sentence"):
        side_by_side([fails, works], lambda number, step: None, (UserError,))
    assert (tmp_path / "done").exists()


def test_an_unexpected_failure_shows_its_traceback(capfd):
    def fails(report):
        raise ZeroDivisionError("oh")

    with pytest.raises(WorkerError, match="ZeroDivisionError: oh"):
        side_by_side([fails], lambda number, step: None, (UserError,))
    assert "Traceback" in capfd.readouterr().err


def test_a_killed_worker_is_told_by_its_status():
    with pytest.raises(WorkerError, match="-9"):
        side_by_side([lambda report: os.kill(os.getpid(), 9)], lambda number, step: None, ())


def test_when_this_process_alone_is_interrupted_its_workers_end():
    """A scheduler's SIGINT reaches the command, not its process group as Ctrl-C does."""

    def interrupted(number, step):
        if step == 1:
            raise KeyboardInterrupt

    def trains(report):
        report(1)
        time.sleep(60)

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        side_by_side([trains, trains], interrupted, ())
    assert not multiprocessing.active_children()
    assert time.monotonic() - begun < 30


def test_a_folder_that_cannot_be_made_is_the_users_mistake(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"paths\.runs"), locked(Path(tmp_path / "file" / "runs")):
        pass
