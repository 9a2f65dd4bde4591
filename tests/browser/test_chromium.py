"""The browser that other tests look through: it renders, and what it should tell it tells."""

import subprocess
import sys

import chromium
import pytest

PAGE = """<!doctype html><title>A page</title><h1>before</h1>
<script>document.querySelector("h1").textContent = "after"</script>{more}"""


@pytest.mark.parametrize(
    ("address", "outside"),
    [
        ("data:image/gif;base64,x", False),
        ("file:///a/page.html", False),
        ("blob:http://127.0.0.1/a", False),
        ("http://127.0.0.1:5000/a", False),
        ("https://example.org", True),
        ("wss://example.org/live", True),
    ],
)
def test_what_is_outside(address, outside):
    assert chromium.is_outside(address) == outside


@pytest.fixture
def page(tmp_path):
    def write(more=""):
        (tmp_path / "a page.html").write_text(PAGE.format(more=more))
        return tmp_path / "a page.html"

    return write


def test_scripts_run_and_nothing_is_said_of_a_sound_page(opened, page):
    with opened(page("<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>")) as seen:
        assert seen.page.title() == "A page"
        assert seen.page.inner_text("h1") == "after"
    assert (seen.errors, seen.thrown, seen.outside) == ([], [], [])


def test_errors_and_requests_to_others_are_told(opened, page):
    wrong = "<script>console.error('said'); fetch('http://example.org/asked').catch(() => 0); nothing.there</script>"
    with opened(page(wrong)) as seen:
        seen.page.wait_for_load_state("networkidle")
    assert seen.thrown == ["nothing is not defined"]
    assert {"said", "nothing is not defined"} <= set(seen.errors)
    assert seen.outside == ["http://example.org/asked"]


def test_pages_share_nothing_and_have_the_options_of_their_own(opened, page):
    with opened(page(), viewport={"width": 500, "height": 400}) as narrow, opened(page(), color_scheme="dark") as dark:
        narrow.page.evaluate("localStorage.setItem('kept', 'yes')")
        assert narrow.page.evaluate("innerWidth") == 500
        assert dark.page.evaluate("localStorage.getItem('kept')") is None
        assert dark.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")


@pytest.mark.parametrize(("required", "outcome"), [("", "1 skipped"), ("required", "1 error")])
def test_without_a_browser_tests_are_skipped_or_fail_where_it_is_required(tmp_path, page, monkeypatch, required, outcome):
    (tmp_path / "test_it.py").write_text("def test_it(opened):\n    pass\n")
    environment = {"PATH": str(tmp_path), "LAB_BROWSER": required, "PYTHONPATH": chromium.__file__.rpartition("/")[0]}
    command = [sys.executable, "-m", "pytest", "-q", "-rsE", "-p", "chromium", "-p", "no:cacheprovider", "--rootdir", ".", "."]
    ran = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert outcome in ran.stdout, ran.stdout + ran.stderr
    assert "no browser in PATH" in ran.stdout
