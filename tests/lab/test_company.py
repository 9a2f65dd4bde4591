"""Strategies that would take each other's place, or undo what the other does, are refused by name; others compose."""

import pytest

from lab.company import refuse_rivals
from lab.errors import UserError
from lab.experiment import Experiment
from lab.protocols import Strategy

from .forked import small

MOVE = "each sets or holds parameters itself"
REWRITE = "each has a rewrite of its own"
LOSS = "the loss of {} does not ask which output units it runs over, which is what {} chooses"


def refused(words: str, *others: str) -> str:
    with pytest.raises(UserError) as error:
        Experiment(small(f"strategy=[{words}]", *others))
    return str(error.value)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("frozen,shrink_perturb", MOVE),
        ("frozen,continual_backprop", MOVE),
        ("gdumb,from_scratch", MOVE),
        ("frozen,gdumb", MOVE),
        ("slda,from_scratch", MOVE),
        ("shrink_perturb,from_scratch", MOVE),
        ("separate,continual_backprop", MOVE),
        ("gdumb,cumulative", REWRITE),
        ("joint,gdumb", REWRITE),
        ("cumulative,joint", REWRITE),
        ("icarl,labels_trick", LOSS.format("icarl", "labels_trick")),
        ("icarl,er_ace", LOSS.format("icarl", "er_ace")),
    ],
)
def test_in_either_order_two_rivals_are_refused_and_both_named(words, why):
    for order in (words.split(","), words.split(",")[::-1]):
        said = refused(",".join(["er", *order]))
        assert why in said
        named = said.partition(":")[0]
        assert all(name in named for name in order)
        assert "er," not in named, "the one that has no part in it"


@pytest.mark.parametrize(
    "words",
    [
        ["strategy=[cumulative,from_scratch]"],
        ["strategy=[er,frozen,ewc]"],
        ["strategy=[slda,frozen]", "strategy.slda.freeze=never"],
    ],
)
def test_what_composes_is_not_refused(words):
    assert len(Experiment(small(*words)).strategies()) > 1


class Both(Strategy):
    """A loss of its own, on units of its own."""

    def units(self, learner, batch):
        return None

    def criterion(self, learner, batch, logits):
        return None


class Units(Strategy):
    def units(self, learner, batch):
        return None


def test_a_criterion_goes_with_units_of_the_same_strategy():
    refuse_rivals({"both": Both(), "plain": Strategy()})
    with pytest.raises(UserError, match=r"strategy=\[both,other\]: each has a units of its own"):
        refuse_rivals({"both": Both(), "other": Units()})
