"""What is read of a run in MLflow rather than plotted: tags, descriptions, the dataset. Pure functions of results."""

from __future__ import annotations

import getpass
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from lab.report.summary import cell_name, method_name, overall, stream_name
from lab.results import Results

CELL, MEMBER, STUDY, SWEEP, TRIAL, TUNING_SEED = "cell", "member", "study", "sweep", "trial", "tuning seed"
"""What the tag `lab.kind` says a run is."""

LONGEST_TEXT = 5000
"""Characters of a description."""


def tags(results: Results) -> dict[str, str]:
    """Where the numbers come from and what they are of, on the parent and on each child; with the user's own."""
    origin = results.provenance
    versions = {f"version.{name}": str(value) for name, value in origin.get("versions", {}).items()}
    data, commit = origin.get("data", {}), origin.get("commit")
    environment, _, scenario = stream_name(results.config).partition(" · ")
    named = {
        "strategy": method_name(results.config),
        "environment": environment,
        "scenario": scenario or None,
        "data": " ".join(filter(None, (data.get("name"), short(data.get("digest"))))) or None,
        "data.digest": data.get("digest"),
        "commit": short(commit),
        "device": origin.get("hardware", {}).get("device"),
        "lab.cell": origin.get("cell"),
        "mlflow.source.git.commit": commit,
        "mlflow.user": _user(),
        "mlflow.source.name": "lab run",
        "mlflow.source.type": "LOCAL",
    }
    own = {str(key): str(value)[:LONGEST_TEXT] for key, value in (results.config.get("tracking", {}).get("tags") or {}).items()}
    return own | {key: str(value) for key, value in named.items() if value is not None} | versions


def group(results: Results) -> str:
    """What members are grouped by: the cell's name, told apart from cells whose name is the same."""
    return " ".join(filter(None, (cell_name(results.config), short(results.provenance.get("cell"), 4))))


def short(digest: object, length: int = 8) -> str | None:
    """The beginning of a digest or of a commit, as one reads it."""
    return None if digest is None else str(digest)[:length]


def diverged(results: Results) -> dict[str, str]:
    """The tag of a cell that lost members; nothing where none was lost."""
    lost = [str(seed) for seed, step in zip(results.seeds, results.diverged, strict=True) if step is not None]
    return {"diverged": f"{len(lost)} of {len(results.seeds)}: seed {', '.join(lost)}"[:500]} if lost else {}


def dataset(results: Results) -> dict[str, str] | None:
    """What MLflow shows as the run's dataset; None where the results do not tell of their data."""
    data, environment = results.provenance.get("data", {}), results.config["environment"]
    if not data.get("digest"):
        return None
    source = {"tags": {"mlflow.source.name": _source(environment), "mlflow.source.type": "LOCAL"}}
    stream = {"stream": stream_name(results.config), "tasks": results.accuracy.shape[2]}
    stream |= {"training samples of a member": int(results.cost["samples"][0])}
    return {
        "name": str(data.get("name") or "data"),
        "digest": str(data["digest"])[:36],
        "source_type": "code",
        "source": json.dumps(source),
        "profile": json.dumps(stream),
    }


def of_cell(results: Results, folder: Path) -> str:
    """A cell in Markdown: what one would ask first."""
    told = tags(results)
    device = f" on {told['device']}" if "device" in told else ""
    lines = [f"**{len(results.seeds)} seeds**, {results.cost['wall_seconds']:.1f} s of training{device}", ""]
    lines += _heading("over seeds", "mean", "95 % interval", "std")
    for metric, values in results.metrics.items():
        found = overall(values)
        if found.n:
            between = "-" if found.n == 1 else f"{found.low:.4f} to {found.high:.4f}"
            lines.append(f"| {_words(metric)} | {found.mean:.4f} | {between} | {written(found.sd)} |")
    for seed, step in zip(results.seeds, results.diverged, strict=True):
        lines += [] if step is None else ["", f"Seed {seed} diverged at step {step} and is left out from there on."]
    for metric, reason in results.undefined.items():
        lines += ["", f"{_words(metric)}: undefined, {reason}"]
    origin = [f"data `{told['data']}`" if "data" in told else "", f"commit `{told['commit']}`" if "commit" in told else ""]
    lines += ["", " · ".join(filter(None, [*origin, f"run directory `{folder}`"]))]
    return "\n".join(lines)[:LONGEST_TEXT]


def of_member(results: Results, m: int) -> str:
    """A member in Markdown: its measures beside its cell's."""
    lost = "" if results.diverged[m] is None else f", diverged at step {results.diverged[m]}"
    lines = [f"**Seed {results.seeds[m]}** of {cell_name(results.config)}{lost}"]
    lines += ["", *_heading("", "this seed", "mean over seeds")]
    for metric, values in results.metrics.items():
        if not np.isnan(values).all():
            lines.append(f"| {_words(metric)} | {written(values[m])} | {overall(values).mean:.4f} |")
    return "\n".join(lines)[:LONGEST_TEXT]


def written(value: float) -> str:
    """Four decimals; a dash for what is undefined."""
    return "-" if np.isnan(value) else f"{value:.4f}"


def _heading(*names: str) -> list[str]:
    """A table's beginning; MLflow puts no room between columns."""
    return ["| " + " | ".join(f"{name}{5 * '&emsp;'}" for name in names) + " |", "|" + "---|" * len(names)]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _source(environment: dict[str, Any]) -> str:
    """Dotted name of what gives the data; of an environment around another, the inner one's."""
    while "base" in environment:
        environment = environment["base"]
    return str((environment.get("source") or environment).get("_target_", "unknown"))


def _user() -> str | None:
    """Containers may run as nobody."""
    with suppress(OSError, KeyError):
        return getpass.getuser()
    return None
