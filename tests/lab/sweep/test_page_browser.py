"""A sweep's page in a real browser: charts drawn, arms switched on and off, on paper and without scripts."""

import pytest

from lab.sweep.page import write_page

from ..report.test_page_browser import ready, too_wide, visible
from .made import TWO, found


@pytest.fixture(scope="module")
def two():
    return found(TWO)


@pytest.fixture(scope="module")
def page(two, tmp_path_factory):
    return write_page(two, tmp_path_factory.mktemp("page") / "report.html")


@pytest.mark.parametrize("width", [1280, 390])
def test_charts_are_drawn_and_nothing_is_asked_for(opened, page, width):
    with opened(page, viewport={"width": width, "height": 900}) as seen:
        ready(seen.page)
        assert seen.page.locator(".chart svg").count() == seen.page.locator(".chart").count() > 10
        assert seen.page.locator("#chart-0 .mark-symbol path").count() == 24
        assert visible(seen.page, ".still") == 0
        assert visible(seen.page, ".picture img") == 2  # replay's contours, of each objective
        assert too_wide(seen.page) == []
    assert (seen.errors, seen.outside) == ([], [])


def test_a_switch_hides_an_arm(opened, page):
    with opened(page, viewport={"width": 1280, "height": 900}) as seen:
        ready(seen.page)
        seen.page.uncheck('input[value="er"]')
        seen.page.wait_for_function("document.querySelectorAll('#chart-0 .mark-symbol path').length === 12")
        assert visible(seen.page, '[data-series="er"]') == 0
        assert visible(seen.page, 'tr[data-series="naive"]') > 2
    assert seen.errors == []


def test_hovering_tells_a_trial_and_its_settings(opened, page):
    with opened(page, viewport={"width": 1280, "height": 2000}) as seen:
        ready(seen.page)
        seen.page.locator("#chart-0 .mark-symbol path").first.hover(force=True)
        said = seen.page.locator("#vg-tooltip-element").inner_text()
        assert "on the front" in said
        assert "optimizer.lr=" in said


def test_without_scripts_figures_stand_for_charts(browser, page):
    context = browser.new_context(java_script_enabled=False)
    try:
        seen = context.new_page()
        seen.goto(page.as_uri())
        assert visible(seen, ".chart") == 0
        assert visible(seen, ".still") > 10
    finally:
        context.close()
