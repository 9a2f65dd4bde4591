"""Every shipped engine, found in the configuration, keeps the contract that `python -m lab.testing` puts to a user's own."""

import pytest

from lab.protocols import Engine
from lab.testing import ENGINE_CHECKS, Subject, shipped

pytest.importorskip("avalanche")


@pytest.fixture(scope="module", params=shipped(Engine))
def subject(request):
    return Subject.of(f"strategy={request.param}")


def test_engines_are_found():
    assert shipped(Engine) == ["avalanche"]


@pytest.mark.parametrize("check", ENGINE_CHECKS, ids=lambda check: check.__name__)
def test_keeps_the_contract(subject, check):
    check(subject)
