"""What a sweep comes to: each arm's winner and its default configuration on fresh seeds, beside each other; `best.yaml`."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from lab.comparison.cells import Run, cells_of
from lab.comparison.comparing import compare
from lab.report.tables import as_json
from lab.results import Results, load, write_whole
from lab.statistics import estimate
from lab.sweep.arms import Arm
from lab.sweep.experiment_file import experiment_file
from lab.sweep.figures import FORCED
from lab.sweep.found import Arm as Told
from lab.sweep.found import front
from lab.sweep.question import COSTS, Sweep
from lab.sweep.studies import best_of, in_state
from lab.sweep.values import of_objective

FOUND, BEST = "found.json", "best.yaml"


@dataclass(frozen=True)
class Final:
    """An arm's winner and its default configuration, run on the final seeds."""

    arm: Arm
    study: optuna.Study
    winner: FrozenTrial
    folder: Path
    default: Path

    @property
    def values(self) -> dict[str, Any]:
        """The winner's, of what varies."""
        return {key: self.winner.params[key] for key in self.arm.space}

    def told(self, sweep: Sweep) -> Told:
        """Its trials, as figures and pages read them."""
        return Told(self.arm.name, sweep.objectives, self.study)


def run_final(sweep: Sweep, arm: Arm, study: optuna.Study, runs: Path) -> Final:
    """Run an arm's winner and its default configuration on the final seeds, as `lab run` would, or take them where they are
    done."""
    winner = best_of(sweep.directions, in_state(study, TrialState.COMPLETE))
    values = {key: winner.params[key] for key in arm.space}
    tags = {"forced": FORCED} if study.user_attrs.get("forced") else {}
    folders = [_run(sweep, arm.config(chosen, sweep.final_seeds, tuning=False), runs, tags) for chosen in (values, {})]
    return Final(arm, study, winner, *folders)


def _run(sweep: Sweep, config: dict[str, Any], runs: Path, tags: dict[str, str]) -> Path:
    from lab.run import execute

    config["paths"]["runs"] = str(runs)
    if config["tracking"]["enabled"]:
        config["tracking"]["experiment"] = sweep.name
        config["tracking"]["tags"] = (config["tracking"].get("tags") or {}) | tags
    return execute(config, table=False)


# --- what is found ----------------------------------------------------------------------------------------------------


def found(sweep: Sweep, finals: list[Final], protocol: str, forced: bool, runs: Path) -> dict[str, Any]:
    """What `found.json` holds."""
    seconds = [trial.user_attrs.get("seconds", 0.0) for final in finals for trial in final.study.trials]
    folders = {folder: None for final in finals for folder in (final.folder, final.default)}
    seconds += [load(folder).cost["wall_seconds"] for folder in folders]
    content = {
        "name": sweep.name,
        "claim": sweep.claim,
        "family": sweep.family,
        "protocol": protocol,
        "forced": forced,
        "objectives": sweep.objectives,
        "cost": {"minutes": sum(seconds) / 60, "declared": sweep.minutes, "trials": _count(finals)},
        "arms": {final.arm.name: _of_arm(sweep, final, runs) for final in finals},
        "comparison": compared(sweep, finals),
    }
    return content | ({"front": _front(sweep, finals)} if len(sweep.objectives) > 1 else {})


def _count(finals: list[Final]) -> int:
    return sum(len(final.study.trials) for final in finals)


def _of_arm(sweep: Sweep, final: Final, runs: Path) -> dict[str, Any]:
    by_seed = final.winner.user_attrs["by_seed"]
    tuning = {"mean": dict(zip(sweep.objectives, final.winner.values, strict=True)), "by_seed": by_seed}
    tuning["seeds"] = final.winner.user_attrs["seeds"]
    last = _measured(sweep, final.folder, runs)
    return {
        "best": final.values,
        "trial": final.winner.number,
        "tuning": tuning,
        "final": last,
        "default": _measured(sweep, final.default, runs),
        "optimism": {name: _less(tuning["mean"][name], last["mean"][name]) for name in sweep.objectives},
        "counts": final.told(sweep).counts,
    }


