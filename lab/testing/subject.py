"""What is put through the contract: strategies in a composed configuration, small enough to be trained in a moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lab.experiment import Experiment
from lab.learner import ContinualLearner
from lab.plan import Plan
from lab.protocols import SCENARIOS, Strategy
from lab.run import composed
from lab.testing.device import ContractError

SMALL = {
    "network": ("network=mlp", "network.width=16", "network.depth=1"),
    "optimizer": ("optimizer=sgd", "optimizer.lr=0.05", "optimizer.momentum=0.9"),
}
"""What is tested with unless the words name another."""
RULED = {"network": {"_target_": "lab.networks.Tagger", "vocabulary": 8, "width": 8}}
"""What strategies that need rules are tested with, over a stream of sentences."""
SEEDS = [3, 11, 4]


@dataclass(frozen=True)
class Subject:
    """The strategies under test, in a composed configuration; the environment in it is replaced by a miniature one."""

    config: dict[str, Any]
    _made: dict[tuple, Experiment] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, *words: str) -> Subject:
        """From words of the command line, such as ``strategy=mine strategy.mine.strength=3``."""
        small = [
            word for group, defaults in SMALL.items() if not any(w.startswith(f"{group}=") for w in words) for word in defaults
        ]
        return cls(composed("tracking=off", "batch_size=4", *small, *words))

    def in_double(self) -> Subject:
        """The same in double precision, where rounding is too small to be taken for a fault."""
        return Subject(self.config | {"trainer": self.config["trainer"] | {"precision": "64"}})

    def experiment(
        self, seeds: list[int] = SEEDS, scenario: str | None = None, announced: bool = True, tasks: int = 2
    ) -> Experiment:
        """The strategies on a miniature stream, in the first scenario they claim unless one is given."""
        scenario = scenario or self.scenarios()[0]
        key = (*seeds, scenario, announced, tasks)
        if key not in self._made:
            options = {"scenario": scenario, "announced": announced}
            small = {"environment": {"_target_": "lab.testing.miniature.Miniature", **options, "tasks": tasks}}
            if any(strategy.needs_rules for strategy in self.strategies()):
                small = {"environment": {"_target_": "lab.testing.ruled.Phrases", **options, "uneven": True}, **RULED}
            self._made[key] = Experiment(self.config | small | {"seeds": list(seeds)})
        return self._made[key]

    def learner(
        self,
        seeds: list[int] = SEEDS,
        stack: bool = True,
        block: int = 3,
        left: list[int] | None = None,
        **environment: Any,
    ) -> ContinualLearner:
        """A new learner for a population with these seeds, or for those that are ``left`` of them (positions)."""
        experiment, everyone = self.experiment(seeds, **environment), list(range(len(seeds)))
        return experiment.learner(left or everyone, Plan(stack, 1, 1, block, why="a test"), everyone if left else None)

    def strategies(self) -> list[Strategy]:
        return Experiment.strategies(self)

    def scenarios(self) -> list[str]:
        """The scenarios that all strategies under test claim, the most general first."""
        claimed = [set(strategy.scenarios) for strategy in self.strategies()]
        for strategy in self.strategies():
            unknown = set(strategy.scenarios) - set(SCENARIOS)
            if unknown:
                raise ContractError(
                    f"{kind(strategy)}.scenarios: {', '.join(sorted(unknown))} is none of {', '.join(SCENARIOS)}"
                )
        common = [scenario for scenario in reversed(SCENARIOS) if all(scenario in each for each in claimed)]
        if not common:
            raise ContractError("the strategies have no scenario in common")
        return common

    @property
    def needs_boundaries(self) -> bool:
        return any(strategy.needs_boundaries for strategy in self.strategies())


def kind(strategy: Strategy) -> str:
    """What a strategy is called in what is said of it."""
    return type(strategy).__name__
