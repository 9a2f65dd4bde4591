"""Is a difference real, how large is it, and how many seeds would tell: pure functions on NumPy arrays of values per seed."""

from lab.statistics.estimates import Estimate, estimate
from lab.statistics.families import holm
from lab.statistics.looks import levels, reserve_level
from lab.statistics.margins import equivalent, noninferior, superior
from lab.statistics.paired import Paired, Test, paired, sign_flip
from lab.statistics.planning import SeedsNeeded, detectable, seeds_for_equivalence, seeds_needed, smallest_p
from lab.statistics.ranks import RankTest, average_ranks, rank_test

__all__ = [
    "Estimate",
    "Paired",
    "RankTest",
    "SeedsNeeded",
    "Test",
    "average_ranks",
    "detectable",
    "equivalent",
    "estimate",
    "holm",
    "levels",
    "noninferior",
    "paired",
    "rank_test",
    "reserve_level",
    "seeds_for_equivalence",
    "seeds_needed",
    "sign_flip",
    "smallest_p",
    "superior",
]
