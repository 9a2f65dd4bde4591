"""The reservoir is a uniform sample of what a member met, equal in distribution to Vitter's algorithm R one at a time."""

import random
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lab.memory import Reservoir
from lab.protocols import Batch, Steps
from lab.testing import OneDevice
from lab.testing.device import move, to_meta


def batch(examples, tasks=None, weights=None, current=None):
    """A batch whose inputs and targets nobody reads."""
    examples = torch.as_tensor(examples)
    tasks = torch.zeros(len(examples), 1, dtype=torch.int64) if tasks is None else torch.as_tensor(tasks)
    nothing = torch.zeros(*examples.shape, 1)
    weights = None if weights is None else torch.as_tensor(weights, dtype=torch.float32)
    return Batch(nothing, examples, examples, tasks, examples.shape[1] if current is None else current, weights)


def offered(members, capacity, stream, width, seeds=None):
    """A reservoir after ``stream`` samples, offered ``width`` at a time; every member is one more repetition."""
    reservoir = Reservoir(seeds or list(range(members)), capacity)
    clock = torch.zeros(members, dtype=torch.int64)
    for start in range(0, stream, width):
        rows = torch.arange(start, min(start + width, stream))
        reservoir.add(batch(rows.expand(members, -1)), clock)
        clock += 1
    return reservoir


def rows(reservoir):
    return reservoir.contents()[0]


def algorithm_r(seed, capacity, stream):
    """Vitter 1985, one at a time; the slots."""
    draw = random.Random(seed)
    slots = []
    for t in range(stream):
        if t < capacity:
            slots.append(t)
        else:
            slot = draw.randint(0, t)
            if slot < capacity:
                slots[slot] = t
    return slots


REPETITIONS, CAPACITY, STREAM = 4000, 6, 40


@pytest.mark.parametrize("width", [1, 3, 10])
def test_every_sample_is_kept_with_the_same_probability(width):
    reservoir = offered(REPETITIONS, CAPACITY, STREAM, width)
    kept = rows(reservoir)
    assert all(len(set(row)) == CAPACITY for row in kept.tolist()), "a sample is kept at most once"
    counts = torch.bincount(kept.flatten(), minlength=STREAM).numpy()
    # A member's K picks are without replacement, so counts vary less than independent ones, by (N - K) / (N - 1).
    statistic = stats.chisquare(counts).statistic * (STREAM - 1) / (STREAM - CAPACITY)
    assert stats.chi2.sf(statistic, STREAM - 1) > 1e-3
    assert stats.chi2.cdf(statistic, STREAM - 1) > 1e-3, "too even to be random"
    assert (reservoir.seen == STREAM).all()


@pytest.mark.parametrize("width", [1, 3, 10])
def test_slots_are_filled_as_by_algorithm_r(width):
    """Which sample lies in which slot (first slots keep early samples longest) has the same distribution."""
    kept = rows(offered(REPETITIONS, CAPACITY, STREAM, width)).numpy()
    reference = np.array([algorithm_r(seed, CAPACITY, STREAM) for seed in range(REPETITIONS)])
    for slot in (0, CAPACITY - 1):
        first = reference[:, slot] == slot, kept[:, slot] == slot
        table = [[f.sum(), (~f).sum()] for f in first]
        assert stats.chi2_contingency(table).pvalue > 1e-3
        bins = np.linspace(CAPACITY, STREAM, 9)
        histograms = [np.histogram(slots[:, slot], bins)[0] for slots in (reference, kept)]
        assert stats.chi2_contingency(histograms).pvalue > 1e-3


def test_pairs_are_kept_independently():
    """Two samples of one batch are kept together as often as K (K - 1) / (N (N - 1)) says."""
    kept = rows(offered(REPETITIONS, CAPACITY, STREAM, 10))
    together = ((kept == 31).any(1) & (kept == 37).any(1)).sum().item()
    expected = CAPACITY * (CAPACITY - 1) / (STREAM * (STREAM - 1))
    assert stats.binomtest(together, REPETITIONS, expected).pvalue > 1e-3


def test_until_it_is_full_everything_is_kept_in_order():
    reservoir = offered(2, 10, 7, 3)
    assert rows(reservoir)[:, :7].tolist() == [list(range(7))] * 2
    assert reservoir.contents()[2].sum(1).tolist() == [7, 7]
    assert reservoir.seen.tolist() == [7, 7]


def test_tasks_are_kept_with_their_samples():
    reservoir = Reservoir([0, 1], 4)
    reservoir.add(batch([[1, 2], [3, 4]], [[0], [1]]), torch.zeros(2, dtype=torch.int64))
    reservoir.add(batch([[5, 6], [7, 8]], [[2, 3], [4, 5]]), torch.ones(2, dtype=torch.int64))
    examples, tasks, filled = reservoir.contents()
    assert examples.tolist() == [[1, 2, 5, 6], [3, 4, 7, 8]]
    assert tasks.tolist() == [[0, 0, 2, 3], [1, 1, 4, 5]]
    assert filled.all()


