"""Waiting no longer than was agreed, whatever layer below is silent: names that do not resolve, a socket, a locked file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any


class Unanswered(Exception):  # noqa: N818 - it says what happened
    """The store has been silent for too long."""


class Patience:
    """Runs jobs for as long as they show signs of life at least every ``seconds``."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._last = time.monotonic()
        self._given_up = threading.Event()

    def alive(self) -> None:
        """A sign of life from the job."""
        self.go_on()
        self._last = time.monotonic()

    def go_on(self) -> None:
        """End a job that nobody waits for any more."""
        if self._given_up.is_set():
            raise Unanswered

    def watch(self, job: Callable[[], Any]) -> Any:
        """The job's result, or its exception; it runs in a thread, since nothing else interrupts a silent call.

        Raises:
            Unanswered: ``seconds`` passed without a sign of life; the job is left behind and stops at its next.
        """
        outcome: list[Any] = []
        failure: list[BaseException] = []

        def work() -> None:
            try:
                outcome.append(job())
            except BaseException as error:
                failure.append(error)

        self.alive()
        thread = threading.Thread(target=work, name="tracking", daemon=True)
        thread.start()
        while thread.is_alive():
            left = self._last + self.seconds - time.monotonic()
            if left <= 0:
                self._given_up.set()
                raise Unanswered(f"did not answer within {self.seconds:g} s")
            thread.join(left)
        if failure:
            raise failure[0]
        return outcome[0]


def reason_of(error: Exception) -> str:
    """The first line of what a store raised, of readable length."""
    if isinstance(error, Unanswered):
        return str(error)
    chain = [error]
    while chain[-1].__cause__ or chain[-1].__context__:
        chain.append(chain[-1].__cause__ or chain[-1].__context__)
    if any(isinstance(link, (ConnectionError, TimeoutError)) for link in chain) or "Max retries exceeded" in str(error):
        return "does not answer"  # what the layers of HTTP say of it fills a page
    text = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return text if len(text) <= 300 else text[:300] + "..."
