"""The memory whose draws follow a law of lags, against its definition, one member and one phase at a time."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import brentq

from lab.memory import Lagged
from lab.memory.lagged import shared_out
from lab.protocols import Law, Steps
from lab.seeding import bits, member_keys

CLOCK = torch.zeros(1, dtype=torch.int64)


def weight(exponent, age):
    """(t + 1)^-d in exact fractions, where d is a whole number."""
    return Fraction(1, age**exponent)


def dealt(total, weights, lots):
    """The whole number for each task by largest remainder; of equal remainders that of the lowest lot comes first."""
    due = {task: Fraction(total) * each / sum(weights.values()) for task, each in weights.items()}
    whole = {task: math.floor(each) for task, each in due.items()}
    order = sorted(due, key=lambda task: (whole[task] - due[task], lots[task]))
    for task in order[: total - sum(whole.values())]:
        whole[task] += 1
    return whole


class Plain:
    """One member's samples by task, as (lot, row), and the phase that each task was new in."""

    def __init__(self, seed, capacity, exponent, quotas):
        self.capacity, self.exponent, self.quotas = capacity, exponent, quotas
        self.key = member_keys([seed], "lagged/add")[0]
        self.kept, self.new, self.ended = {}, {}, 0

    def lot(self, task, row):
        return int(bits(bits(self.key, torch.tensor(task), 1)[0], torch.tensor(row), 1))

    def offer(self, samples):
        for task, row in samples:
            self.kept.setdefault(task, set()).add((self.lot(task, row), row))
            self.new.setdefault(task, self.ended)
        self.ended += 1
        shares = self.even() if self.quotas == "even" else self.by_law()
        self.kept = {task: set(sorted(own)[: shares[task]]) for task, own in self.kept.items() if shares[task]}

    def even(self):
        """The lowest ranks, among equal ones the lowest lots."""
        ranked = sorted((rank, lot, task) for task, own in self.kept.items() for rank, (lot, _) in enumerate(sorted(own)))
        chosen = [task for _, _, task in ranked[: self.capacity]]
        return {task: chosen.count(task) for task in self.kept}

    def by_law(self):
        full, lots = {}, {task: int(bits(self.key, torch.tensor(task), 1)) for task in self.kept}
        while True:
            others = {task: weight(self.exponent, self.age(task)) for task in self.kept if task not in full}
            shares = full | (dealt(self.capacity - sum(full.values()), others, lots) if others else {})
            over = {task: len(self.kept[task]) for task in self.kept if shares[task] > len(self.kept[task])}
            if not over:
                return shares
            full |= over

    def age(self, task):
        return self.ended - self.new[task] + 1

    def contents(self):
        return [(task, row) for task, own in sorted(self.kept.items()) for _, row in sorted(own)]

    def probabilities(self):
        weights = {task: weight(self.exponent, self.age(task)) for task in self.kept}
        return [float(weights[task] / sum(weights.values()) / len(self.kept[task])) for task, _ in self.contents()]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_it_is_its_definition(data):
    """Phases with samples that come again, of their own task and of earlier ones, of differing numbers, and with padding."""
    members, tasks, capacity = (data.draw(st.integers(1, most)) for most in (3, 6, 14))
    exponent, quotas = data.draw(st.sampled_from([0, 1, 2])), data.draw(st.sampled_from(["even", "law"]))
    memory = Lagged(list(range(members)), capacity, tasks, Law("power", exponent), quotas)
    plain = [Plain(seed, capacity, exponent, quotas) for seed in range(members)]
    draw = torch.Generator().manual_seed(data.draw(st.integers(0, 2**32)))
    for phase in range(tasks):
        width = data.draw(st.integers(1, 20))
        rows = torch.randint(12, (members, width), generator=draw)
        met = torch.where(
            torch.rand(rows.shape, generator=draw) < 0.7, phase, torch.randint(phase + 1, (width,), generator=draw)
        )
        valid = (torch.rand(rows.shape, generator=draw) < 0.8).float()
        memory.end_task(rows, met, valid, CLOCK)
        for m, own in enumerate(plain):
            own.offer([(int(t), int(r)) for t, r, v in zip(met[m], rows[m], valid[m], strict=True) if v])
            examples, of, filled = (part[m].tolist() for part in memory.contents())
            count = sum(filled)
            assert list(zip(of, examples, strict=True))[:count] == own.contents()
            assert filled == [True] * count + [False] * (capacity - count)
            got = memory.limits[m, :count].diff(prepend=CLOCK).double() * 2.0**-32
            assert got.tolist() == pytest.approx(own.probabilities(), abs=2**-31)
            assert count == 0 or memory.limits[m, -1] == 2**32


def filled(law, members=1, capacity=12, tasks=4, size=20, quotas="even"):
    """A memory after tasks of ``size`` samples each, or of so many each."""
    sizes = [size] * tasks if isinstance(size, int) else size
    memory = Lagged(list(range(members)), capacity, tasks, law, quotas)
    for task, each in enumerate(sizes):
        memory.end_task(torch.arange(each).expand(members, -1), torch.full((members, 1), task), None, CLOCK)
    return memory