def test_padding_and_replayed_samples_are_not_offered():
    reservoir = Reservoir([0, 1], 5)
    clock = torch.zeros(2, dtype=torch.int64)
    reservoir.add(batch([[1, 9, 2, 9], [3, 4, 9, 9]], weights=[[1, 0, 1, 1], [1, 1, 0, 1]], current=3), clock)
    assert reservoir.seen.tolist() == [2, 2]
    assert rows(reservoir)[:, :3].tolist() == [[1, 2, 0], [3, 4, 0]]
    for step in range(1, 30):
        reservoir.add(batch([[1, 9], [2, 9]], weights=[[1, 0], [0, 0]]), clock + step)
    assert reservoir.seen.tolist() == [31, 2]
    assert 9 not in rows(reservoir)


def test_members_draw_independently_and_whatever_the_company():
    one, other = offered(3, 5, 60, 4, [7, 8, 9]), offered(2, 5, 60, 4, [9, 7])
    assert torch.equal(one.slots[0], other.slots[1])
    assert torch.equal(one.slots[2], other.slots[0])
    assert not torch.equal(one.slots[0], one.slots[1])
    drawn, again = one.draw(8, torch.full((3,), 5)), other.draw(8, torch.full((2,), 5))
    assert torch.equal(drawn[0][0], again[0][1])
    assert not torch.equal(drawn[0][0], drawn[0][1])


def test_what_is_drawn_is_uniform_over_what_is_kept():
    reservoir = offered(1, 8, 5, 5)  # five of eight slots filled
    examples, tasks, valid = reservoir.draw(4000, torch.tensor([3]))
    assert valid.all()
    assert tasks.eq(0).all()
    counts = torch.bincount(examples[0], minlength=5)
    assert len(counts) == 5
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_draws_of_successive_steps_are_independent():
    reservoir = offered(1, 8, 8, 8)
    first, second = (torch.cat([reservoir.draw(1, torch.tensor([t + d]))[0][0] for t in range(0, 6000, 2)]) for d in (0, 1))
    table = torch.zeros(8, 8).index_put_((first, second), torch.ones(3000), accumulate=True)
    assert stats.chi2_contingency(table.numpy()).pvalue > 1e-3


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_many_steps_at_once_are_as_one_after_the_other(data):
    """Draws, what is kept and where, to the number; padding, resting members and mixed tasks included."""
    members, steps, width, count = (data.draw(st.integers(1, most)) for most in (3, 6, 5, 4))
    capacity, draw = data.draw(st.integers(1, 12)), torch.Generator().manual_seed(data.draw(st.integers(0, 2**32)))
    together, alone = Reservoir(list(range(members)), capacity), Reservoir(list(range(members)), capacity)
    clock = torch.zeros(members, dtype=torch.int64)
    for _ in range(data.draw(st.integers(1, 3))):
        shape = (members, steps, width)
        examples = torch.randint(1000, shape, generator=draw)
        tasks = torch.randint(5, shape if data.draw(st.booleans()) else (members, steps, 1), generator=draw)
        weights = (torch.rand(shape, generator=draw) < 0.7).float() if data.draw(st.booleans()) else None
        clocks = clock.unsqueeze(1) + torch.randint(2, (members, steps), generator=draw).cumsum(1)
        drawn = together.draw_and_add(Steps(examples, tasks, width, weights, clocks), count)
        for s in range(steps):
            for of_block, of_step in zip(drawn, alone.draw(count, clocks[:, s]), strict=True):
                assert torch.equal(of_block[:, s], of_step)
            alone.add(batch(examples[:, s], tasks[:, s], None if weights is None else weights[:, s]), clocks[:, s])
        clock = clocks[:, -1] + 1
        assert torch.equal(together.slots, alone.slots)
        assert torch.equal(together.seen, alone.seen)


def test_an_empty_memory_gives_nothing_valid():
    reservoir = Reservoir([0, 1], 5)
    reservoir.add(batch([[1], [2]], weights=[[1], [0]]), torch.zeros(2, dtype=torch.int64))
    assert reservoir.draw(3, torch.zeros(2, dtype=torch.int64))[2].tolist() == [[True] * 3, [False] * 3]


def test_the_host_never_waits():
    reservoir = Reservoir([0, 1], 5)
    move(reservoir, to_meta)
    ones = torch.ones(2, 4, dtype=torch.int64, device="meta")
    offer = Batch(ones, ones, ones, ones[:, :1], 3, ones.float())
    with OneDevice():
        reservoir.add(offer, ones[:, 0])
        assert reservoir.draw(3, ones[:, 0])[0].shape == (2, 3)
        steps = Steps(ones.unsqueeze(2), ones.unsqueeze(2), 1, ones.float().unsqueeze(2), ones)
        assert reservoir.draw_and_add(steps, 3)[0].shape == (2, 4, 3)


def test_ten_thousand_online_steps_of_ten_members_are_quick():
    """One new sample and one replayed a step, 10,000 steps in blocks of 50. The aim is 2 s of processor time."""
    reservoir, tasks = Reservoir(list(range(10)), 500), torch.zeros(10, 1, 1, dtype=torch.int64)
    begun = time.process_time()
    for start in range(0, 10_000, 50):
        clock = torch.arange(start, start + 50).expand(10, 50)
        reservoir.draw_and_add(Steps(clock.unsqueeze(2), tasks, 1, None, clock), 1)
    assert time.process_time() - begun < 10, "five times the aim, for slow and busy machines"
    assert (reservoir.seen == 10_000).all()
