"""Which strategies cannot be listed together: those that would take each other's place, or undo what the other does."""

from __future__ import annotations

from lab.errors import UserError
from lab.learner import overrides
from lab.protocols import Strategy

ONE_ALONE = ("rewrite", "units", "criterion", "predict")
"""Hooks whose answer takes another's place, or depends on which comes first: of all strategies one may have it."""


def refuse_rivals(strategies: dict[str, Strategy]) -> None:
    """Refuse a list, by name, of which two strategies have what one alone can have.

    Raises:
        UserError: that names them.
    """
    having = {hook: [name for name, one in strategies.items() if overrides(one, hook)] for hook in ONE_ALONE}
    for hook, rivals in having.items():
        if len(rivals) > 1:
            raise UserError(f"{_listed(rivals)}: each has a {hook} of its own, and a learner can have but one")
    movers = [name for name, one in strategies.items() if moves(one)]
    if len(movers) > 1:
        raise UserError(f"{_listed(movers)}: each sets or holds parameters itself, and one would undo what another does")
    for name in having["criterion"]:
        for other in having["units"]:
            if name != other:
                unasked = f"the loss of {name} does not ask which output units it runs over, which is what {other} chooses"
                raise UserError(f"{_listed([name, other])}: {unasked}; list one of them")


def moves(strategy: Strategy) -> bool:
    """Whether it sets parameters itself: it says so, or begins tasks on a stream it wrote (GDumb, with new weights)."""
    return strategy.moves or (overrides(strategy, "rewrite") and overrides(strategy, "begin_task"))


def _listed(names: list[str]) -> str:
    return f"strategy=[{','.join(names)}]"