def counts(memory):
    """How many slots each task has, of every member: ``[M, T]``."""
    _, tasks, there = memory.contents()
    return torch.stack([(tasks.eq(t) & there).sum(1) for t in range(memory.tasks)], 1)


def test_quotas_by_hand():
    # Three tasks, d = 1: weights 1/4, 1/3, 1/2, of 13/12; due of ten 2.31, 3.08, 4.62.
    assert counts(filled(Law("power", 1), capacity=10, tasks=3, quotas="law")).tolist() == [[2, 3, 5]]
    # The last has but two: the other eight go 3 : 4, 3.43 and 4.57.
    assert counts(filled(Law("power", 1), capacity=10, size=[20, 20, 2], tasks=3, quotas="law")).tolist() == [[3, 5, 2]]
    # Where nothing else has a share, slots stay empty.
    assert counts(filled(Law("recent"), capacity=10, size=[20, 20, 4], tasks=3, quotas="law")).tolist() == [[0, 0, 4]]
    even = filled(Law("power", 1), members=60, capacity=11, size=[20, 2, 20], tasks=3)
    assert sorted(map(tuple, counts(even).unique(dim=0).tolist())) == [(4, 2, 5), (5, 2, 4)]
    assert counts(filled(Law("power", 1), capacity=50, size=[9, 2, 20], tasks=3)).tolist() == [[9, 2, 20]]


def test_what_one_cannot_fill_goes_to_the_others():
    shares = torch.tensor([[0.5, 0.25, 0.25], [0.9, 0.1, 0.0], [1.0, 0.0, 0.0]])
    sizes = torch.tensor([[2, 3, 100], [5, 5, 100], [4, 9, 9]])
    assert shared_out(12, shares, sizes).tolist() == [[2, 3, 7], [5, 5, 0], [4, 0, 0]]


@pytest.mark.parametrize("quotas", ["even", "law"])
def test_a_quota_that_shrinks_leaves_a_uniform_sample(quotas):
    """Of 40 samples 12 are kept first, in the end 3 (or, by the law, 2)."""
    members = 4000
    memory = filled(Law("power", 1), members, size=40, quotas=quotas)
    examples, tasks, _ = memory.contents()
    kept = ((examples.unsqueeze(2) == torch.arange(40)) & tasks.eq(0).unsqueeze(2)).any(1)
    (share,) = set(kept.sum(1).tolist())
    assert share == {"even": 3, "law": 2}[quotas]
    # Picks are without replacement, so counts vary less than independent ones.
    statistic = stats.chisquare(kept.sum(0).numpy()).statistic * 39 / (40 - share)
    assert 1e-3 < stats.chi2.sf(statistic, 39) < 1 - 1e-3
    together = int((kept[:, 4] & kept[:, 31]).sum())
    assert stats.binomtest(together, members, share * (share - 1) / (40 * 39)).pvalue > 1e-3
    one, other = (kept[m::2] for m in range(2))
    assert stats.binomtest(int((one & other).sum()), one.numel(), (share / 40) ** 2).pvalue > 1e-3, "members are alike"


DRAWS = 160_000


