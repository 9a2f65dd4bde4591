"""All measures of a run together, and why those that are undefined are."""

from __future__ import annotations

import numpy as np
from numpy import ndarray as Array

from lab.metrics.accuracy import (
    accuracy,
    anytime_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
    learning_accuracy,
    min_accuracy,
    plasticity_loss,
    worst_case_accuracy,
)
from lab.metrics.lags import LEAST_LAGS, forgetting_exponent
from lab.metrics.learning import aulc, facilitation, steps_to, target_aulc

CRITERION = 0.8
"""Of `evaluation.criterion`: the accuracy at which a task counts as learnt."""

OF_TENSOR = (
    accuracy, learning_accuracy, backward_transfer, forgetting, forgetting_exponent, forward_transfer, plasticity_loss,
)  # fmt: skip
OF_CURVES = ("anytime_accuracy", "min_accuracy", "worst_case_accuracy", "aulc", "facilitation", "steps_to_criterion")
OF_TARGET = ("target_aulc", "target_accuracy")
"""Where the weights began anew and there are curves: measures of the tasks since."""

ALONE = "there is only one task"
AT_ONCE = "all tasks were trained at once"
NOT_MET = "in the class-incremental scenario a task cannot be answered before its classes are met"


def measure(
    R: Array, curves: dict | None, diverged: list[int | None], criterion: float = CRITERION
) -> tuple[dict[str, Array], dict[str, str]]:
    """All measures ``{name: [M]}`` and, for those that are undefined, why.

    ``curves``: ``{"steps": [E], "task": [E] (0 before training), "accuracy": [M, E, T]}``, maybe with ``"fresh"``: the tasks,
    from 0, before whose phases the weights began anew; or None.
    """
    single = R.shape[2] == 1
    joint = not single and np.isnan(R[:, 1:-1]).all() and not np.isnan(R[:, -1]).all()
    values, reasons = _of_tensor(R, single, joint)
    if curves is None:
        reasons |= dict.fromkeys(OF_CURVES, "no curves were recorded; set evaluation.every")
    else:
        of_curves, why = _of_curves(R, curves, single, joint, criterion)
        values, reasons = values | of_curves, reasons | why
    values |= {name: np.full(len(R), np.nan) for name in reasons}
    lost = np.array([step is not None for step in diverged])
    values = {name: np.where(lost, np.nan, value) for name, value in values.items()}
    unmeasured = "not all that it needs was evaluated (evaluation.tasks), or tasks were trained together"
    why = "every member diverged" if lost.all() else unmeasured
    reasons |= {name: why for name, value in values.items() if name not in reasons and np.isnan(value).all()}
    return values, reasons


def _of_tensor(R: Array, single: bool, joint: bool) -> tuple[dict[str, Array], dict[str, str]]:
    reasons = {}
    for name in (of.__name__ for of in OF_TENSOR):
        if single and name not in ("accuracy", "learning_accuracy"):
            reasons[name] = ALONE
        elif joint and name != "accuracy":
            reasons[name] = f"{AT_ONCE}: there is no accuracy after single tasks"
    values = {of.__name__: of(R) for of in OF_TENSOR if of.__name__ not in reasons}
    if "forward_transfer" in values and np.isnan(R[:, 0]).all():
        reasons["forward_transfer"] = NOT_MET
    exponent = values.get("forgetting_exponent")
    if exponent is not None and np.isnan(exponent).all():
        few = R.shape[2] <= LEAST_LAGS
        reasons["forgetting_exponent"] = f"it takes more than {LEAST_LAGS} tasks" if few else "no power law fits the forgetting"
    return values, reasons


def _of_curves(R: Array, curves: dict, single: bool, joint: bool, criterion: float) -> tuple[dict[str, Array], dict[str, str]]:
    steps, tasks, points = np.array(curves["steps"]), np.array(curves["task"]), np.asarray(curves["accuracy"])
    values, reasons = {"anytime_accuracy": anytime_accuracy(points, tasks)}, {}
    if joint:
        return values, dict.fromkeys(OF_CURVES[1:], AT_ONCE)
    fresh = curves.get("fresh", ())
    values["aulc"] = aulc(points, steps, tasks, fresh)
    if fresh:
        values["target_aulc"], values["target_accuracy"] = (
            target_aulc(points, steps, tasks, fresh),
            R[:, -1, max(fresh) :].mean(1),
        )
    needed, reached = steps_to(criterion, points, steps, tasks, fresh)
    values["steps_to_criterion"] = needed.mean(1)
    if not reached.any():
        reasons["steps_to_criterion"] = f"no task was answered with an accuracy of {criterion:g} (evaluation.criterion)"
    if single:
        return values, reasons | dict.fromkeys(("min_accuracy", "worst_case_accuracy", "facilitation"), ALONE)
    values["min_accuracy"] = min_accuracy(points, tasks)
    values["worst_case_accuracy"] = worst_case_accuracy(R, points, tasks)
    values["facilitation"] = facilitation(points, steps, tasks, fresh)
    if np.isnan(values["aulc"]).all():
        reasons |= dict.fromkeys(("aulc", "facilitation"), NOT_MET)
    return values, reasons
