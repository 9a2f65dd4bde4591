"""Measures of continual learning: pure functions of the accuracy tensor and the curves. NaN is "undefined", never zero."""

from lab.metrics.accuracy import measure

__all__ = ["FROM_CURVES", "LOWER_IS_BETTER", "MEASURES", "measure"]

LOWER_IS_BETTER = ("forgetting", "plasticity_loss")
"""Of all others more is better."""

MEASURES = (
    "accuracy",
    "learning_accuracy",
    "backward_transfer",
    "forgetting",
    "forward_transfer",
    "plasticity_loss",
    "anytime_accuracy",
    "min_accuracy",
    "worst_case_accuracy",
    "aulc",
    "online_accuracy",
    "online_baseline",
)
"""All that a run may have."""

FROM_CURVES = ("anytime_accuracy", "min_accuracy", "worst_case_accuracy", "aulc")
"""Measures that depend on how often, and on how many examples, the curves were recorded."""
