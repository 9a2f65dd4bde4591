"""Blocks of index batches: exact epochs, cuts where something happens, and a position that is all a resume needs."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.errors import UserError
from lab.protocols import Phase, Stream, Task
from lab.stream import Blocks, Budget, Course, first_of
from lab.testing.miniature import Miniature

few = settings(max_examples=40, deadline=None)


def stream_of(sizes, first=0, **options):
    """A stream whose phase k holds ``sizes[k]`` examples of its own, counted from ``first``."""
    tasks, phases = [], []
    for t, n in enumerate(sizes):
        rows = torch.arange(first, first + n)
        first += n
        tasks.append(Task(rows, rows, torch.arange(2)))
        phases.append(Phase(rows, torch.full_like(rows, t), t, **options))
    return Stream(tuple(tasks), tuple(phases), "domain", 2)


def course_of(sizes, budget, **options):
    """``sizes[m][k]``: examples of member m in phase k."""
    return Course([stream_of(own) for own in sizes], list(range(len(sizes))), budget, **options)


def steps_of(blocks):
    """(phase, step) of every step: its number, examples, tasks, weights (None where all count), active (None for everyone)."""
    return [
        (
            block.phase,
            SimpleNamespace(
                number=block.start + s + 1,
                examples=block.examples[s],
                tasks=block.tasks[s],
                weights=None if block.full[s] else block.weights[s],
                active=None if block.everyone[s] else block.active[s],
            ),
        )
        for block in blocks
        for s in range(len(block))
    ]


@st.composite
def courses(draw):
    members, phases = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    sizes = [[draw(st.integers(1, 25)) for _ in range(phases)] for _ in range(members)]
    budget = draw(
        st.one_of(
            st.builds(Budget, st.integers(1, 8), st.integers(1, 3)),
            st.builds(Budget, st.integers(1, 8), st.none(), st.integers(1, 12)),
        )
    )
    every = st.one_of(st.none(), st.integers(1, 9))
    options = {"block": draw(st.integers(1, 6)), "evaluate_every": draw(every), "checkpoint_every": draw(every)}
    return sizes, budget, options


@few
@given(courses())
def test_every_epoch_meets_every_example_exactly_once(case):
    sizes, budget, options = case
    course = course_of(sizes, budget, **options)
    work = steps_of(Blocks(course))
    for m, stream in enumerate(course.streams):
        for k, phase in enumerate(stream.phases):
            met = []
            for at, step in work:
                if at == k and (step.active is None or step.active[m]):
                    valid = torch.ones(budget.batch_size) if step.weights is None else step.weights[m]
                    met += step.examples[m][valid > 0].tolist()
            if budget.steps is None:
                per_epoch = [sorted(met[i : i + len(phase.examples)]) for i in range(0, len(met), len(phase.examples))]
                assert per_epoch == [phase.examples.tolist()] * budget.epochs
            else:
                assert len(met) == budget.steps * budget.batch_size
                counts = torch.bincount(torch.tensor(met) - phase.examples[0], minlength=len(phase.examples))
                assert counts.max() - counts.min() <= 1, "an order is run through before the next begins"
        assert course.samples(m) == (
            budget.epochs * sum(sizes[m]) if budget.steps is None else budget.steps * budget.batch_size * len(sizes[m])
        )


@few
@given(courses())
def test_resting_members_have_no_weight_and_training_ones_have_some(case):
    sizes, budget, options = case
    course = course_of(sizes, budget, **options)
    taken = torch.zeros(len(course.phases), len(sizes), dtype=torch.int64)
    for phase, work in steps_of(Blocks(course)):
        active = torch.ones(len(sizes), dtype=torch.bool) if work.active is None else work.active
        taken[phase] += active
        if work.weights is not None:
            assert torch.equal(work.weights.sum(1) > 0, active)
        else:
            assert active.all()
    assert taken.tolist() == course.lengths


@few
@given(courses())
def test_blocks_end_where_something_happens_and_cover_every_step_once(case):
    sizes, budget, options = case
    course = course_of(sizes, budget, **options)
    position, evaluated, saved, ended = 0, [], [], []
    for block in Blocks(course):
        assert block.start == position
        assert 1 <= len(block) <= options["block"]
        position = block.stop
        inner = range(block.start + 1, block.stop)
        for every in (options["evaluate_every"], options["checkpoint_every"]):
            assert not every or not any(step % every == 0 for step in inner)
        assert not any(step in course.ends for step in inner)
        evaluated += [block.stop] * block.evaluate
        saved += [block.stop] * block.checkpoint
        ended += [block.stop] * block.ends
        assert block.begins == (block.start in [0, *course.ends])
    assert position == course.total
    assert ended == course.ends
    assert [0, *evaluated] == course.evaluations() or (not evaluated and course.evaluations() == [])
    every = options["checkpoint_every"]
    assert saved == sorted({*course.ends, *(range(every, position + 1, every) if every else ())})


@few
@given(courses(), st.data())
def test_from_any_position_the_rest_is_the_same(case, data):
    sizes, budget, options = case
    course = course_of(sizes, budget, **options)
    whole = steps_of(Blocks(course))
    position = data.draw(st.integers(0, len(course.spans) - 1))
    stopped, resumed = Blocks(course), Blocks(course_of(sizes, budget, **options))
    done = [next(iterator) for iterator in [iter(stopped)] for _ in range(position)]
    resumed.load_state_dict(stopped.state_dict())
    assert len(resumed) == len(course.spans), "Lightning counts the batches of earlier sittings too"
    rest = steps_of(resumed)
    assert sum(map(len, done)) + len(rest) == len(whole)
    for (one_phase, one), (other_phase, other) in zip(whole[-len(rest) :], rest, strict=True):
        assert (one_phase, one.number) == (other_phase, other.number)
        for name in ("examples", "tasks", "weights", "active"):
            a, b = getattr(one, name), getattr(other, name)
            assert (a is None) == (b is None)
            assert a is None or torch.equal(a, b)


def test_max_steps_cuts_a_block_and_checkpoints_it():
    blocks = list(Blocks(course_of([[40]], Budget(4), block=4, max_steps=7)))
    assert [(b.stop, b.checkpoint) for b in blocks] == [(4, False), (7, True), (10, True)]


def test_orders_come_from_the_members_seed_whatever_the_company():
    def orders(seeds):
        course = Course([stream_of([20, 20]) for _ in seeds], seeds, Budget(5, epochs=2), block=3)
        return torch.stack([work.examples for _, work in steps_of(Blocks(course))], 1)

    one, other = orders([3, 7, 1]), orders([7, 3])
    assert torch.equal(one[0], other[1])
    assert torch.equal(one[1], other[0])
    assert not torch.equal(one[0], one[1])
    first_epoch, second_epoch = one[0].flatten()[:20], one[0].flatten()[20:40]
    assert sorted(first_epoch.tolist()) == sorted(second_epoch.tolist())
    assert not torch.equal(first_epoch, second_epoch)


def test_an_ordered_phase_keeps_its_order():
    course = Course([stream_of([7], ordered=True)], [0], Budget(3))
    met = torch.cat([work.examples[0][work.weights[0] > 0] if work.weights is not None else work.examples[0]
                     for _, work in steps_of(Blocks(course))])  # fmt: skip
    assert met.tolist() == list(range(7))


def test_effort_multiplies_a_budget_in_steps_alone():
    stream = stream_of([10])
    joint = replace(stream, phases=(replace(stream.phases[0], effort=3.0),))
    assert Course([joint], [0], Budget(5, steps=4)).total == 12
    assert Course([joint], [0], Budget(5, epochs=2)).total == 4


def test_mixed_phases_carry_a_task_for_each_sample():
    stream = stream_of([6])
    mixed = replace(stream, phases=(replace(stream.phases[0], tasks=torch.tensor([0, 1, 0, 1, 0, 1])),))
    for _, work in steps_of(Blocks(Course([mixed], [0], Budget(3)))):
        assert torch.equal(work.tasks, work.examples % 2)


@pytest.mark.parametrize(("step", "phase"), [(0, -1), (1, 0), (3, 0), (4, 1), (5, 1)])
def test_the_phase_of_a_step(step, phase):
    assert course_of([[9, 6]], Budget(3)).phase_at(step) == phase


def test_the_first_tasks_are_a_stream_of_their_own():
    """Of three tasks, in a network for all three; a mixed phase may hold earlier tasks, and no later ones."""
    whole = Miniature(tasks=3).stream(5)
    cut = first_of(whole, 2)
    assert cut.tasks == whole.tasks[:2]
    assert cut.phases == whole.phases[:2]
    assert (cut.outputs, first_of(whole, None)) == (whole.outputs, whole)
    again = replace(whole.phases[1], tasks=whole.phases[1].tasks * 0)
    assert first_of(replace(whole, phases=(whole.phases[0], again)), 2).phases[1] is again
    early = replace(whole.phases[0], tasks=whole.phases[0].tasks + 2)
    for phases, count in ((whole.phases, 4), ((early, *whole.phases[1:]), 2), (whole.phases[2:], 2)):
        with pytest.raises(UserError, match=f"first_tasks={count}: expected"):
            first_of(replace(whole, phases=phases), count)
