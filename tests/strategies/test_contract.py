"""Every shipped strategy, found in the configuration, keeps the contract that `python -m lab.testing` puts to a user's own."""

import pytest

from lab.protocols import Strategy
from lab.testing import CHECKS, Subject, shipped

STRATEGIES = shipped(Strategy)


@pytest.fixture(scope="module", params=STRATEGIES)
def subject(request):
    return Subject.of(f"strategy={request.param}")


def test_strategies_are_found():
    assert {"naive", "er", "joint", "cumulative"} <= set(STRATEGIES)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_keeps_the_contract(subject, check):
    check(subject)


def test_strategies_compose():
    for check in CHECKS:
        check(Subject.of("strategy=[er,cumulative]", "strategy.er.balance=0.3", "optimizer=adamw", "clip=0.5"))
