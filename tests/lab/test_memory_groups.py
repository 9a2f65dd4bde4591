"""Memories that share their slots among groups, against their definitions, one sample and one member at a time."""

import random
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lab.errors import UserError
from lab.memory import Balanced, Reservoir, Ring, balanced, require_room
from lab.protocols import Batch, Steps
from lab.seeding import bits, integers, member_keys
from lab.testing import OneDevice
from lab.testing.device import move, to_meta


def key(seed, purpose):
    return member_keys([seed], purpose)[0]


class PlainBalanced:
    """All that one member met; what is kept is looked up by the definition: the lowest (rank within group, lot)."""

    def __init__(self, seed, capacity, groups, per_class):
        self.seed, self.capacity, self.per_class, self.met = seed, capacity, per_class or capacity, []

    def offer(self, example, task, group):
        lot = int(bits(key(self.seed, "balanced/add"), torch.tensor(len(self.met) + 1), 1))
        self.met.append((group, lot, example, task))

    def kept(self):
        ranked = []
        for own in sorted(self.met):
            rank = sum(other[0] == own[0] and other[1] < own[1] for other in self.met)
            if rank < self.per_class:
                ranked.append((rank, own[1], own))
        return sorted(own for _, _, own in sorted(ranked)[: self.capacity])

    def slots(self):
        kept = [(example, task) for _, _, example, task in self.kept()]
        return kept + [None] * (self.capacity - len(kept))

    purpose = "balanced/draw"


class PlainRing:
    """One member's slots, written one after the other and round again."""

    def __init__(self, seed, capacity, groups, _):
        self.seed, self.share = seed, capacity // groups
        self.rings, self.met = [[None] * self.share for _ in range(groups)], [0] * groups

    def offer(self, example, task, group):
        self.rings[group][self.met[group] % self.share] = example, task
        self.met[group] += 1

    def slots(self):
        return [slot for ring in self.rings for slot in ring]

    purpose = "ring/draw"


def drawn_from(plain, count, clock):
    kept = [slot for slot in plain.slots() if slot is not None]
    numbers = integers(key(plain.seed, plain.purpose), torch.tensor(clock), count, torch.tensor(len(kept)))
    return [kept[number] if kept else None for number in numbers.tolist()]


def as_pairs(examples, tasks, valid):
    """(example, task) of each sample of one member, None for those that are not there."""
    told = zip(examples.tolist(), tasks.tolist(), valid.tolist(), strict=True)
    return [(example, task) if there else None for example, task, there in told]


def group_of_sums(groups):
    """A grouping that looks at tasks too, and leaves some samples without a group."""
    return lambda examples, tasks: (examples + tasks) % (groups + 1) - 1


def made(kind, seeds, capacity, groups, per_class=None, group_of=None):
    group_of = group_of or group_of_sums(groups)
    if kind is Balanced:
        return Balanced(seeds, capacity, groups, group_of, per_class=per_class)
    return Ring(seeds, capacity, groups, group_of)


def random_steps(draw, generator, members, first):
    """A block of steps: padding, resting members, mixed tasks and replayed columns among them."""
    steps, width = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    shape = (members, steps, width)
    examples = torch.randint(1000, shape, generator=generator)
    tasks = torch.randint(5, shape if draw(st.booleans()) else (members, steps, 1), generator=generator)
    weights = (torch.rand(shape, generator=generator) < 0.7).float() if draw(st.booleans()) else None
    if weights is not None:
        weights *= torch.rand(members, steps, 1, generator=generator) < 0.8
    clock = first + torch.randint(2, (members, steps), generator=generator).cumsum(1)
    return Steps(examples, tasks, draw(st.integers(1, width)), weights, clock)


def batch_of(steps, s):
    weights = None if steps.weights is None else steps.weights[:, s]
    examples = steps.examples[:, s]
    return Batch(torch.zeros(*examples.shape, 1), examples, examples, steps.tasks[:, s], steps.current, weights)


