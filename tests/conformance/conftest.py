"""Avalanche, whose import takes ten seconds: once, and only for tests that ask for it."""

import pytest


@pytest.fixture(scope="session")
def theirs():
    """:mod:`theirs`; without Avalanche, the tests that need it are skipped."""
    pytest.importorskip("avalanche.training", reason="nothing to compare with: pip install avalanche-lib", exc_type=ImportError)
    from . import theirs

    return theirs
