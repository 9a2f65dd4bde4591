"""Elec2 (Harries 1999): prices of electricity in New South Wales, 45,312 half-hours in order; does the price rise or fall?

Labels follow one another: predicting the previous one scores .853, a bar that most learners do not reach.
"""

from environments.sources.table import named
from lab.protocols import Data


def elec2(dir: str | None = None, standardise: str = "running") -> Data:
    """float32 features ``[N, 8]``, 2 classes, in order of time."""
    return named("elec2", dir, standardise, "OpenML's data set 151, electricity")
