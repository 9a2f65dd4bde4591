"""What strategies show of themselves is kept over time: at the right moments, over a kill, of members in several processes."""

import numpy as np
import pytest
import torch

from environments.motif_families import MotifFamilies
from lab.errors import UserError
from lab.networks import Pathways
from lab.protocols import Strategy
from lab.recorded import FILE, joined, load_recorded
from lab.recorder import MOST
from lab.stream import Budget
from lab.testing.miniature import Miniature, checkpoint, fit, restored, small_learner

from .forked import small, train

SEEDS = [3, 8]


class Counts(Strategy):
    """Shows how many steps were taken, and each member's clock."""

    def setup(self, learner):
        self.register_buffer("steps", torch.zeros(learner.members, 2))

    def after_step(self, learner, batch):
        self.steps += 1

    def recorded(self):
        return {"steps": self.steps}


def counted(seeds=SEEDS, **options):
    return small_learner(seeds, strategies=(Counts(),), environment=Miniature(uneven=False), **options)


def test_it_is_kept_at_the_beginning_at_evaluations_and_at_ends_of_phases():
    learner = counted(curves=3)
    fit(learner)
    kept = learner.recorder.kept(["counts"])
    assert kept.steps.tolist() == [0, 3, 6, 8, 9, 12, 15, 16]
    assert kept.ends.tolist() == [8, 16]
    assert kept.seeds.tolist() == SEEDS
    assert kept.values["counts.steps"][:, 0, 1].tolist() == kept.steps.tolist()
    assert not kept.contents, "a perceptron has no slots"


def test_without_curves_it_is_kept_at_ends_alone():
    learner = counted()
    assert learner.recorder.steps == [0, 8, 16]


def test_of_many_moments_evenly_spaced_ones_are_kept():
    learner = counted(curves=1, budget=Budget(4, steps=300))
    steps = learner.recorder.steps
    assert len(steps) == MOST
    assert (steps[0], steps[-1]) == (0, 600)
    assert set(np.diff(steps)) == {3, 4}


def test_who_shows_nothing_keeps_nothing():
    learner = small_learner(SEEDS)
    fit(learner)
    assert learner.recorder.kept(["naive"]) is None
    assert not [name for name in learner.state_dict() if name.startswith("recorder")]


def test_it_goes_on_after_a_resume():
    whole, stopped, resumed = (counted(curves=3) for _ in range(3))
    fit(whole)
    fit(resumed, restored(resumed, checkpoint(stopped, fit(stopped, until=3))))
    ours, theirs = (learner.recorder.kept(["counts"]).values["counts.steps"] for learner in (resumed, whole))
    np.testing.assert_array_equal(ours, theirs)


def test_members_in_several_processes_are_put_together_in_the_order_of_seeds(tmp_path):
    folders = [
        train(
            small(
                "strategy=pheromone", "steps=4", "seeds=3", "evaluation.every=2", f"plan.processes={processes}",
                f"paths.runs={tmp_path / str(processes)}",
            )
        )
        for processes in (1, 2)
    ]  # fmt: skip
    one, two = map(load_recorded, folders)
    assert one.steps.tolist() == two.steps.tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert one.seeds.tolist() == two.seeds.tolist() == [0, 1, 2]
    (name, *_) = one.values
    assert one.values[name].shape[:2] == (7, 3)
    for name, values in one.values.items():
        np.testing.assert_allclose(two.values[name], values, rtol=1e-4, atol=1e-5)
    assert joined([one, None], [0]) is None
    (folders[0] / FILE).write_bytes(b"none")
    with pytest.raises(UserError, match=r"recorded\.npz: is no record of this lab"):
        load_recorded(folders[0])


def test_what_slots_hold_is_the_mean_assignment_of_places_and_of_planted_motifs():
    environment = MotifFamilies(["A1", "A2"], length=12, motifs=1, planted=[1, 2], train=16, test=70)

    def network():
        return Pathways((12,), 2, width=8, depth=2, heads=2, slots=3, kept=4, window=2, vocabulary=32)

    learner = small_learner(SEEDS, network, strategies=(Counts(),), environment=environment)
    fit(learner)
    held = learner.recorder.kept(["counts"]).contents
    assert {name: array.shape for name, array in held.items()} == {
        "by_place": (2, 2, 2, 2, 12, 3),
        "by_mark": (2, 2, 2, 2, 3, 3),
    }
    rows = torch.arange(70, 140)  # the second task's
    inputs, _ = learner.reader.read(rows.expand(2, -1), torch.ones(2, 1, dtype=torch.int64), "test")
    marks = environment.data.test.marks[rows]
    learner.population.eval()
    for m in range(2):
        one = network().eval()
        one.load_state_dict(learner.population.member(m))
        seen = []
        one.layers[1].grouper_2.register_forward_hook(lambda _module, _inputs, out, seen=seen: seen.append(out.detach()))
        one(inputs[m])
        expected = torch.stack([seen[0][marks == mark].mean(0) for mark in (-1, 0, 1)])
        np.testing.assert_allclose(held["by_place"][1, m, 1, 1], seen[0].mean(0), atol=1e-5)
        np.testing.assert_allclose(held["by_mark"][1, m, 1, 1], expected, atol=1e-5)
