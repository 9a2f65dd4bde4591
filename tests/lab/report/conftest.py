"""Runs that the tests of the page share."""

import pytest

from .pages import cells, trained


@pytest.fixture(scope="session")
def found(tmp_path_factory):
    """Cells of three strategies, trained in a second each."""
    folder = tmp_path_factory.mktemp("runs")
    trained(folder)
    return cells(folder)
