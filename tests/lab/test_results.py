"""What strategies tell of how they worked, on its way through the results file."""

import json

import numpy as np
import pytest
import torch

from lab.errors import UserError
from lab.protocols import Strategy
from lab.results import Results, join, load, members, save

from .forked import small, train

STEPS = "steps=2"


class Telling(Strategy):
    """Tells of each member the first digit of its seed's square, and nothing of the member with seed 3."""

    def setup(self, learner):
        self.register_buffer("squares", torch.tensor([float(seed**2) if seed != 3 else float("nan") for seed in learner.seeds]))

    def diagnostics(self):
        return {"share": self.squares / 10}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A run directory of seeds 2, 3 and 5, in two processes."""
    monkeypatch.setenv("LAB_PACKAGES", __name__.split(".")[0])
    config = small(STEPS, "seeds=[2,3,5]", "plan.processes=2", f"paths.runs={tmp_path}")
    return train(config | {"strategy": {"mine": {"_target_": f"{__name__}.Telling"}}})


def test_each_member_has_its_own_figures_in_the_order_of_the_seeds(folder):
    written = json.loads((folder / "results.json").read_text())
    assert written["diagnostics"] == {"mine.share": [0.4, None, 2.5]}
    results = load(folder)
    np.testing.assert_array_equal(results.diagnostics["mine.share"], [0.4, np.nan, 2.5])
    np.testing.assert_array_equal(members(results, [5, 2]).diagnostics["mine.share"], [2.5, 0.4])
    both = join([members(results, [5]), members(results, [2])], [2, 5])
    np.testing.assert_array_equal(both.diagnostics["mine.share"], [0.4, 2.5])


def test_an_infinite_setting_is_told_from_none(tmp_path):
    config = {"strategy": {"naive": {}}, "environment": {"_target_": "x.Y", "exponents": [np.inf, -np.inf, 0.5, None]}}
    none = np.zeros((1, 2, 1))
    results = Results(config, [0], none, None, [None], {"samples": [0], "steps": [0], "passes": [0], "wall_seconds": 0.0})
    save(results, tmp_path)
    assert load(tmp_path).config["environment"]["exponents"] == ["inf", "-inf", 0.5, None]


def test_an_older_file_has_none_and_a_wrong_one_is_refused(folder):
    written = json.loads((folder / "results.json").read_text())
    older = {key: value for key, value in written.items() if key != "diagnostics"}
    (folder / "results.json").write_text(json.dumps(older))
    assert load(folder).diagnostics == {}
    assert join([load(folder)], [5, 2]).diagnostics == {}
    save(load(folder), folder)
    assert load(folder).diagnostics == {}
    (folder / "results.json").write_text(json.dumps(written | {"diagnostics": {"mine.share": [0.4, 2.5]}}))
    with pytest.raises(UserError, match="do not fit"):
        load(folder)
