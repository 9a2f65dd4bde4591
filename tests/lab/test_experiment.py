"""The main job: what makes a cell, what a split over processes changes (nothing), what seeds mean."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lab.experiment import Experiment
from lab.results import load

from .forked import forked, small, train

STEPS = "steps=6"


def test_the_cell_is_what_decides_the_numbers(tmp_path):
    def cell(*words):
        return Experiment(small(STEPS, *words)).digest

    base = cell()
    same = ("seeds=3", f"paths.runs={tmp_path}", "tracking=off", "plan.block=2", "checkpoint.every=3", "data.dir=/elsewhere")
    assert {cell(word) for word in same} == {base}
    other = (
        "optimizer.lr=0.2",
        "environment.tasks=4",
        "network.width=13",
        "batch_size=7",
        "trainer.precision=64",
        "strategy=er",
    )
    assert len({base, *(cell(word) for word in other)}) == len(other) + 1


def test_editing_a_method_makes_another_cell(tmp_path, monkeypatch):
    def cell() -> str:
        import importlib
        import linecache
        import sys

        sys.modules.pop("edited_method", None)
        importlib.invalidate_caches()
        linecache.clearcache()
        config = small(STEPS)
        config["strategy"] = {"edited": {"_target_": "edited_method.Edited"}}
        return Experiment(config).digest

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("LAB_PACKAGES", "edited_method")
    source = "from lab.protocols import Strategy\n\n\nclass Edited(Strategy):\n    strength = {}\n"
    (tmp_path / "edited_method.py").write_text(source.format(1))
    first = cell()
    assert cell() == first
    (tmp_path / "edited_method.py").write_text(source.format(22))
    assert cell() != first


def test_split_over_processes_or_not_the_members_are_the_same(tmp_path):
    folders = {}
    for processes in (1, 2):
        # By epochs over split data, members' tasks differ in length, and the longest may be another process's.
        words = ("environment=split", "environment.tasks=5", "epochs=1", "evaluation.every=3", "batch_size=8")
        where = (f"plan.processes={processes}", f"paths.runs={tmp_path / str(processes)}")
        config = small(*words, "strategy=er", "seeds=[4,2,9]", *where)
        assert forked(lambda config=config: train(config)) == 0
        folders[processes] = Experiment(config).folder
    one, two = load(folders[1]), load(folders[2])
    assert one.seeds == two.seeds == [4, 2, 9]
    np.testing.assert_allclose(one.accuracy, two.accuracy, atol=0.03)
    assert one.curves["steps"] == two.curves["steps"]
    np.testing.assert_allclose(one.curves["accuracy"], two.curves["accuracy"], atol=0.1)
    assert json.loads((folders[2] / "plan.json").read_text())["processes"] == 2
    assert one.cost["samples"] == two.cost["samples"]


def test_a_member_does_not_depend_on_which_seeds_it_is_run_with(tmp_path):
    together = load(train(small(STEPS, "seeds=[4,2,9]", f"paths.runs={tmp_path}")))
    other = load(train(small(STEPS, "seeds=[2,7,4]", f"paths.runs={tmp_path}")))
    np.testing.assert_array_equal(together.accuracy[[1, 0]], other.accuracy[[0, 2]])


@pytest.mark.parametrize("purpose", ["stream", "order", "initialisation"])
def test_a_seed_for_all_leaves_the_others_to_the_member(purpose):
    experiment = Experiment(small(STEPS, "seeds=[3,4]", f"seed_for.{purpose}=7"))
    assert experiment.seeds_for(purpose) == [7, 7]
    others = {"stream", "order", "initialisation"} - {purpose}
    assert all(experiment.seeds_for(other) == [3, 4] for other in others)


def test_members_that_share_everything_are_one(tmp_path):
    shared = [f"seed_for.{purpose}=7" for purpose in ("stream", "order", "initialisation")]
    accuracy = load(train(small(STEPS, "seeds=[3,4]", *shared, f"paths.runs={tmp_path}"))).accuracy
    np.testing.assert_array_equal(accuracy[0], accuracy[1])


def test_editing_what_environments_share_makes_another_cell(monkeypatch):
    import inspect

    from environments import augment
    from lab.config import sources

    node = {"_target_": "environments.split.Split"}
    assert inspect.getsource(augment) in sources(node)
    assert inspect.getsource(inspect.getmodule(sources)) not in sources(node)
