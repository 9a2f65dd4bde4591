"""Is A better than B? Finished runs, paired by seed: found, held against each other, tested."""

from lab.comparison.cells import Cell, Run, cells_of
from lab.comparison.comparing import compare
from lab.comparison.findings import Comparison, Difference, Ranks, Summary

__all__ = ["Cell", "Comparison", "Difference", "Ranks", "Run", "Summary", "cells_of", "compare"]
