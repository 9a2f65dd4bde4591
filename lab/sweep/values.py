"""What trials came to: objectives of each seed, from a population's results, and whether a run reports them at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lab.config import nearest
from lab.errors import UserError
from lab.experiment import Experiment
from lab.metrics import FROM_CURVES, measure
from lab.results import Results
from lab.sweep.question import COSTS, Sweep


@dataclass(frozen=True)
class Outcome:
    """One trial's values."""

    by_seed: dict[str, list[float | None]]
    """Of each objective, seed by seed; None where it is undefined, say because the member diverged."""
    why: str
    """Why a seed is without a value; empty where none is."""
    diverged: bool = False
    """Whether some seed did."""

    @property
    def means(self) -> list[float]:
        """Of each objective over the tuning seeds."""
        return [float(np.mean(values)) for values in self.by_seed.values()]


def outcomes(results: Results, objectives: dict[str, str], trials: int) -> list[Outcome]:
    """Of each trial, the members of which lie side by side in a population's results, trial after trial."""
    values = {name: of_objective(results, name) for name in objectives}
    each = len(results.seeds) // trials
    return [_outcome(results, values, slice(number * each, (number + 1) * each)) for number in range(trials)]


def _outcome(results: Results, values: dict[str, np.ndarray], places: slice) -> Outcome:
    by_seed = {name: [None if np.isnan(one) else float(one) for one in of[places]] for name, of in values.items()}
    steps = [step for step in results.diverged[places] if step is not None]
    if steps:
        count = len(results.seeds[places])
        told = ", ".join(map(str, steps))
        return Outcome(by_seed, f"{len(steps)} of {count} seeds diverged (step{'s' * (len(steps) > 1)} {told})", True)
    lost = [name for name, of in by_seed.items() if None in of]
    return Outcome(by_seed, "; ".join(f"{name} is undefined, {results.undefined.get(name, 'for a seed')}" for name in lost))


def of_objective(results: Results, name: str) -> np.ndarray:
    """An objective of every member, ``[M]``."""
    members, cost = len(results.seeds), results.cost
    if name == "cost.state_bytes":
        return np.full(members, np.nan if cost["state_bytes"] is None else cost["state_bytes"] / members)
    if name == "cost.passes":
        return np.full(members, float(sum(cost["passes"].values())))
    if name == "cost.steps":
        return np.full(members, float(cost["steps"]))
    found = results.metrics.get(name)
    return np.full(members, np.nan) if found is None else np.asarray(found, dtype=float)


def refuse_unreported(sweep: Sweep, experiment: Experiment) -> None:
    """Refuse an objective that runs like this one do not report.

    Raises:
        UserError: says why, or which name is the nearest.
    """
    reported, reasons = _reported(experiment)
    if experiment.engine:
        reasons |= {"cost.state_bytes": f"what {', '.join(experiment.config['strategy'])} keeps is not known"}
    for name in sweep.objectives:
        if name in reasons:
            raise UserError(f"{sweep.path}: objectives.{name}: no run reports it: {reasons[name]}")
        if name not in reported and not _is_of_outputs(name, experiment):
            there = ", ".join(reported)
            raise UserError(f"{sweep.path}: objectives.{name}: no run reports it. {nearest(name, reported)}It has {there}")


def _reported(experiment: Experiment) -> tuple[list[str], dict[str, str]]:
    """Measures of a run of this shape, and why others are undefined."""
    stream, options = experiment.streams[0], experiment.config["evaluation"]
    tasks = len(stream.tasks)
    made = np.random.default_rng(0).uniform(size=(1, tasks + 1, tasks))
    if stream.scenario == "class":
        made[:, 0] = np.nan
    if len(stream.phases) == 1 < tasks:
        made[:, 1:-1] = np.nan
    _, reasons = measure(made, None, [None])
    reasons = {name: why for name, why in reasons.items() if name not in ("forgetting_exponent", *FROM_CURVES)}
    names = [name for name in measure(made, None, [None])[0] if name not in reasons and name not in FROM_CURVES]
    if options["every"] is None:
        reasons |= dict.fromkeys(FROM_CURVES, "no curves are recorded; set evaluation.every")
    else:
        names += [name for name in FROM_CURVES if "_raw" not in name]
    names += ["loss"] * bool(options["loss"]) + ["online_accuracy"] * stream.prequential
    reasons |= {} if options["loss"] else {"loss": "set evaluation.loss=true"}
    reasons |= {} if stream.prequential else {"online_accuracy": "this environment does not test before it trains"}
    return [*names, *COSTS], reasons


def _is_of_outputs(name: str, experiment: Experiment) -> bool:
    """Whether it may be a measure of outputs or rules that have names, or of other averages of weights."""
    named = experiment.environment.data.layout is not None or bool(experiment.streams[0].rules)
    beside = experiment.averaging(list(range(len(experiment.seeds)))).beside
    return named or any(name.endswith(f"_{kind}") for kind in beside)
