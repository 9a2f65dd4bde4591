"""Measures of continual learning: pure functions of the accuracy tensor and the curves. NaN is "undefined", never zero."""

from lab.metrics.measuring import CRITERION, OF_CURVES, OF_TENSOR, measure

__all__ = ["CRITERION", "FROM_CURVES", "LOWER_IS_BETTER", "MEASURES", "beside_name", "measure"]

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
"""Of all others more is better."""

FROM_CURVES = _and_beside(OF_CURVES)
"""Measures that depend on how often, and on how many examples, the curves were recorded."""

MEASURES = (*_and_beside((*(of.__name__ for of in OF_TENSOR), *OF_CURVES, "loss")), "online_accuracy", "online_baseline")
"""All that a run may have."""
