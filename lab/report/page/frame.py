"""What every page has: a head with its style, switches for its series, sections of charts, and the scripts that draw them.

Charts are Vega-Lite's, whose scripts vl-convert bundles without a network. They are 0.9 MB of a page where plotly's would be
4.8, they draw in SVG, and they take what users named as data, never as markup or code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from lab.report.page.charts import Chart, colours, finished, swatches
from lab.results import write_whole

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Section:
    """Charts of one kind, and the figures that stand for them where there is no script."""

    title: str
    charts: list[Chart]
    stills: list[str] = field(default_factory=list)
    grid: bool = False
    """Whether the charts are small and stand side by side."""
    pictures: list[tuple[str, str]] = field(default_factory=list)
    """Figures that no chart stands for, with what they show in words: they are seen beside scripts too."""


def write(template: str, content: dict[str, Any], path: Path, *folders: Path) -> Path:
    """Render a page into one file; its path.

    Args:
        template: extends ``frame.html``; it is looked for in ``folders`` too.
        content: has ``title``, the ``names`` of series that can be switched, and ``sections``, :class:`Section` each.
    """
    text = _template(template, folders).render(content | _parts(content["sections"], content["names"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: file.write(text.encode()))
    return path


def _parts(sections: list[Section], names: list[str]) -> dict[str, Any]:
    """Sections with their charts finished, the charts' specifications by number, and what the page's script and style need."""
    kept, specs = [], []
    for section in (section for section in sections if section.charts or section.pictures):
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


def _template(name: str, folders: tuple[Path, ...]) -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([HERE, *folders]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    environment.filters["capitalized"] = lambda text: text[:1].upper() + text[1:]
    return environment.get_template(name)


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script; nothing in it ends the element that it stands in."""
    import vl_convert

    return vl_convert.javascript_bundle().replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _versions() -> str:
    import vl_convert

    lite = vl_convert.get_vegalite_versions()[-1]
    return f"Vega {vl_convert.get_vega_version()}, Vega-Lite {lite}, Vega-Embed {vl_convert.get_vega_embed_version()}"
