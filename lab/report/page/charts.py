"""What all charts of a page share. They are Vega-Lite specifications: data, not code, so that no name a user gave can be run.

Every chart has the parameter `shown`, the series that are switched on; the page sets it in all charts at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lab.report.drawing import COLOURS, LINES

Rows = list[tuple[str, list[str]]]
"""The rows of a table, each with the name of the series it belongs to, or an empty one."""

DASHES = {"solid": [1, 0], "dashed": [6, 3], "dashdot": [7, 3, 2, 3], "dotted": [2, 2]}
ON_DARK = {"#0072B2": "#4aa8e0", "#000000": "#f0f0f0"}
"""What stands for colours that are too dark on a dark page."""

GREY = {"value": "#8a8a8a"}
BANDS = "Lines are means over seeds, bands their 95 % t intervals."


@dataclass(frozen=True)
class Chart:
    """A chart, what it shows in words, and the numbers in it as a table."""

    title: str
    caption: str
    spec: dict[str, Any]
    header: list[str]
    rows: Rows
    series: str = ""
    """The one that it is of, where it is of one alone."""


def spec(values: list[dict], hover: dict[str, str], **body: Any) -> dict[str, Any]:
    """A specification, but for what is the same for all charts of a page (:func:`finished`).

    ``hover``: the titles of the fields that hovering shows, after the name of the series; the page's script does that, since
    Vega-Lite loses texts on the way to the nearest point.
    """
    meta = {"hover": hover} | body.pop("usermeta", {})
    return {"data": {"values": values}, "transform": [SHOWN] if values else [], "width": "container", "usermeta": meta, **body}


def finished(chart: Chart, names: list[str]) -> Chart:
    """The chart as it is drawn on a page with these series: each has one colour and one line on all of it."""
    return replace(chart, spec={"params": [{"name": "shown", "value": names}], **_for(chart.spec, names)})


def _for(node: Any, names: list[str]) -> Any:
    """A specification's node with the scales of the page in place of their names."""
    if node in ("page colours", "page dashes"):
        dashes = [DASHES[LINES[number % len(LINES)]] for number in range(len(names))]
        return {"domain": names} | ({"range": dashes} if node == "page dashes" else {})
    if isinstance(node, dict):
        return {key: value if key == "values" else _for(value, names) for key, value in node.items()}
    return [_for(part, names) for part in node] if isinstance(node, list) else node


def colours() -> list[tuple[str, str]]:
    """The colours of series, on a light page and on a dark one."""
    return [(colour, ON_DARK.get(colour, colour)) for colour in COLOURS]


def swatches(names: list[str]) -> list[dict[str, Any]]:
    """Colour (a number among the page's) and dashes of each series."""
    return [
        {"name": name, "colour": number % len(COLOURS), "dashes": " ".join(map(str, DASHES[LINES[number % len(LINES)]]))}
        for number, name in enumerate(names)
    ]


def number(field: str, title: str | None = None, **more: Any) -> dict[str, Any]:
    """A field that is a number, for a channel."""
    return {"field": field, "type": "quantitative", **({"title": title} if title else {}), **more}


HOVER = {"tooltip": {"content": "data"}}
"""A mark that answers to hovering."""

SHOWN = {"filter": "indexof(shown, datum.series) >= 0"}
BY_NAME = {"field": "series", "type": "nominal", "legend": None}
COLOUR = BY_NAME | {"scale": "page colours"}
DASHED = BY_NAME | {"scale": "page dashes"}
NAMES = {"field": "series", "type": "nominal", "title": None, "sort": None, "axis": {"labelLimit": 130, "grid": False}}
"""The series as rows."""
