"""Which core of the lab a number is of, and that it is said where two meet."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import lab
from lab import core as module
from lab.core import CORE, core, files, together
from lab.engine import keep, kept
from lab.experiment import Experiment
from lab.results import Results, join, load
from lab.run import execute

from .forked import small

HERE = Path(lab.__file__).parent
DECIDE_NO_NUMBER = {
    "__init__", "__main__", "agreement", "cell", "cli", "company", "comparison", "conf", "config", "consistency",
    "core", "dashboard", "demo", "doctor", "errors", "listing", "plan", "preview", "progress", "questions", "recorded",
    "report", "results", "run", "scheduled", "statistics", "study", "sweep", "sweeps", "testing", "tracking", "workers",
}  # fmt: skip
IN_THE_CELL = {"networks", "optimizers"}
"""Named by settings, so that their source is part of the cell's digest."""


@pytest.fixture
def other_core(monkeypatch):
    """Changes the core, as an edit would: the name of the one before."""

    def change() -> str:
        before = core()
        monkeypatch.setattr(module, "CORE", CORE[:-1])
        core.cache_clear()
        assert core() != before
        return before

    yield change
    core.cache_clear()


def test_every_module_of_the_lab_is_core_or_is_not():
    names = {path.stem for path in HERE.glob("*.py")} | {path.parent.name for path in HERE.glob("*/__init__.py")}
    assert not names - {*CORE} - DECIDE_NO_NUMBER - IN_THE_CELL, "new here: does it decide numbers? then into lab.core.CORE"
    assert {*CORE} <= names
    assert not {*CORE} & DECIDE_NO_NUMBER
    assert all(path.is_file() for path in files())
    assert HERE / "memory" / "reservoir.py" in files()


def test_the_core_is_the_same_whatever_python_reads_it():
    """Written down once, by four versions: fields that came with one of them (`type_params` of 3.12) say nothing."""
    text = 'def f(x: int = None, *, y=1.5):\n    "Says."\n    return f"{x!r:>{y}} b" "c" if x else [-1, b"d"]\n'
    assert module.digest(module._bare(text)) == "59a7ad97658af0a3"


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("_GOLDEN = 0x9E3779B9", "_GOLDEN = 0x9E3779B7", False),
        ('"""', '"""In other words: ', True),
        ("_GOLDEN", "# why\n_GOLDEN", True),
    ],
    ids=["code", "docstring", "comment"],
)
def test_code_makes_another_core_and_words_do_not(tmp_path, monkeypatch, old, new, same):
    shutil.copytree(HERE, tmp_path / "lab", ignore=shutil.ignore_patterns("conf", "sweeps", "__pycache__"))
    file = tmp_path / "lab" / "seeding.py"
    text = file.read_text()
    file.write_text(text.replace(old, new, 1))
    assert file.read_text() != text
    before = core.__wrapped__()
    monkeypatch.setattr(module, "_HERE", tmp_path / "lab")
    assert (core.__wrapped__() == before) == same


def test_a_finished_run_of_another_core_is_left_and_told_of(tmp_path, capsys):
    config = small("steps=2", f"paths.runs={tmp_path}")
    folder = execute(config)
    assert load(folder).provenance["core"] == core()
    content = json.loads((folder / "results.json").read_text())
    for kept_core, said in ((core(), False), ("0123456789abcdef", True), (None, False)):
        content["provenance"] |= {"core": kept_core}
        (folder / "results.json").write_text(json.dumps(content))
        capsys.readouterr()
        assert execute(config) == folder
        err = capsys.readouterr().err
        assert ("was trained by another version of the lab's core (0123456789abcdef, not " in err) == said
        assert err.count("core") == int(said)


def test_a_run_that_goes_on_with_another_core_says_so_and_is_of_both(tmp_path, capsys, other_core):
    words = ("steps=3", f"paths.runs={tmp_path}")
    with pytest.raises(Exception, match="goes on"):
        execute(small(*words, "trainer.max_steps=3"))
    before = other_core()
    folder = execute(small(*words))
    err = capsys.readouterr().err
    assert err.count(f"was saved by another version of the lab's core ({before}, not {core()}); the run goes on") == 1
    assert load(folder).provenance["core"] == together([before, core()]) == "+".join(sorted([before, core()]))
    assert folder == Experiment(small(*words)).folder


def made(seeds, origin):
    accuracy = np.full((len(seeds), 3, 2), 0.5)
    cost = {"wall_seconds": 1.0, "wall_seconds_per_member": 1.0, "samples": [1] * len(seeds), "state_bytes": 0, "steps": 1}
    lost = [None] * len(seeds)
    return Results({}, seeds, accuracy, None, lost, cost | {"passes": {}, "resumed_from_step": None}, provenance=origin)


def test_a_kept_member_of_another_core_is_taken_and_told_of(tmp_path, capsys):
    for number, (origin, said) in enumerate((({"core": "0123"}, True), ({"core": core()}, False), ({}, False))):
        keep(made([3], origin), tmp_path / f"member-{number}.ckpt", "digest")
        assert kept(tmp_path / f"member-{number}.ckpt", "digest").seeds == [3]
        assert ("was trained by another version of the lab's core (0123, not" in capsys.readouterr().err) == said


@pytest.mark.parametrize(
    ("origins", "expected"),
    [
        ([{"core": "b"}, {"core": "a"}], "a+b"),
        ([{"core": "a"}, {"core": "a"}], "a"),
        ([{"core": "a"}, {}], None),
        ([{}, {}], None),
    ],
)
def test_processes_of_different_cores_are_of_both(origins, expected):
    joined = join([made([seed], origin) for seed, origin in enumerate(origins)], [0, 1])
    assert joined.provenance.get("core") == expected
