"""The page in a real browser: charts drawn, nothing asked for, switches that switch, keyboard, print, no script, a sandbox."""

import pytest

from .pages import EVIL, STUDY, evil_page, page_of_all, page_of_one

PRINTED = {"width": 687, "height": 970}
"""A4 without its margins, in CSS pixels."""


@pytest.fixture(scope="module")
def study(found, tmp_path_factory):
    return page_of_all(tmp_path_factory.mktemp("page") / "report.html", found, STUDY)


@pytest.fixture(scope="module")
def run(found, tmp_path_factory):
    return page_of_one(tmp_path_factory.mktemp("page") / "report.html", found[0])


@pytest.fixture
def seen(opened, study):
    with opened(study, viewport={"width": 1280, "height": 900}) as seen:
        ready(seen.page)
        yield seen
    assert seen.errors == []
    assert seen.outside == []


def ready(page):
    page.wait_for_selector("html.scripted[data-ready]", timeout=20_000)


def lines(page, number):
    """The lines drawn in a chart, each in a colour of its own."""
    return page.locator(f"#chart-{number} .mark-line path").count()


def visible(page, selector):
    return page.locator(f":is({selector}):visible").count()


def too_wide(page):
    """Elements that stick out to the right, but for those within something that scrolls."""
    return page.evaluate(
        """() => [...document.querySelectorAll("body *")]
            .filter((e) => !e.parentElement.closest(".scroll, .switches, .unseen, svg") && !e.matches(".unseen, .skip"))
            .filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 120))"""
    )


def test_charts_are_drawn(seen):
    page = seen.page
    assert page.locator(".chart svg").count() == page.locator(".chart").count() == 9
    assert [lines(page, number) for number in (2, 3)] == [3, 2]  # joint has no forgetting
    assert page.locator("#chart-0 .mark-symbol path").count() == 2 * (4 + 1)  # each seed and the mean, against naive
    assert page.locator("#chart-6 .mark-rect path").count() > 9
    assert visible(page, ".still") == 0
    assert too_wide(page) == []


def test_a_switch_hides_a_cell_everywhere(seen):
    page = seen.page
    assert visible(page, '[data-series="er"]') > 3
    page.uncheck('input[value="er"]')
    page.wait_for_function("document.querySelectorAll('#chart-2 .mark-line path').length === 2")
    assert lines(page, 3) == 1
    assert page.locator("#chart-0 .mark-symbol path").count() == 5
    assert visible(page, '[data-series="er"]') == 0
    assert visible(page, 'tr[data-series="naive"]') > 3
    assert page.inner_text("[role=status]") == "2 of 3 shown"
    page.click(".switches button")
    page.wait_for_function("document.querySelectorAll('#chart-2 .mark-line path').length === 3")
    assert visible(page, '[data-series="er"]') > 3
    widths = page.evaluate("[...document.querySelectorAll('.chart svg')].map((e) => e.clientWidth)")
    assert min(widths) > 200


def test_the_keyboard_is_enough(seen, found):
    page = seen.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.value") == found[0].name
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Space")
    page.wait_for_function("document.querySelectorAll('#chart-2 .mark-line path').length === 2")
    for _ in range(4):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "region"  # tables scroll by keyboard


def test_hovering_shows_the_nearest_value(seen):
    page = seen.page
    page.locator("#chart-2").hover(position={"x": 500, "y": 100})
    page.wait_for_selector("#vg-tooltip-element.visible")
    words = page.inner_text("#vg-tooltip-element")
    assert words.split()[0] in ("naive", "er", "joint")
    assert "95 % interval" in words
    assert "undefined" not in words
    assert words.index("training steps") < words.index("seeds")


@pytest.mark.parametrize("switched", [False, True])
def test_print_has_figures_and_all_cells_on_the_page(opened, study, switched):
    with opened(study, viewport=PRINTED) as seen:
        ready(seen.page)
        if switched:
            seen.page.uncheck('input[value="er"]')
        seen.page.emulate_media(media="print")
        assert visible(seen.page, ".switches, .chart, .skip") == 0
        assert visible(seen.page, ".still") == 7
        assert visible(seen.page, 'tr[data-series="er"]') > 3
        assert too_wide(seen.page) == []
        assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert seen.page.evaluate("[...document.querySelectorAll('.scroll')].every((e) => e.scrollWidth <= innerWidth)")


def test_without_script_there_are_figures(opened, study):
    with opened(study, java_script_enabled=False) as seen:
        assert visible(seen.page, ".still") == 7
        assert visible(seen.page, ".switches, .chart") == 0
        assert visible(seen.page, "table") > 3