def offer_plainly(plain, steps, m, s, group_of):
    for b in range(steps.current):
        example, task = int(steps.examples[m, s, b]), int(steps.tasks[m, s, b % steps.tasks.shape[2]])
        counts = steps.weights is None or steps.weights[m, s, b] > 0
        if counts and group_of(example, task) >= 0:
            plain.offer(example, task, group_of(example, task))


@pytest.mark.parametrize(("kind", "reference"), [(Balanced, PlainBalanced), (Ring, PlainRing)])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_as_one_sample_after_the_other(kind, reference, data):
    """What is drawn before each step, what is kept and in which slots; the same in one block and step by step."""
    members, groups, count = (data.draw(st.integers(1, most)) for most in (3, 5, 4))
    capacity = data.draw(st.integers(groups, 14))
    per_class = data.draw(st.none() | st.integers(1, 5))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**32)))
    seeds, group_of = list(range(members)), group_of_sums(groups)
    together, alone = (made(kind, seeds, capacity, groups, per_class) for _ in range(2))
    plain = [reference(seed, capacity, groups, per_class) for seed in seeds]
    for first in range(data.draw(st.integers(1, 4))):
        steps = random_steps(data.draw, generator, members, 10 * first)
        drawn = together.draw_and_add(steps, count)
        for s in range(steps.clock.shape[1]):
            of_step = alone.draw(count, steps.clock[:, s])
            alone.add(batch_of(steps, s), steps.clock[:, s])
            assert all(torch.equal(part[:, s], own) for part, own in zip(drawn, of_step, strict=True))
            for m in range(members):
                assert as_pairs(*(part[m] for part in of_step)) == drawn_from(plain[m], count, int(steps.clock[m, s]))
                offer_plainly(plain[m], steps, m, s, group_of)
    for m in range(members):
        assert as_pairs(*(part[m] for part in together.contents())) == plain[m].slots()
    for name, buffer in together.named_buffers():
        assert torch.equal(buffer, alone.get_buffer(name)), name


CLASSES = torch.tensor([0] * 25 + [1] * 12 + [0] * 15 + [2] * 3 + [1] * 2)
"""A stream by class: the first fills the memory, the second takes its share, the third has not enough for its own."""
REPETITIONS = 4000


def after_stream(capacity, width, per_class=None, members=REPETITIONS):
    memory = Balanced(list(range(members)), capacity, 3, lambda examples, _: CLASSES[examples], per_class=per_class)
    tasks, clock = torch.zeros(members, 1, dtype=torch.int64), torch.zeros(members, dtype=torch.int64)
    for rows in torch.arange(len(CLASSES)).split(width):
        memory.offer(rows.expand(members, -1), tasks, None, clock)
    return memory


@pytest.mark.parametrize("capacity", [13, 14])
def test_what_is_kept_of_a_class_is_a_uniform_sample_of_all_that_were_met(capacity):
    """Of 40, 14 and 3 samples 5, 5 and 3 are kept, and with one slot more 6 and 5 or 5 and 6."""
    examples, _, filled = after_stream(capacity, 7).contents()
    assert filled.all()
    assert all(len(set(row)) == capacity for row in examples.tolist()), "a sample is kept at most once"
    for c, least in enumerate((5, 5, 3)):
        rows = CLASSES.eq(c).nonzero().squeeze(1)
        kept = (examples.unsqueeze(2) == rows).any(1)  # [M, n]
        n, share = len(rows), kept.sum(1)
        assert set(share.tolist()) == ({least} if capacity == 13 or c == 2 else {5, 6})
        if c < 2:
            # Picks are without replacement, so counts vary less than independent ones.
            less = (share * (n - share)).sum() / (share.sum() * (n - 1))
            statistic = stats.chisquare(kept.sum(0).numpy()).statistic / float(less)
            assert 1e-3 < stats.chi2.sf(statistic, n - 1) < 1 - 1e-3


