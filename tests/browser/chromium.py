"""Pages looked at in a real browser: the system's chromium, without a window, driven by Playwright.

A pytest plugin (`tests/conftest.py` loads it). A test asks for ``opened`` and looks at what it yields::

    def test_it_renders(opened, tmp_path):
        with opened(tmp_path / "report.html") as seen:
            assert seen.page.inner_text("h1") == "A report"
        assert seen.errors == [] and seen.outside == []

Without a browser such tests are skipped; with LAB_BROWSER=required, which `.ci/run` sets, they fail instead.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")

ARGUMENTS = (
    "--no-sandbox",  # which root cannot have, and containers do not offer
    "--disable-dev-shm-usage",  # containers have 64 MB there
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",  # nothing else is asked
)

INSIDE = ("127.0.0.1", "localhost")


@dataclass
class Seen:
    """A page, and what happened on it."""

    page: Any
    """Playwright's Page."""
    errors: list[str] = field(default_factory=list)
    """Uncaught exceptions and what was written as an error to the console."""
    thrown: list[str] = field(default_factory=list)
    """Uncaught exceptions alone: someone else's page may write errors to its console and work."""
    outside: list[str] = field(default_factory=list)
    """Addresses on other hosts that the page asked for; none is reached."""

    def attend(self) -> None:
        """Listen to the page from now on."""
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: (self.errors.append(str(error)), self.thrown.append(str(error))))
        for event in ("request", "websocket"):
            self.page.on(event, lambda asked: self.outside.append(asked.url) if is_outside(asked.url) else None)


def is_outside(address: str) -> bool:
    """Whether an address is on another machine."""
    parts = urlsplit(address)
    return bool(parts.hostname) and parts.scheme != "blob" and parts.hostname not in INSIDE


def executable() -> str | None:
    """The path of the system's browser, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def launched() -> Iterator[Any]:
    """The browser, running; all pages of it are closed in the end.

    Raises:
        LookupError: there is none.
    """
    path = executable()
    if path is None:
        raise LookupError(f"no browser in PATH (looked for {', '.join(NAMES)}): apt-get install chromium fonts-dejavu")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield started
        finally:
            started.close()


@contextmanager
def page_of(browser: Any, where: str | Path, **options: Any) -> Iterator[Seen]:
    """A page with nothing remembered from others, gone to ``where``: an address, or a file on the disk.

    Args:
        browser: what :func:`launched` yields.
        options: Playwright's for a new context, as ``viewport={"width": 1400, "height": 900}`` or ``color_scheme="dark"``.
    """
    context = browser.new_context(**options)
    try:
        seen = Seen(context.new_page())
        seen.attend()
        seen.page.goto(str(where) if "://" in str(where) else Path(where).absolute().as_uri())
        yield seen
    finally:
        context.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Playwright's Browser, one for all tests of a process."""
    try:
        with launched() as started:
            yield started
    except LookupError as error:
        (pytest.fail if os.environ.get("LAB_BROWSER") == "required" else pytest.skip)(str(error))


@pytest.fixture
def opened(browser):
    """:func:`page_of` with the browser given: ``with opened(where) as seen``."""

    def at(where: str | Path, **options: Any) -> AbstractContextManager[Seen]:
        return page_of(browser, where, **options)

    return at