def draws(memory):
    clock = torch.arange(DRAWS // 8).unsqueeze(0)
    steps = Steps(clock.unsqueeze(2), clock.unsqueeze(2), 1, None, clock)
    return [part.flatten() for part in memory.draw_ahead(steps, 8)]


FAILS = 1e-6


@pytest.mark.parametrize(
    ("law", "wrong", "expected"),
    [
        # Tasks 0 to 3, of lags 4 to 1.
        (Law("power", 0.5), Law("power", 0.6), [5**-0.5, 4**-0.5, 3**-0.5, 2**-0.5]),
        (Law("power", 2), Law("power", 1.9), [1 / 25, 1 / 16, 1 / 9, 1 / 4]),
        (Law("uniform"), Law("power", 0.1), [1, 1, 1, 1]),
        # Mean age 3.284 as by d = .5, solved by hand for the ratio of neighbours.
        (Law("exponential", 0.5), Law("power", 0.5), None),
    ],
)
def test_tasks_are_drawn_by_the_law_and_samples_alike(law, wrong, expected):
    """Chi-square over tasks, and within them; another law fails."""
    memory = filled(law, size=[20, 2, 7, 20], capacity=14)  # 4 or 5, 2, 4 or 5, 4 or 5 slots
    examples, tasks, valid = draws(memory)
    assert valid.all()
    observed = torch.bincount(tasks, minlength=4).numpy()
    if expected is None:
        powers = [age**-0.5 for age in (5, 4, 3, 2)]
        mean = sum(age * w for age, w in zip((5, 4, 3, 2), powers, strict=True)) / sum(powers)
        expected = exponential_of_mean(mean)
    expected = torch.tensor(expected, dtype=torch.float64)
    assert stats.chisquare(observed, (expected / expected.sum() * DRAWS).numpy()).pvalue > 1e-3
    others = torch.bincount(draws(filled(wrong, size=[20, 2, 7, 20], capacity=14))[1], minlength=4).numpy()
    assert stats.chisquare(others, (expected / expected.sum() * DRAWS).numpy()).pvalue < FAILS
    for task in range(4):
        within = torch.bincount(examples[tasks == task])
        assert (within > 0).sum() == counts(memory)[0, task]
        assert stats.chisquare(within[within > 0].numpy()).pvalue > 1e-3


def exponential_of_mean(mean):
    """q^age for ages 5 to 2, of this mean: the real root of sum (age - mean) q^age, found by SciPy."""
    q = brentq(lambda q: sum((age - mean) * q**age for age in (5, 4, 3, 2)) / q**2, 1e-6, 1.0)
    return [q**age for age in (5, 4, 3, 2)]


def test_draws_of_successive_steps_are_independent():
    memory = filled(Law("power", 0.5), tasks=2, capacity=8)
    examples, tasks, _ = memory.draw_ahead(
        Steps(CLOCK.view(1, 1, 1), CLOCK.view(1, 1, 1), 1, None, torch.arange(8000).view(1, -1)), 1
    )
    slots = (tasks * 100 + examples).flatten().unique(return_inverse=True)[1]
    table = torch.zeros(8, 8).index_put_((slots[0::2], slots[1::2]), torch.ones(4000), accumulate=True)
    assert stats.chi2_contingency(table.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("quotas", ["even", "law"])
@pytest.mark.parametrize(("one", "same"), [(Law("power", 0), Law("uniform")), (Law("power", math.inf), Law("recent"))])
def test_the_ends_of_the_power_law_are_the_uniform_and_the_most_recent(one, same, quotas):
    first, second = (filled(law, members=3, size=[20, 4, 9, 20], quotas=quotas) for law in (one, same))
    for name, buffer in first.named_buffers():
        assert torch.equal(buffer, second.get_buffer(name)), name
    assert set(draws(filled(Law("recent")))[1].tolist()) == {3}


def test_fewer_slots_than_tasks():
    """By lots: a sample of some tasks, each as likely; by the law: of the latest ones."""
    even = filled(Law("power", 0.5), members=3000, capacity=3, tasks=10)
    assert counts(even).max() == 1
    assert (counts(even).sum(1) == 3).all()
    # Three of ten without replacement.
    statistic = stats.chisquare(counts(even).sum(0).numpy()).statistic * 9 / 7
    assert 1e-3 < stats.chi2.sf(statistic, 9) < 1 - 1e-3
    # None is due a whole slot, so remainders decide: those of the latest, or where all are equal, lots.
    assert counts(filled(Law("power", 0.5), capacity=3, tasks=10, quotas="law")).tolist() == [[0] * 7 + [1] * 3]
    alike = counts(filled(Law("uniform"), members=3000, capacity=3, tasks=10, quotas="law"))
    assert (alike.sum(1) == 3).all()
    assert 1e-3 < stats.chi2.sf(stats.chisquare(alike.sum(0).numpy()).statistic * 9 / 7, 9) < 1 - 1e-3


def test_members_draw_and_keep_independently_and_whatever_the_company():
    def after(seeds):
        memory = Lagged(seeds, 5, 3, Law("power", 1))
        for task in range(3):
            memory.end_task(torch.arange(30).expand(len(seeds), -1), torch.full((len(seeds), 1), task), None, CLOCK)
        return memory, memory.draw(8, torch.full((len(seeds),), 5))

    (one, drawn), (other, again) = after([7, 8, 9]), after([9, 7])
    assert torch.equal(one.slots[0], other.slots[1])
    assert torch.equal(one.slots[2], other.slots[0])
    assert not torch.equal(one.slots[0], one.slots[1])
    assert torch.equal(drawn[0][0], again[0][1])
    assert not torch.equal(drawn[0][0], drawn[0][1])


def test_where_nothing_was_offered_nothing_is_drawn():
    memory = Lagged([1, 2], 4, 2, Law("power", 0.5))
    assert not memory.draw(3, CLOCK.expand(2))[2].any()
    memory.end_task(torch.tensor([[3, 5], [3, 5]]), torch.zeros(2, 1, dtype=torch.int64), torch.tensor([[1, 1], [0, 0]]), CLOCK)
    examples, _, valid = memory.draw(30, CLOCK.expand(2))
    assert valid.tolist() == [[True] * 30, [False] * 30]
    assert set(examples[0].tolist()) == {3, 5}


def test_to_be_met_again_makes_no_task_younger_and_no_sample_twice():
    memory = filled(Law("power", 1), tasks=2, capacity=60)
    again = Lagged([0], 60, 2, Law("power", 1))
    again.end_task(torch.arange(20).repeat(1, 2), torch.zeros(1, 1, dtype=torch.int64), None, CLOCK)
    both = torch.cat([torch.ones(1, 20, dtype=torch.int64), torch.zeros(1, 20, dtype=torch.int64)], 1)
    again.end_task(torch.arange(20).repeat(1, 2), both, None, CLOCK)
    for name, buffer in memory.named_buffers():
        assert torch.equal(buffer, again.get_buffer(name)), name
