"""Every file under conf/experiment composes as its header says and runs in miniature."""

from __future__ import annotations

import re

import numpy as np
import pytest

from lab.config import CONF, seeds_of
from lab.results import load
from lab.run import composed
from lab.testing.sentences import write_sick, write_snips

from .lab.forked import train

FILES = sorted((CONF / "experiment").glob("*.yaml"))
MINIATURE = [
    "tracking=off",
    "trainer.enable_progress_bar=false",
    "plan.processes=1",
    "plan.stack=false",
    "seeds=2",
    "batch_size=20",
    "evaluation.every=null",
    "evaluation.batch=60",
]


def test_there_are_experiments():
    assert len(FILES) > 3


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_header_says_the_command(file):
    lines = file.read_text().splitlines()
    assert lines[0] == "# @package _global_"
    assert lines[1].startswith("# ")
    command = re.search(rf"lab run .*experiment={file.stem}", file.read_text())
    assert command, "the header must open with the command that runs it"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_runs_in_miniature(file, tmp_path):
    config = composed(f"experiment={file.stem}", *MINIATURE, f"paths.runs={tmp_path}")
    owner = config["environment"].get("base", config["environment"])
    if "source" in owner:  # other data are made on the spot
        name = owner["source"]["_target_"].rpartition(".")[2]
        owner["source"] = STANDS_IN.get(name, digits)(tmp_path)
    owner.update({name: few for name, few in (("samples", 60), ("train", 40)) if name in owner})
    owner.update({"test": 20} if "train" in owner else {})  # numbers of examples; elsewhere it is a share
    if config["environment"]["_target_"].rpartition(".")[2] not in ("Online", "Drift"):  # those are met once, whole
        config |= {"epochs": None, "steps": 2}
    results = load(train(config))
    assert results.seeds == seeds_of(2)
    assert not np.isnan(results.metrics["accuracy"]).any()


def ordered_table(folder) -> dict:
    draw = np.random.default_rng(0)
    np.savez(folder / "table.npz", x=draw.normal(size=(300, 3)), y=draw.integers(0, 2, 300))
    return {"_target_": "environments.sources.table.table", "path": str(folder / "table.npz")}


def short_text(folder) -> dict:
    (folder / "short.txt").write_text("the cat sat on the mat\n" * 30)
    return {"_target_": "environments.sources.text.text", "path": str(folder / "short.txt"), "length": 12}


def pairs(folder) -> dict:
    write_sick(folder)
    return {"_target_": "environments.sources.sick.sick", "dir": str(folder)}


def requests(folder) -> dict:
    write_snips(folder)
    return {"_target_": "environments.sources.snips.snips", "dir": str(folder), "length": 6}


def digits(_folder) -> dict:
    return {"_target_": "environments.sources.digits.digits"}


STANDS_IN = {"elec2": ordered_table, "weather": ordered_table, "ewt": short_text, "sick": pairs, "snips": requests}
