"""Measures of continual learning: pure functions of the accuracy tensor and the curves. NaN is "undefined", never zero."""

from lab.metrics.measuring import CRITERION, OF_CURVES, OF_TENSOR, measure

__all__ = ["CRITERION", "FROM_CURVES", "LOWER_IS_BETTER", "MEASURES", "measure"]

LOWER_IS_BETTER = ("forgetting", "plasticity_loss", "steps_to_criterion", "loss")
"""Of all others more is better."""

FROM_CURVES = OF_CURVES
"""Measures that depend on how often, and on how many examples, the curves were recorded."""

MEASURES = (*(of.__name__ for of in OF_TENSOR), *FROM_CURVES, "online_accuracy", "online_baseline", "loss")
"""All that a run may have."""
