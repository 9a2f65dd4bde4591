"""What the tests of sweeps share: finished sweeps made by hand, and a PostgreSQL server of their own."""

import pytest

from .made import TWO, found
from .server import postgresql

__all__ = ["one", "postgresql", "two"]


@pytest.fixture(scope="session")
def one():
    """A finished sweep of two arms by one objective."""
    return found()


@pytest.fixture(scope="session")
def two():
    """A finished sweep of two arms by two objectives."""
    return found(TWO)
