"""A progress bar with the time left, or in a log file a line now and then: for eyes alone, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

EVERY = 30.0
"""Seconds between two lines where standard error is no terminal."""


class Progress:
    """Shows one run's steps, all its processes together; ``show`` off says nothing.

    ``meanwhile`` is called once when other processes are at work and this one has only to wait for them.
    """

    def __init__(self, name: str, show: bool = True, meanwhile: Callable[[], None] = lambda: None):
        self.name, self.show = name, show
        self.meanwhile: Callable[[], None] | None = meanwhile
        self._bar: Any = None

    def begin(self, total: int, processes: int) -> None:
        """A run of ``total`` steps in each of ``processes``."""
        self.done, self._first = [0] * processes, 0
        if not self.show:
            return
        from rich import progress as rich
        from rich.console import Console

        self._total, self._begun = total * processes, time.monotonic()
        self._said = self._begun
        if not sys.stderr.isatty():
            return
        percent, left = rich.TextColumn("{task.percentage:>3.0f}%"), rich.TextColumn("left")
        named = (rich.TextColumn("{task.description}"), rich.BarColumn(), percent)
        columns = (*named, rich.TimeElapsedColumn(), left, rich.TimeRemainingColumn())
        self._bar = rich.Progress(*columns, console=Console(stderr=True))
        self._task = self._bar.add_task(self.name, total=total * processes)
        self._bar.start()

    def report(self, process: int, step: int) -> None:
        """A process has come to a step."""
        if not self.done[process]:
            self._first += step  # a resumed run begins behind it: what was done before tells nothing of the time left
        self.done[process] = step
        if len(self.done) > 1 and self.meanwhile:
            self.meanwhile()
            self.meanwhile = None
        if self._bar:
            self._bar.update(self._task, completed=sum(self.done))
        elif self.show and time.monotonic() - self._said > EVERY:
            self._say(sum(self.done))

    def _say(self, done: int) -> None:
        """A line now and then for a log file, where a bar would be nothing."""
        self._said = time.monotonic()
        passed = self._said - self._begun
        gained = done - self._first
        left = f"about {_clock(passed * (self._total - done) / gained)} left" if gained else "too early to say how long"
        print(f"{self.name}: {100 * done / self._total:.0f}% in {_clock(passed)}, {left}", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"
