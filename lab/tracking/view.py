"""How the experiment looks when MLflow's pages open on it: a description, and the columns that matter first.

MLflow keeps a shared view in a tag of the experiment; its key in the address shows it. MLflow's own default shows no metric.
"""

from __future__ import annotations

import json

KEY = "lab"
VIEW = f"mlflow.sharedViewState.{KEY}"

ABOUT = """One row is a cell: a configuration, trained for all its seeds at once; unfold it for the seeds. \
`accuracy` and the other measures are means over seeds, `_std` their standard deviation, `_low` and `_high` the 95 % interval. \
A run's page has them as a table, the figures, the accuracy matrix and the whole configuration."""

METRICS = ("accuracy", "accuracy_low", "accuracy_high", "learning_accuracy", "forgetting", "backward_transfer", "seeds")
PARAMS = ("optimizer.lr", "batch_size", "network")


def experiment_tags() -> dict[str, str]:
    """Tags for a new experiment."""
    columns = [f"metrics.`{name}`" for name in METRICS] + [f"params.`{name}`" for name in PARAMS]
    widths = {column: 60 + 3 * len(column) for column in columns}
    view = {"selectedColumns": columns, "columnOrder": columns, "columnWidths": widths}
    return {"mlflow.note.content": ABOUT, "mlflow.experimentKind": "custom_model_development", VIEW: json.dumps(view)}
