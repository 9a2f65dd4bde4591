"""The pheromone pathway network under the lab's learner: what it is told of a phase, kills, company, devices, and that it
learns."""

from functools import partial

import pytest
import torch

from lab.networks import Pathways
from lab.optimizers import AdamW
from lab.protocols import Data, Examples, Stream, Task, generator, phase_per_task
from lab.stream import Blocks, Budget
from lab.testing.elsewhere import moments, step_on_fake_cuda, step_on_meta
from lab.testing.miniature import checkpoint, fit, fit_watched, restored, small_learner

LENGTH, TOKENS = 16, 8
COORDINATES = ["learned", "token_position", "position"]
NETWORK = partial(Pathways, (LENGTH,), 2, width=16, depth=2, heads=2, slots=4, kept=5, window=4, vocabulary=TOKENS, dropout=0.1)


class Pairs:
    """Sequences that have 1 1 2 somewhere or 3 3 4; the second task has 5 5 6 and 6 6 7. Members' tasks differ in length."""

    def __init__(self, samples=64, uneven=True):
        self.samples, self.uneven = samples, uneven
        self.data = Data("pairs", self._split(0), self._split(1), 2, f"pairs-{samples}")

    def _split(self, number):
        draw = generator(number, "pairs")
        inputs = torch.randint(0, TOKENS, (2 * self.samples, LENGTH), generator=draw)
        targets, places = (torch.randint(0, most, (2 * self.samples,), generator=draw) for most in (2, LENGTH - 2))
        motifs = torch.tensor([[[1, 1, 2], [3, 3, 4]], [[5, 5, 6], [6, 6, 7]]])
        for row, (label, place) in enumerate(zip(targets.tolist(), places.tolist(), strict=True)):
            inputs[row, place : place + 3] = motifs[row // self.samples, label]
        return Examples(inputs, targets)

    def stream(self, seed):
        rows = torch.arange(2 * self.samples).view(2, -1)
        labels = torch.arange(2)
        kept = [int(torch.randint(24, self.samples, (), generator=generator(seed, t))) for t in (0, 1)]
        tasks = tuple(Task(own[: kept[t] if self.uneven else None], own, labels) for t, own in enumerate(rows))
        return Stream(tasks, phase_per_task(tasks), "domain", 2)


def learner(seeds, stack=True, budget=None, dtype=torch.float32, **options):
    make = partial(NETWORK, **options)
    return small_learner(seeds, make, (), partial(AdamW, lr=3e-3), Pairs(), budget or Budget(8), stack, dtype)


def test_progress_runs_from_0_over_each_members_own_phase_and_stays():
    one = learner([3, 5, 9], budget=Budget(8, epochs=2))
    seen, lengths = [], torch.tensor(one.course.lengths)  # [phase, member]
    assert len({*lengths[0].tolist()}) > 1, "or this tests nothing"
    progress = one.population.get_buffer("progress")
    assert progress.tolist() == [1.0] * 3, "before anyone says so"

    def watch(work, take):
        take()
        seen.append(one.population._buffers["progress"].clone())

    fit_watched(one, watch)
    steps = torch.cat([torch.arange(int(phase.max())).unsqueeze(1).minimum(phase - 1) / phase for phase in lengths])
    torch.testing.assert_close(torch.stack(seen), steps)
    assert torch.equal(one.population._buffers["progress"], seen[-1]), "as in the last step that each took"


@pytest.mark.parametrize("until", [1, 3])
def test_killed_it_goes_on_to_the_same_bits(until):
    whole, stopped, resumed = (learner([3, 5]) for _ in range(3))
    fit(whole)
    saved = checkpoint(stopped, fit(stopped, until=until))
    assert "population.progress" in stopped.state_dict()
    assert "population.layers/1/field" in stopped.state_dict()
    fit(resumed, restored(resumed, saved))
    for name, value in whole.state_dict().items():
        assert torch.equal(value.nan_to_num(-1), resumed.state_dict()[name].nan_to_num(-1)), name


@pytest.mark.parametrize(
    ("coordinates", "dtype", "apart"),
    [("learned", torch.float32, 2e-5), *((coordinates, torch.float64, 1e-9) for coordinates in COORDINATES)],
)
def test_a_member_goes_where_it_goes_alone(coordinates, dtype, apart):
    """But for the biases of attention, whose middle thirds, the keys', change nothing: AdamW makes steps of their roundings.

    With fixed coordinates all tokens have much the same slots, and in float32 roundings choose among the mask's entries.
    """
    options = {"coordinates": coordinates, "dtype": dtype}
    together, alone = learner([3, 5, 9], **options), learner([5], stack=False, **options)
    for each in (together, alone):
        fit(each)
    for name, value in alone.population.state_dict().items():
        own, other = together.population.state_dict()[name][1], value[0]
        if name.endswith("project/bias") and "gate" not in name:
            own, other = (each.view(3, -1)[::2] for each in (own, other))
        torch.testing.assert_close(own, other, rtol=0, atol=apart, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("coordinates", COORDINATES)
def test_a_step_reads_no_value_and_mixes_no_devices(coordinates):
    for on_device in (step_on_meta, step_on_fake_cuda):
        one, block = next(moments(partial(learner, [3, 5], depth=1, coordinates=coordinates)))
        on_device(one, block)


def test_blocks_may_be_cut_anywhere():
    ends = []
    for block in (1, 4, 16):
        one = learner([3, 5])
        one.course.block = block
        one.course.spans = list(one.course.cut())
        fit(one, Blocks(one.course))
        ends.append(one.population.state_dict())
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name
        assert torch.equal(value, ends[2][name]), name


def test_it_learns():
    network = partial(NETWORK, depth=1, dropout=0.0)
    one = small_learner([3, 5], network, (), partial(AdamW, lr=1e-2), Pairs(400, uneven=False), Budget(32, steps=100))
    fit(one)
    assert (one.evaluation.accuracy[:, 1, 0] > 0.7).all()
    assert (one.evaluation.accuracy[:, 2, 1] > 0.7).all()
