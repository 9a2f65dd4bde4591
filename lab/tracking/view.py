"""How an experiment looks when MLflow's pages open on it: a description, and two views by name.

MLflow keeps a saved view in a tag of the experiment; the tag's key in the address shows it, and the page lists it under
*Views*. Older versions know no names and read the state itself from the tag, so that is there too. MLflow's own default
shows no metric, and its charts would show cells without their spread.
"""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import urlencode

VIEW = "mlflow.sharedViewState."
MADE_BY = "lab.views"
VERSION = "2"
"""Of the views: an experiment with older ones gets these."""

CELLS, CHARTS = "lab", "lab-charts"

ABOUT = """One row is a cell: a configuration, trained for all its seeds at once; unfold it for the seeds. \
`accuracy` and the other measures are means over seeds, `_std` their standard deviation, `_low` and `_high` the 95 % interval. \
A run's page has them as a table, the figures, the accuracy matrix and the whole configuration. \
Under *Views*: **Cells** is the table, **Charts of cells** draws each cell's mean over seeds between its least and its \
greatest seed."""

METRICS = ("accuracy", "accuracy_low", "accuracy_high", "forgetting", "wall_seconds", "seeds")
TAGS = ("strategy", "environment", "scenario", "data", "commit", "diverged")
NAME = "attributes.`Run Name`"

SECTIONS = {
    "Measures": ("accuracy", "forgetting", "learning_accuracy"),
    "Accuracy on the tasks met": ("accuracy by task/tasks met", "accuracy by step/tasks met"),
}
"""Charts that stand first: bars of what is one number, lines of what is a series. MLflow appends the rest by itself."""


def experiment_tags() -> dict[str, str]:
    """Tags for a new experiment."""
    return {"mlflow.note.content": ABOUT, "mlflow.experimentKind": "custom_model_development"} | views()


def views() -> dict[str, str]:
    """Tags that hold the views, and which ones they are."""
    # Sorted by time, which it is otherwise, MLflow adds the parents of what the filter lets through.
    of_members = {"searchFilter": "tags.`lab.kind` = 'member'", "orderByKey": "tags.`cell`", "orderByAsc": True}
    grouped = {"groupBy": {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "cell"}]}}
    cells = _columns() | _charts()
    charts = of_members | grouped | {"useGroupedValuesInCharts": True} | _charts()
    named = {CELLS: ("Cells", cells), CHARTS: ("Charts of cells", charts)}
    return {f"{VIEW}{key}": _saved(*view) for key, view in named.items()} | {MADE_BY: VERSION}


def address(experiment: str, view: str | None, charts: bool = False) -> str:
    """The experiment's runs in MLflow's pages, behind the server's address."""
    asked = {"workflowType": "machine_learning"}
    asked |= {"viewStateShareKey": view} if view else {}
    asked |= {"compareRunsMode": "CHART"} if charts else {}
    return f"/#/experiments/{experiment}/runs?{urlencode(asked)}"


def _saved(name: str, state: dict[str, Any]) -> str:
    """A view as its tag holds it; an experiment's tag takes 5000 characters."""
    text = json.dumps(state, separators=(",", ":"))
    return json.dumps(state | {"name": name, "createdAt": int(1000 * time.time()), "state": text}, separators=(",", ":"))


def _columns() -> dict[str, Any]:
    names = {f"metrics.`{name}`": name for name in METRICS} | {f"tags.`{name}`": name for name in TAGS}
    widths = {column: 40 + 8 * len(name) for column, name in names.items()}
    widths |= {NAME: 300, "tags.`environment`": 170, "tags.`data`": 140}
    return {"selectedColumns": list(names), "columnOrder": [NAME, *names], "columnWidths": widths}


def _charts() -> dict[str, Any]:
    sections = [{"uuid": name, "name": name, "display": True, "isReordered": False} for name in SECTIONS]
    cards = [_card(section, metric) for section, metrics in SECTIONS.items() for metric in metrics]
    kept = {"compareRunCharts": cards, "compareRunSections": sections, "isAccordionReordered": True}
    return kept | {"hideEmptyCharts": True, "runsHiddenMode": "FIRST_20_RUNS"}


def _card(section: str, metric: str) -> dict[str, Any]:
    """A chart; MLflow smooths lines unless told not to."""
    card = {"uuid": metric, "type": "BAR", "metricSectionId": section, "metricKey": metric, "runsCountToCompare": 20}
    if "/" in metric:
        card |= {"type": "LINE", "selectedMetricKeys": [metric], "range": {"yMin": 0, "yMax": 1.02}, "lineSmoothness": 0}
    return card
