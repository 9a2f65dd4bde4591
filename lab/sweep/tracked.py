"""A sweep in MLflow: its trials as runs with a child for each tuning seed, its report as another.

What trials have is called ``tuning/accuracy``: it was measured on validation data of tuning streams, and is not the `accuracy`
that winners have, which are runs as any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.sweep.axes import words
from lab.sweep.figures import FORCED
from lab.sweep.found import COMPLETE, DIVERGED, ENDED, FAILED, Arm, Found, Trial
from lab.sweep.winning import standings
from lab.tracking import Study, Tried, labels, publish_sweep
from lab.tracking.entries import NOTE, Entry

SENT = ("report.html", "found.json", "best*.yaml", "figures/*")
"""Of a sweep's home; populations are trials, which are runs of their own."""


def send(found: Found, home: Path, settings: dict[str, Any]) -> str | None:
    """Have the sweep as it stands in the store; None, or a warning in a sentence."""
    known = [(arm, trial) for arm, trial in found.trials if trial.state in ENDED and trial.began and trial.ended]
    metrics = {"trials": float(len(known)), "minutes": (found.record.get("cost") or {}).get("minutes")}
    tags = {"forced": FORCED if found.forced else None, "protocol": found.protocol[:500]}
    sweep = Study(found.name, note(found), home, tags, metrics, labels.SWEEP, SENT)
    return publish_sweep(sweep, [_tried(found, arm, trial) for arm, trial in known], settings)


def note(found: Found) -> str:
    """The sweep in Markdown."""
    warning = "**Chosen on test data: these figures flatter.** " if found.forced else ""
    lines = [f"**{found.title}**", "", f"{warning}Protocol: {found.protocol}.", ""]
    for objective in found.objectives:
        lines += [f"| {words(objective)} | settings | tuning | fresh seeds [95 %] | optimism |", "|---|---|---|---|---|"]
        for row in standings(found, objective):
            gap = "-" if row.optimism is None else f"{row.optimism:+.3g}"
            tuning, fresh = (str(one) if one else "-" for one in (row.tuning, row.fresh))
            lines.append(f"| {row.arm} {row.what} | {row.chosen} | {tuning} | {fresh} | {gap} |")
        lines.append("")
    return "\n".join([*lines, f"`{found.command}` · trials in Optuna's own pages: `optuna-dashboard {found.storage}`"])


def _tried(found: Found, arm: Arm, trial: Trial) -> Tried:
    began, ended = (round(1000 * moment) for moment in (trial.began, trial.ended))
    return Tried(_entry(found, arm, trial), list(_of_seeds(arm, trial)), began, ended)


def _entry(found: Found, arm: Arm, trial: Trial) -> Entry:
    """The trial: means over its tuning seeds, what it reported on the way, and where Optuna has it."""
    points = [(f"tuning/{name}", value, 0) for name, value in trial.values.items() if not math.isnan(value)]
    points += [("tuning/reported", value, step) for step, value in trial.reports.items()]
    points += [] if trial.seconds is None else [("tuning/seconds", round(trial.seconds, 2), 0)]
    tags = {
        "lab.kind": labels.TRIAL, "arm": arm.name, "trial": str(trial.number), "state": trial.state,
        "optuna.study": f"{found.name}.{arm.name}", "optuna.storage": found.storage, NOTE: _note(found, trial),
    }  # fmt: skip
    tags |= {"winner": "yes"} if arm.winner is trial and found.record else {}
    tags |= {"forced": FORCED} if found.forced else {}
    tags |= {key: str(trial.attributes[key]) for key in ("why", "worker", "place", "population") if key in trial.attributes}
    lost = trial.state in (FAILED, DIVERGED)
    return Entry(f"{arm.name}, trial {trial.number}", _params(trial), tags, points, lost)


def _note(found: Found, trial: Trial) -> str:
    why = "" if trial.state == COMPLETE else f" {trial.attributes.get('why', '')}"
    return f"**{trial.state.capitalize()}**.{why} {found.protocol}. `optuna-dashboard {found.storage}` shows its study."


def _of_seeds(arm: Arm, trial: Trial) -> Iterator[Entry]:
    for place, seed in enumerate(trial.seeds):
        known = {name: values[place] for name, values in trial.by_seed.items() if place < len(values)}
        points = [(f"tuning/{name}", value, 0) for name, value in known.items() if value is not None]
        tags = {"lab.kind": labels.TUNING_SEED, "cell": f"{arm.name}, trial {trial.number}"}
        yield Entry(f"seed {seed}", _params(trial) | {"seed": str(seed)}, tags, points, not points)


def _params(trial: Trial) -> dict[str, str]:
    return {key: str(value) for key, value in trial.settings.items()}
