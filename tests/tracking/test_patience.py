"""Silent jobs are left, lively ones are not."""

import threading
import time

import pytest

from lab.tracking.outbox import alone
from lab.tracking.patience import Patience, Unanswered


def test_a_job_that_shows_signs_of_life_may_take_longer_than_the_patience():
    patience = Patience(0.3)

    def job():
        for _ in range(10):
            time.sleep(0.05)
            patience.alive()
        return "done"

    assert patience.watch(job) == "done"


def test_a_silent_job_is_left_and_stops_at_its_next_sign_of_life():
    patience, stopped, let_go = Patience(0.1), threading.Event(), threading.Event()

    def job():
        let_go.wait(10)
        try:
            patience.alive()
        except Unanswered:
            stopped.set()
            raise

    began = time.monotonic()
    with pytest.raises(Unanswered, match=r"did not answer within 0\.1 s"):
        patience.watch(job)
    assert time.monotonic() - began < 2
    let_go.set()
    assert stopped.wait(10)


def test_the_exception_of_a_job_comes_out():
    def job():
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        Patience(5).watch(job)


def test_a_held_lock_is_waited_for_and_not_for_ever(tmp_path):
    with alone(tmp_path / "lock", Patience(5)):
        patience = Patience(0.2)

        def job():
            with alone(tmp_path / "lock", patience):
                pytest.fail("two hold the lock")

        with pytest.raises(Unanswered):
            patience.watch(job)
    with alone(tmp_path / "lock", Patience(5)):
        pass
