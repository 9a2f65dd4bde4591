"""The main job: what makes a cell, what a split over processes changes (nothing), what seeds mean."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lab.experiment import Experiment
from lab.results import load
from lab.training import checkpoints

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


def end(folder: Path) -> dict[str, torch.Tensor]:
    """What the last checkpoint holds of the members: parameters, memories, momentum, clocks."""
    content = torch.load(checkpoints(folder)[0], weights_only=True)
    kept = {name: value for name, value in content["state_dict"].items() if not name.startswith("evaluation.")}
    for number, state in content["optimizer_states"][0]["state"].items():
        kept |= {f"optimizer/{number}/{name}": value for name, value in state.items()}
    return kept


def assert_members_close(name: str, together: torch.Tensor, part: torch.Tensor, members: list[int]) -> None:
    """Floats within 1e-5, integers (clocks, memories) exactly."""
    assert len(part) == len(members)
    atol = 1e-5 if part.is_floating_point() else 0
    torch.testing.assert_close(part, together[members], rtol=0, atol=atol, msg=lambda text: f"{name}: {text}")


def test_split_over_processes_or_not_the_members_are_the_same(tmp_path):
    folders, seeds = {}, [4, 2, 9]
    for processes in (1, 2):
        # By epochs over split data, members' tasks differ in length, and the longest may be another process's.
        words = ("environment=split", "environment.tasks=5", "epochs=1", "evaluation.every=3", "batch_size=8")
        where = (f"plan.processes={processes}", f"paths.runs={tmp_path / str(processes)}")
        config = small(*words, "strategy=er", f"seeds={seeds}", *where)
        assert forked(lambda config=config: train(config)) == 0
        folders[processes] = Experiment(config).folder
    together, parts = end(folders[1]), [end(folders[2] / f"part-{number}") for number in (0, 1)]
    assert any("slots" in name for name in together)
    for name in (name for name, value in together.items() if value.dim()):
        assert_members_close(name, together[name], parts[0][name], [0, 2])
        assert_members_close(name, together[name], parts[1][name], [1])
    one, two = load(folders[1]), load(folders[2])
    assert one.seeds == two.seeds == seeds
    # Weights that differ in their last digits may tip a sample on the edge, no more.
    tested = [min(len(stream.tasks[t].test) for stream in Experiment(config).streams) for t in range(5)]
    assert (np.nan_to_num(np.abs(one.accuracy - two.accuracy)) <= 1.01 / np.array(tested)).all()
    np.testing.assert_array_equal(np.isnan(one.accuracy), np.isnan(two.accuracy))
    assert one.curves["steps"] == two.curves["steps"]
    np.testing.assert_allclose(one.curves["accuracy"], two.curves["accuracy"], atol=1.01 / 20)
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
    from lab.cell import sources

    node = {"_target_": "environments.split.Split"}
    assert inspect.getsource(augment) in sources(node)
    assert inspect.getsource(inspect.getmodule(sources)) not in sources(node)
