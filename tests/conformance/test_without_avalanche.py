"""The lab without Avalanche: only what is asked for by its name needs it, and that says how to get it."""

import os
import sys
from importlib.abc import MetaPathFinder

import pytest
from hydra.core.global_hydra import GlobalHydra

from lab.run import main

from ..lab.forked import SMALL, forked


class Missing(MetaPathFinder):
    """As if the package were not installed; notes who asks for it."""

    def __init__(self):
        self.asked = []

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "avalanche":
            self.asked.append(name)
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


@pytest.fixture
def run(tmp_path, capfd, monkeypatch):
    """``run(*words)`` is `lab run` of a small cell where Avalanche is not: its status and what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lab"])

    def call(*words, may_ask):
        def job():
            for name in [name for name in sys.modules if name.partition(".")[0] == "avalanche"]:
                del sys.modules[name]
            sys.meta_path.insert(0, missing := Missing())
            GlobalHydra.instance().clear()
            status = main([*SMALL, "steps=2", "seeds=2", *words])
            assert may_ask or not missing.asked
            sys.stderr.flush()
            os._exit(status)

        status = forked(job)
        return status, capfd.readouterr().err

    return call


def test_a_run_does_not_ask_for_it(run):
    status, said = run("strategy=er", may_ask=False)
    assert status == 0, said


@pytest.mark.parametrize("word", ["environment=avalanche", "strategy=avalanche"])
def test_what_needs_it_says_how_to_get_it(run, word):
    status, said = run(word, may_ask=True)
    assert status == 2
    assert said.startswith(f"lab: {word}: Avalanche cannot be imported")
    assert "pip install avalanche-lib" in said
    assert said.count("\n") == 1
