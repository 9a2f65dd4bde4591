"""Measures of continual learning: pure functions of the accuracy tensor and the curves. NaN is "undefined", never zero."""

from lab.metrics.measuring import CRITERION, OF_CURVES, OF_TARGET, OF_TENSOR, measure
from lab.metrics.ruled import H, of_matrices, with_h

__all__ = [
    "CRITERION", "FROM_CURVES", "LOWER_IS_BETTER", "MEASURES", "beside_name", "is_measure", "lower_is_better", "measure",
    "of_matrices", "with_h",
]  # fmt: skip

KINDS_BESIDE = ("raw", "sma", "wma", "ema", "ema_source")
"""Weights that may be measured beside those that stand for a run (`averaging.beside`)."""


def beside_name(measure: str, kind: str) -> str:
    """What a measure of other weights is called.

    >>> beside_name("accuracy", "raw")
    'accuracy_raw'
    """
    return f"{measure}_{kind}"


def _and_beside(measures: tuple[str, ...]) -> tuple[str, ...]:
    return (*measures, *(beside_name(measure, kind) for kind in KINDS_BESIDE for measure in measures))


LOWER_IS_BETTER = _and_beside(("forgetting", "plasticity_loss", "steps_to_criterion", "loss"))
"""Of these, and of whatever begins with ``violation``; of all others more is better."""

FROM_CURVES = _and_beside((*OF_CURVES, *OF_TARGET))
"""Measures that depend on how often, and on how many examples, the curves were recorded."""

OF_NAMED = ("sequence_accuracy", "span_f1", "violation", "violation_forgetting", *H, "constrained_found")
"""Where outputs have names, beside those that are called by the names of outputs and rules."""

MEASURES = (
    *_and_beside((*(of.__name__ for of in OF_TENSOR), *OF_CURVES, *OF_TARGET, "loss", *OF_NAMED)),
    "online_accuracy", "online_baseline",
)  # fmt: skip
"""All that a run may have, but for those that are called by the names of outputs and rules."""


def lower_is_better(name: str) -> bool:
    """Whether less of a measure is better.

    >>> lower_is_better("forgetting"), lower_is_better("violation_bio"), lower_is_better("span_f1")
    (True, True, False)
    """
    return name in LOWER_IS_BETTER or name.startswith("violation")


def is_measure(name: str) -> bool:
    """Whether a run may have a measure of this name: `violation_RULE`, `accuracy_OUTPUT` and `constrained_MEASURE` are told by
    how they begin."""
    return name in MEASURES or name.startswith(("violation_", "accuracy_", "constrained_"))
