"""The page itself: sections of charts and tables, put into a template.

Charts are Vega-Lite's, whose scripts vl-convert bundles without a network. They are 0.9 MB of a page where plotly's would be
4.8, they draw in SVG, and they take what users named as data, never as markup or code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from lab.comparison.cells import Cell
from lab.comparison.findings import Comparison
from lab.report.page import contrasts, facts, inner, over_time, repeating, scheduled, stills
from lab.report.page.charts import Chart, Rows, colours, finished, swatches
from lab.report.page.verdict import answers, of_study
from lab.report.sheets import Sheet, sheets
from lab.report.summary import cell_name
from lab.results import write_whole
from lab.violated import SHOWN

HERE = Path(__file__).parent

WORST_OF_SEVERAL = 3
"""Of each rule, what is violated most in each of several cells."""


@dataclass(frozen=True)
class Section:
    """Charts of one kind, and the figures that stand for them where there is no script."""

    title: str
    charts: list[Chart]
    stills: list[str] = field(default_factory=list)
    grid: bool = False
    """Whether the charts are small and stand side by side."""


def write_page(
    path: Path, cells: list[Cell], comparison: Comparison | None, title: str, command: str, study: dict | None = None
) -> Path:
    """Write one HTML file with all that is to be known about the cells; its path.

    Args:
        cells: at least one. Without a comparison, or with nothing to compare, the page is that of the first as a run.
        command: what the user types to have the page again.
        study: a study's record as `docs/results` keeps it; what it lacks is left out.
    """
    several = comparison is not None and len(cells) > 1
    content = _of_comparison(cells, comparison) if several else _of_run(cells[0])
    content |= _facts(cells if several else cells[:1], comparison, several)
    content |= {"answers": []} if study else {}  # a study has a verdict, by the test that it declared
    content |= {"title": title, "command": command, "study": of_study(study, title) if study else None, "several": several}
    text = _template().render(content | _parts(content["sections"], content["names"]))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: file.write(text.encode()))
    return path


def _of_comparison(cells: list[Cell], comparison: Comparison) -> dict[str, Any]:
    """What a page on several cells has."""
    still = stills.of_comparison(cells, comparison)
    sections = [
        Section("Differences, seed by seed", contrasts.differences(comparison), still["differences"]),
        Section("Average ranks", [contrasts.ranks(found) for found in comparison.ranks], still["ranks"]),
        Section("Learning", over_time.learning(cells), still["learning"]),
        Section("Forgetting", over_time.forgetting(cells), still["forgetting"]),
        Section("Forgetting by lag", over_time.forgetting_by_lag(cells), still["forgetting_by_lag"]),
        Section("How fast tasks are learnt", over_time.learnt(cells), still["learnt"]),
        Section("Met again", contrasts.met_again(cells), still["met_again"], grid=True),
        Section("What was scheduled", scheduled.charts(cells), still["scheduled"]),
        Section("Accuracy matrices", contrasts.matrices(cells, several=True), still["matrices"], grid=True),
        Section("Violations of rules", contrasts.violations(cells, several=True), still["violations"], grid=True),
    ]
    return {
        "kind": "Comparison",
        "answers": answers(comparison),
        "names": list(dict.fromkeys(cell.name for cell in cells)),
        "sections": sections,
        "sheets": list(_sheets(comparison)),
        "by_seed": facts.by_seed(cells, comparison.metrics),
    }


def _sheets(comparison: Comparison) -> Iterator[tuple[Sheet, Rows]]:
    """Each sheet, without the notes that were made before, and its rows with the name of their series."""
    seen: set[str] = set()
    for sheet in sheets(comparison):
        yield (
            replace(sheet, notes=[note for note in sheet.notes if note not in seen]),
            [(row[0], _unbroken(row)) for row in sheet.rows],
        )
        seen.update(sheet.notes)


def _unbroken(row: list[str]) -> list[str]:
    """Cells whose intervals stay on one line."""
    return [cell.replace(", ", ",\u00a0") if cell.endswith("]") else cell for cell in row]


def _of_run(cell: Cell) -> dict[str, Any]:
    """What a page on one run has: its tasks are what can be switched."""
    still, tasks = stills.of_run(cell), over_time.by_task(cell)
    sections = [
        Section("Task by task", tasks, still["tasks"]),
        Section("Learning", over_time.learning([cell]), still["learning"]),
        Section("Forgetting", over_time.forgetting([cell]), still["forgetting"]),
        Section("Forgetting by lag", over_time.forgetting_by_lag([cell]), still["forgetting_by_lag"]),
        Section("How fast tasks are learnt", over_time.learnt([cell]), still["learnt"]),
        Section("Met again", contrasts.met_again([cell]), still["met_again"], grid=True),
        Section("What was scheduled", scheduled.charts([cell]), still["scheduled"]),
        Section("Accuracy matrix", contrasts.matrices([cell], several=False), still["matrices"], grid=True),
        Section("Violations of rules", contrasts.violations([cell], several=False), still["violations"], grid=True),
    ]
    known = [metric for metric in cell.results.metrics if metric not in cell.results.undefined]
    return {
        "kind": "Run",
        "answers": [],
        "names": list(dict.fromkeys(name for chart in tasks for name, _ in chart.rows)),
        "what": "tasks",
        "sections": sections,
        "sheets": [],
        "measures": facts.measures(cell),
        "subtitle": cell_name(cell.results.config),
        "by_seed": facts.by_seed([cell], known),
    }


def _facts(cells: list[Cell], comparison: Comparison | None, several: bool) -> dict[str, Any]:
    shared, differing = facts.settings(cells)
    lost = [f"{cell.name}, seed {seed}: diverged at step {step}" for cell in cells for seed, step in cell.diverged.items()]
    noted = list(dict.fromkeys(note for cell in cells for note in cell.taken))
    return {
        "left_out": comparison.left_out if comparison else lost,
        "notes": comparison.notes if several else noted,
        "looks": inner.looks(cells),
        "of_agreement": inner.OF_AGREEMENT,
        "rules": facts.rules(cells, WORST_OF_SEVERAL if several else SHOWN),
        "shared": shared,
        "differing": differing,
        "costs": facts.costs(cells),
        "origins": facts.origins(cells),
        "recipes": repeating.recipes(cells),
    }


def _parts(sections: list[Section], names: list[str]) -> dict[str, Any]:
    """Sections with their charts finished, the charts' specifications by number, and what the page's script and style need."""
    kept, specs = [], []
    for section in (section for section in sections if section.charts):
        drawn = [finished(chart, _series_of(chart, names)) for chart in section.charts]
        kept.append((section, [(len(specs) + place, chart) for place, chart in enumerate(drawn)]))
        specs += [chart.spec for chart in drawn]
    return {
        "sections": kept,
        "specs": specs,
        "swatches": swatches(names),
        "colours": colours(),
        "style": (HERE / "page.css").read_text(encoding="utf-8"),
        "script": (HERE / "page.js").read_text(encoding="utf-8"),
        "library": _library(),
        "versions": _versions(),
    }


def _series_of(chart: Chart, names: list[str]) -> list[str]:
    """The series of the page, or the chart's own where it has none of those: a run's own line is none of its tasks."""
    own = list(dict.fromkeys(name for name, _ in chart.rows))
    return names if set(own) & set(names) else own


def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    environment.filters["capitalized"] = lambda text: text[:1].upper() + text[1:]
    return environment.get_template("page.html")


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script; nothing in it ends the element that it stands in."""
    import vl_convert

    return vl_convert.javascript_bundle().replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _versions() -> str:
    import vl_convert

    lite = vl_convert.get_vegalite_versions()[-1]
    return f"Vega {vl_convert.get_vega_version()}, Vega-Lite {lite}, Vega-Embed {vl_convert.get_vega_embed_version()}"