def _measured(sweep: Sweep, folder: Path, runs: Path) -> dict[str, Any]:
    """A final run's objectives: mean, 95 % interval and values by seed."""
    results = load(folder)
    values = {name: of_objective(results, name) for name in sweep.objectives}
    estimates = {name: estimate(of) for name, of in values.items()}
    return {
        "mean": {name: _plain(of.mean) for name, of in estimates.items()},
        "interval": {name: [_plain(of.low), _plain(of.high)] for name, of in estimates.items()},
        "by_seed": {name: [_plain(one) for one in of] for name, of in values.items()},
        "seeds": results.seeds,
        "diverged": _diverged(results),
        "folder": os.path.relpath(folder, runs),
    }


def _diverged(results: Results) -> dict[str, int]:
    return {str(seed): step for seed, step in zip(results.seeds, results.diverged, strict=True) if step is not None}


def _plain(number: float) -> float | None:
    return None if np.isnan(number) else float(number)


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def compared(sweep: Sweep, finals: list[Final]) -> dict[str, Any] | None:
    """What `lab compare --json` says of the winners, by the objectives that are measures; of a single arm, of the winner and
    its default configuration. None where these are one run, or no seed has a value."""
    if len(finals) > 1:
        named = [(final.folder, final.arm.name) for final in finals]
    else:
        named = [(finals[0].folder, "tuned"), (finals[0].default, "default")]
    asked = [name for name in sweep.objectives if name not in COSTS]
    measures = [name for name in asked if any(_has(folder, name) for folder, _ in named)]
    if len({folder for folder, _ in named}) < 2 or (asked and not measures):
        return None
    varies = tuple(dict.fromkeys(key for final in finals for key in final.arm.space))
    cells = cells_of([Run(folder, load(folder), name) for folder, name in named], measures, varies)
    baseline = "default" if len(finals) == 1 else None
    return json.loads(as_json(compare(cells, measures or None, baseline)))


def _has(folder: Path, objective: str) -> bool:
    """Whether some seed of a run has a value of it: where all diverged there is nothing to compare."""
    return not np.isnan(of_objective(load(folder), objective)).all()


def _front(sweep: Sweep, finals: list[Final]) -> list[dict[str, Any]]:
    chosen = front(sweep.objectives, [final.told(sweep) for final in finals])
    return [{"arm": arm.name, "trial": one.number, "params": one.settings, "values": one.values} for arm, one in chosen]


# --- files ------------------------------------------------------------------------------------------------------------


def save(sweep: Sweep, finals: list[Final], content: dict[str, Any], home: Path) -> None:
    """Write `found.json`, `best_ARM.yaml` of each arm, and `best.yaml`, the arm's that is best in tuning."""
    texts = {final.arm.name: experiment_file(final.arm, final.values, _header(content, final)) for final in finals}
    for arm, text in texts.items():
        _write(home / f"best_{arm}.yaml", text)
    best = best_of(sweep.directions, [final.winner for final in finals])
    winner = next(final for final in finals if final.winner is best)
    _write(home / BEST, texts[winner.arm.name])
    _write(home / FOUND, json.dumps(content, indent=1, ensure_ascii=False))


def _header(content: dict[str, Any], final: Final) -> list[str]:
    objective = next(iter(content["objectives"]))
    arm = content["arms"][final.arm.name]
    mean, (low, high) = arm["final"]["mean"][objective], arm["final"]["interval"][objective]
    told = "undefined" if mean is None else f"{mean:.4g}"
    told += "" if low is None else f" [{low:.4g}, {high:.4g}]"
    known = sum(value is not None for value in arm["final"]["by_seed"][objective])
    forced = ["CHOSEN BY TEST DATA (force: true): its figures flatter it"] if content["forced"] else []
    return [
        f"{final.arm.name}, tuned by the sweep {content['name']}: {objective} {told}"
        f" on {known} of {len(arm['final']['seeds'])} fresh seeds",
        *forced,
        content["protocol"],
        f"lab run experiment=PATH/best_{final.arm.name}.yaml",
    ]


def _write(path: Path, text: str) -> None:
    write_whole(path, lambda file: file.write(text.encode()))