def test_where_the_library_fails_there_are_figures(opened, study, tmp_path):
    broken = tmp_path / "broken.html"
    broken.write_text(study.read_text().replace("window.vegaEmbed=", "window.nothing="))
    with opened(broken) as seen:
        seen.page.wait_for_selector("html:not(.scripted)", state="attached")
        assert visible(seen.page, ".still") == 7
        assert visible(seen.page, ".switches, .chart") == 0


@pytest.mark.parametrize(
    "policy", ["", "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"]
)
def test_it_shows_in_a_sandbox(opened, study, tmp_path, policy):
    """As in the viewer of artifacts; and where evaluating text as code is forbidden too."""
    text = study.read_text().replace(
        "<head>", f'<head><meta http-equiv="Content-Security-Policy" content="{policy}">' * bool(policy), 1
    )
    (tmp_path / "inner.html").write_text(text if policy else study.read_text())
    (tmp_path / "outer.html").write_text('<iframe sandbox="allow-scripts" src="inner.html" width=900 height=900></iframe>')
    with opened(tmp_path / "outer.html") as seen:
        frame = seen.page.frame_locator("iframe")
        frame.locator("html.scripted[data-ready]").wait_for(timeout=20_000)
        assert frame.locator("#chart-2 .mark-line path").count() == 3
        frame.locator('input[value="er"]').uncheck()
        frame.locator('figure.off[data-series="er"]').first.wait_for(state="attached")
        assert frame.locator("#chart-3 .mark-line path").count() == 1
    assert seen.errors == []
    assert seen.outside == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_the_paper(opened, study, scheme):
    with opened(study, color_scheme=scheme) as seen:
        ready(seen.page)
        paper = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (luminance(paper) < 0.1) == (scheme == "dark")
        for selector in ("h1", ".kind", ".note", "figcaption", "summary", ".verdict .word", "thead th"):
            ink = seen.page.evaluate("(s) => getComputedStyle(document.querySelector(s)).color", selector)
            assert contrast(ink, paper) >= 4.5, selector
        label = seen.page.evaluate("document.querySelector('#chart-2 .role-axis-label text').getAttribute('fill')")
        assert contrast(label, paper) >= 4.5
        seen.page.emulate_media(color_scheme="dark" if scheme == "light" else "light")
        seen.page.wait_for_function(
            "(old) => document.querySelector('#chart-2 .role-axis-label text')?.getAttribute('fill') != old", arg=label
        )
    assert seen.errors == []


def luminance(colour):
    """WCAG's relative luminance of ``rgb(...)`` or ``#rrggbb``."""
    if colour.startswith("#"):
        parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    else:
        parts = [int(part) for part in colour[4:-1].split(",")]
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def test_a_narrow_screen_is_wide_enough(opened, study, run):
    for path in (study, run):
        with opened(path, viewport={"width": 400, "height": 800}) as seen:
            ready(seen.page)
            assert seen.page.evaluate("document.documentElement.scrollWidth") <= 400
            assert too_wide(seen.page) == []


def test_a_run_switches_its_tasks(opened, run):
    with opened(run) as seen:
        ready(seen.page)
        assert [lines(seen.page, number) for number in range(3)] == [3, 1, 1]
        seen.page.uncheck('input[value="task 2"]')
        seen.page.wait_for_function("document.querySelectorAll('#chart-0 .mark-line path').length === 2")
        assert [lines(seen.page, number) for number in range(1, 3)] == [1, 1]
        assert seen.page.locator("tr.off").count() == seen.page.locator('tr[data-series="task 2"]').count() > 3
    assert seen.errors == []
    assert seen.outside == []


def test_what_users_name_is_never_run(opened, found, tmp_path):
    with opened(evil_page(tmp_path / "evil.html", found)) as seen:
        asked = []
        seen.page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
        ready(seen.page)
        assert seen.page.inner_text("h1") == EVIL
        seen.page.locator("#chart-1").hover(position={"x": 500, "y": 100})
        seen.page.wait_for_selector("#vg-tooltip-element.visible")
        assert seen.page.inner_text("#vg-tooltip-element strong").startswith(EVIL)
        seen.page.uncheck(".switches input >> nth=0")
        seen.page.wait_for_function("document.querySelectorAll('#chart-1 .mark-line path').length === 2")
        assert asked == []
    assert seen.errors == []
    assert seen.outside == []
