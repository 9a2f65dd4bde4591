"""Sweeps that the tests of figures and of the page share."""

import pytest

from .made import TWO, found


@pytest.fixture(scope="session")
def one():
    """A finished sweep of two arms by one objective."""
    return found()


@pytest.fixture(scope="session")
def two():
    """A finished sweep of two arms by two objectives."""
    return found(TWO)