def test_pairs_of_a_class_are_kept_independently():
    examples = after_stream(13, 7).contents()[0]
    together = ((examples == 24).any(1) & (examples == 40).any(1)).sum().item()
    assert stats.binomtest(together, REPETITIONS, 5 * 4 / (40 * 39)).pvalue > 1e-3


def test_lots_of_members_are_independent():
    """Whether two members keep the same sample is a matter of chance."""
    kept = (after_stream(13, 57).contents()[0].unsqueeze(2) == torch.arange(25)).any(1)
    both = (kept[0::2] & kept[1::2]).sum().item()
    assert stats.binomtest(both, kept[0::2].numel(), (5 / 40) ** 2).pvalue > 1e-3


def sizes(memory, groups):
    examples, tasks, filled = memory.contents()
    return torch.stack([((memory.group_of(examples, tasks) == g) & filled).sum(1) for g in range(groups)], 1)


@pytest.mark.parametrize("width", [1, 4, 22])
def test_classes_that_fall_short_leave_their_share_to_the_others(width):
    """Of 1, 9, 5 and 7 samples, 12 slots hold 1, and 3 or 4 of each other: by lot, so that each comes off worst in turn."""
    order = torch.tensor(random.Random(1).sample([0] + [1] * 9 + [2] * 5 + [3] * 7, 22))
    members, clock = 200, torch.zeros(200, dtype=torch.int64)
    memory = Balanced(list(range(members)), 12, 4, lambda examples, _: order[examples])
    capped = Balanced(list(range(members)), 12, 4, lambda examples, _: order[examples], per_class=2)
    for rows in torch.arange(22).split(width):
        for each in (memory, capped):
            each.offer(rows.expand(members, -1), clock.unsqueeze(1), None, clock)
    share = sizes(memory, 4)
    assert (share[:, 0] == 1).all()
    assert (share[:, 1:].sort(1).values == torch.tensor([3, 4, 4])).all()
    assert (share[:, 1:] == 3).any(0).all()
    assert sizes(capped, 4).unique(dim=0).tolist() == [[1, 2, 2, 2]]


def test_a_task_offered_at_its_end_is_as_its_samples_one_by_one():
    """100 at random of each class, and of each task: van de Ven's memory."""
    labels = torch.arange(1200) % 3
    groups = 2 * 3  # (task, class)
    at_once, singly = (Balanced([4, 9], 4 * groups, groups, lambda e, t: t * 3 + labels[e], per_class=4) for _ in range(2))
    clock = torch.zeros(2, dtype=torch.int64)
    for task in range(2):
        rows = torch.stack([torch.randperm(1200)[:40] for _ in range(2)])
        valid = torch.rand(2, 40) < 0.8
        tasks = torch.full((2, 1), task)
        at_once.offer(rows, tasks, valid, clock)
        for b in range(40):
            singly.offer(rows[:, b : b + 1], tasks, valid[:, b : b + 1], clock)
    assert all(map(torch.equal, at_once.contents(), singly.contents()))
    assert (sizes(at_once, groups) == 4).all()


@pytest.mark.parametrize("kind", [Balanced, Ring])
def test_what_is_drawn_is_uniform_over_what_is_kept(kind):
    memory = made(kind, [5], 12, 3, group_of=lambda examples, _: CLASSES[examples])
    rows = torch.tensor([[0, 1, 25, 52, 53, 54]])
    clock = torch.zeros(1, dtype=torch.int64)
    memory.offer(rows, clock.unsqueeze(1), None, clock)
    examples, tasks, valid = memory.draw(6000, torch.tensor([3]))
    assert valid.all()
    assert (tasks == 0).all()
    counts = (examples[0].unsqueeze(1) == rows[0]).sum(0)
    assert counts.sum() == 6000
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("kind", [Reservoir, Balanced, Ring])
def test_a_resumed_memory_goes_on_and_a_resting_one_stays(kind):
    def new(seeds):
        return Reservoir(seeds, 9) if kind is Reservoir else made(kind, seeds, 9, 3)

    def block(first):
        examples = torch.randint(1000, (2, 4, 3), generator=torch.Generator().manual_seed(first))
        clock = torch.arange(first, first + 4).expand(2, 4)
        return Steps(examples, examples[..., :1] % 5, 3, torch.tensor([1.0, first < 8]).view(2, 1, 1).expand(2, 4, 3), clock)

    whole, other = new([0, 1]), new([0, 1])
    for first in (0, 4):
        whole.draw_and_add(block(first), 2)
    other.load_state_dict(whole.state_dict())
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    drawn, again = whole.draw_and_add(block(8), 2), other.draw_and_add(block(8), 2)
    assert all(map(torch.equal, drawn, again))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
        assert torch.equal(value[1], before[name][1]), f"{name} of the resting member"
    assert not torch.equal(whole.slots[0], before["slots"][0])


