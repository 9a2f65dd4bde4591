"""Measures of continual learning: pure functions of the accuracy tensor and the curves. NaN is "undefined", never zero."""

from lab.metrics.accuracy import measure

__all__ = ["measure"]
