"""What `strategy.KEY=` means where one strategy is listed, and how a misspelt one is answered."""

import sys

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException

from lab.run import composed, explained, overrides


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["strategy=er", "strategy.memory=200"], "strategy.er.memory=200"),
        (["strategy.memory=200", "strategy=[er]"], "strategy.er.memory=200"),
        (["strategy=er", "strategy.er.memory=200"], "strategy.er.memory=200"),
        (["strategy=avalanche", "+strategy.options.ewc_lambda=0.4"], "+strategy.avalanche.options.ewc_lambda=0.4"),
        (["strategy=er", "~strategy.balance"], "~strategy.er.balance"),
        (["strategy.memory=3"], "strategy.naive.memory=3"),
        (["strategy=er", "strategy.joint.memory=3"], "strategy.joint.memory=3"),
        (["strategy=[er,joint]", "strategy.memory=3"], "strategy.memory=3"),
        (["-m", "strategy=er,joint", "strategy.memory=3"], "strategy.memory=3"),
        (["-m", "strategy=er", "strategy.memory=3,4"], "strategy.er.memory=3,4"),
        (["experiment=no_such", "strategy.memory=3"], "strategy.memory=3"),
    ],
)
def test_an_option_without_a_name_is_that_of_the_only_strategy(words, meant):
    assert meant in overrides(words)
    assert len(overrides(words)) == len(words)


def test_an_experiment_may_list_it(tmp_path, monkeypatch):
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ndefaults:\n  - override /strategy: [er]\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    monkeypatch.setenv("LAB_CONFIG", str(tmp_path))
    assert composed("experiment=mine", "strategy.memory=7")["strategy"]["er"]["memory"] == 7
    assert composed("experiment=mine", "strategy=avalanche", "strategy.name=LwF")["strategy"]["avalanche"]["name"] == "LwF"


def test_a_users_own_strategy_is_known_by_its_file(tmp_path, monkeypatch):
    (tmp_path / "strategy").mkdir()
    (tmp_path / "strategy" / "mine.yaml").write_text("mine:\n  _target_: mine.Mine\n  pull: 1\n")
    monkeypatch.setenv("LAB_CONFIG", str(tmp_path))
    assert "strategy.mine.pull=2" in overrides(["strategy=er", "strategy.mine.pull=2"])
    assert composed("strategy=mine", "strategy.pull=2")["strategy"]["mine"]["pull"] == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["strategy=er", "strategy.memroy=3"], "strategy.er.memroy: there is no such key. Did you mean strategy.er.memory?"),
        (["strategy=avalanche", "strategy.avalanch.name=EWC"], "strategy.avalanche.avalanch.name: there is no such key."),
        (["strategy=ero", "strategy.memory=3"], "strategy=ero: there is none. Did you mean er?"),
        (["strategy=er", "strategy.er.memroy=3"], "Did you mean strategy.er.memory?"),
        (["strategy=er", "strategy.joint.memory=3"], "joint is not among the strategies; choose it, strategy=joint"),
        (
            ["strategy=avalanche", "strategy.options.mem_size=3"],
            "strategy.avalanche.options does not hold it yet; with a + in front, +strategy.avalanche.options.mem_size=...",
        ),
    ],
)
def test_misspelt_words_are_answered(words, told, monkeypatch):
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["lab", *words])
    with pytest.raises(HydraException) as stopped:
        composed(*words)
    assert told in explained(stopped.value)
