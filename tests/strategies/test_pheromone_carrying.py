"""Fields at a reset: slots that were numbered otherwise are found again, minima, ranks; and of other runs' fields."""

from functools import partial

import numpy as np
import pytest
import torch

from lab.errors import UserError
from lab.experiment import Experiment
from lab.networks import MLP
from lab.testing import composed
from lab.testing.miniature import small_learner
from strategies.pheromone import Pheromone
from strategies.pheromone_carrying import aligned, of_rank, smallest

FIELD = np.random.default_rng(0).uniform(0.1, 2.0, (6, 6))
ORDER = [3, 0, 5, 1, 4, 2]
RENUMBERED = FIELD[np.ix_(ORDER, ORDER)]


def test_slots_that_were_renumbered_are_found_again():
    assert np.array_equal(aligned(FIELD, RENUMBERED), FIELD)
    noise = np.random.default_rng(1).normal(0, 0.01, (6, 6))
    np.testing.assert_allclose(aligned(FIELD, RENUMBERED + noise), FIELD, atol=0.05)


def test_the_smallest_of_the_fields_that_were_met():
    """The second member has met the last two alone; what was not met is ignored."""
    lower = FIELD.copy()
    lower[2, 3] = 0.05
    fields = torch.from_numpy(np.stack([[FIELD, RENUMBERED, 0 * FIELD], [0 * FIELD, RENUMBERED, lower]]))
    least = smallest(fields, torch.tensor([[True, True, False], [False, True, True]]))
    assert torch.equal(least[0], torch.from_numpy(FIELD))
    expected = FIELD.copy()
    expected[2, 3] = 0.05
    assert torch.equal(least[1], torch.from_numpy(expected[np.ix_(ORDER, ORDER)])), "in the order of the first one met"


def test_each_field_is_aligned_with_the_first_one():
    """And not with the least of those before it, of which a low one would leave little to know slots by."""
    low = np.random.default_rng(1).uniform(0.1, 0.6, (6, 6))
    least = smallest(torch.from_numpy(np.stack([[FIELD, low, RENUMBERED]])), torch.ones(1, 3, dtype=torch.bool))
    assert np.array_equal(least[0].numpy(), np.minimum(FIELD, aligned(FIELD, low)))


@pytest.mark.parametrize("rank", [1, 3])
def test_the_closest_matrix_of_a_rank(rank):
    """A sum of so many outer products is itself; of another the distance is that of the singular values left out."""
    low = sum(np.outer(FIELD[k], FIELD[:, k]) for k in range(rank))
    torch.testing.assert_close(of_rank(torch.from_numpy(low)[None], rank)[0], torch.from_numpy(low))
    left_out = np.linalg.svd(FIELD, compute_uv=False)[rank:]
    distance = np.linalg.norm(of_rank(torch.from_numpy(FIELD)[None], rank)[0].numpy() - FIELD)
    assert distance == pytest.approx(np.linalg.norm(left_out))


def learner_with(strategy, seeds=(1, 2), **options):
    return small_learner([*seeds], partial(MLP, (1, 8, 8), 4, width=6, depth=1), (strategy,), **options)


def write(path, **changed):
    """Two fields for two members, as at three moments."""
    fields = {f"field_{n}": np.random.default_rng(n).uniform(0.1, 2.0, (3, 2, 4, 4)).astype(np.float32) for n in range(2)}
    np.savez(path, steps=np.arange(3), **{f"pheromone.{name}": value for name, value in (fields | changed).items()})
    return fields


def test_a_run_begins_with_the_last_fields_of_another(tmp_path):
    fields = write(tmp_path / "recorded.npz")
    strategy = Pheromone(slots=4, field=str(tmp_path / "recorded.npz"))
    learner_with(strategy)
    for n, field in enumerate(strategy.fields):
        np.testing.assert_allclose(field.numpy(), fields[f"field_{n}"][-1])
    alone = Pheromone(slots=4, field=str(tmp_path / "recorded.npz"))
    learner_with(alone, seeds=[2], places=([1], 2))
    np.testing.assert_allclose(alone.field_1[0].numpy(), fields["field_1"][-1, 1], err_msg="the second of two")


def test_one_field_for_all_members(tmp_path):
    write(tmp_path / "a.npz", field_0=np.full((4, 4), 0.7), field_1=np.full((4, 4), 0.5))
    strategy = Pheromone(slots=4, field=str(tmp_path / "a.npz"))
    learner_with(strategy)
    assert (strategy.field_0 == 0.7).all()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"field_1": np.ones((5, 5))}, r"field_1 of shape \[4, 4\] or \[2, 4, 4\], as this network and run have, not \[5, 5\]"),
        ({"field_0": np.ones((3, 7, 4, 4))}, r"not \[7, 4, 4\]"),
        ({"field_0": np.full((4, 4), 2.1)}, r"within tau_min=0.1 and tau_max=2"),
        ({"field_0": np.full((4, 4), np.nan)}, r"within tau_min=0.1 and tau_max=2"),
    ],
)
def test_fields_that_do_not_fit_are_refused(tmp_path, changed, named):
    write(tmp_path / "a.npz", **changed)
    with pytest.raises(UserError, match=rf"strategy\.pheromone\.field=.*a\.npz: expected .*{named}"):
        learner_with(Pheromone(slots=4, field=str(tmp_path / "a.npz")))


def test_files_that_are_none_are_refused(tmp_path):
    (tmp_path / "a.npz").write_text("fields")
    np.savez(tmp_path / "b.npz", field_0=np.ones((4, 4)))
    for name, where in (("a", Pheromone), ("b", lambda **options: learner_with(Pheromone(slots=4, **options)))):
        with pytest.raises(UserError, match=rf"strategy\.pheromone\.field=.*{name}\.npz"):
            where(field=str(tmp_path / f"{name}.npz"))
    with pytest.raises(UserError, match=r"strategy\.pheromone\.field=nowhere\.npz"):
        Pheromone(field="nowhere.npz")
    np.save(tmp_path / "one.npy", np.ones((4, 4)))
    for given in (str(tmp_path / "one.npy"), 3):
        with pytest.raises(UserError, match=rf"strategy\.pheromone\.field={given}: expected a \.npz file of fields"):
            Pheromone(field=given)


def test_a_cell_is_of_the_fields_and_not_of_the_name_of_their_file(tmp_path):
    def cell(name):
        words = ("experiment=digits_permuted", "strategy=pheromone", f"strategy.pheromone.field={tmp_path / name}")
        return Experiment(composed(*words, "tracking=off")).digest

    write(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npz").read_bytes())
    write(tmp_path / "c.npz", field_0=np.ones((4, 4)))
    assert cell("a.npz") == cell("b.npz") != cell("c.npz")