@pytest.mark.parametrize("kind", [Balanced, Ring])
def test_members_draw_whatever_the_company(kind):
    one, other = made(kind, [7, 8, 9], 6, 3), made(kind, [9, 7], 6, 3)
    for memory in (one, other):
        members = len(memory.slots)
        memory.offer(torch.arange(60).expand(members, -1), torch.zeros(members, 1).long(), None, torch.zeros(members).long())
    assert torch.equal(one.slots[[2, 0]], other.slots)
    drawn, again = one.draw(8, torch.full((3,), 5)), other.draw(8, torch.full((2,), 5))
    assert torch.equal(drawn[0][[2, 0]], again[0])
    assert not torch.equal(drawn[0][0], drawn[0][1])


def test_a_large_memory_is_looked_at_in_parts(monkeypatch):
    examples = torch.randint(1000, (2, 7, 3))
    steps = Steps(examples, examples[..., :1] % 5, 3, None, torch.arange(7).expand(2, 7))
    whole = made(Balanced, [0, 1], 9, 3).draw_and_add(steps, 4)
    monkeypatch.setattr(balanced, "AT_ONCE", 2 * (9 + 21) * 3)  # three steps
    assert all(map(torch.equal, whole, made(Balanced, [0, 1], 9, 3).draw_and_add(steps, 4)))


@pytest.mark.parametrize("kind", [Balanced, Ring])
def test_the_host_never_waits(kind):
    memory = made(kind, [0, 1], 6, 3)
    move(memory, to_meta)
    ones = torch.ones(2, 4, dtype=torch.int64, device="meta")
    with OneDevice():
        memory.offer(ones, ones[:, :1], ones > 0, ones[:, 0])
        assert memory.draw(3, ones[:, 0])[0].shape == (2, 3)
        steps = Steps(ones.unsqueeze(2), ones.unsqueeze(2), 1, ones.float().unsqueeze(2), ones)
        assert memory.draw_and_add(steps, 3)[0].shape == (2, 4, 3)


def test_a_memory_too_small_for_the_classes_is_refused():
    require_room("strategy.er.memory", 10, 10)
    with pytest.raises(UserError) as refusal:
        require_room("strategy.er.memory", 9, 10)
    assert str(refusal.value) == "strategy.er.memory=9: expected at least 10, a slot for each class"


@pytest.mark.parametrize(("kind", "aim"), [(Balanced, 4), (Ring, 2)])
def test_upkeep_is_quick(kind, aim):
    """10 new samples and 10 replayed a step for 10 members with 1000 slots: 1,000 steps in blocks of 64."""
    memory, width = made(kind, list(range(10)), 1000, 10), 10
    rows = torch.randint(10_000, (10, 1024, width))
    begun = time.process_time()
    for start in range(0, 1024, 64):
        clock = torch.arange(start, start + 64).expand(10, 64)
        memory.draw_and_add(Steps(rows[:, start : start + 64], clock.unsqueeze(2) % 5, width, None, clock), width)
    assert time.process_time() - begun < 5 * aim / 10, "five times the aim for 10,000 steps, for slow and busy machines"
