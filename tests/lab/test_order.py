"""The order of the data: every example once, by its score, as much of it as asked for; drawn by pacing functions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.errors import UserError
from lab.order import PACING, Scored, Uniform, paced
from lab.protocols import Phase, Stream, Task, generator
from lab.stream import Blocks, Budget, Course

few = settings(max_examples=40, deadline=None)


def stream_of(*sizes, **options):
    """A stream whose phase k holds ``sizes[k]`` examples of its own."""
    tasks, phases, first = [], [], 0
    for t, n in enumerate(sizes):
        rows = torch.arange(first, first + n)
        tasks.append(Task(rows, rows, torch.arange(2), view=torch.tensor(t)))
        phases.append(Phase(rows, torch.full_like(rows, t), t, **options))
        first += n
    return Stream(tuple(tasks), tuple(phases), "domain", 2)


def scores_of(count, levels=None, seed=0):
    """Random scores, many of them equal where there are few ``levels``."""
    draw = generator(seed, "scores")
    return torch.rand(count, generator=draw) if levels is None else torch.randint(levels, (count,), generator=draw).float()


def met(stream, order, budget, seed=3, block=8):
    """The examples [steps * B] that a member meets, in order, and the tasks they are met as."""
    stream = order.arranged(order.unbounded(stream), seed)
    blocks = list(Blocks(Course([stream], [seed], budget, block, orders=[order])))
    examples = torch.cat([block.examples[s, 0][_counted(block, s)] for block in blocks for s in range(len(block))])
    tasks = torch.cat(
        [block.tasks[s, 0].expand_as(block.examples[s, 0])[_counted(block, s)] for block in blocks for s in range(len(block))]
    )
    return examples, tasks


def _counted(block, step):
    counts = torch.ones_like(block.examples[step, 0], dtype=torch.bool)
    return counts if block.full[step] else block.weights[step, 0] > 0


# --- passes -----------------------------------------------------------------------------------------------------------


@few
@given(n=st.integers(1, 60), levels=st.sampled_from([None, 1, 3]), down=st.booleans(), seed=st.integers(0, 5))
def test_a_pass_meets_every_example_once_by_its_score(n, levels, down, seed):
    scores = scores_of(n, levels, seed)
    order = Scored(direction="descending" if down else "ascending").by(scores)
    examples, _ = met(stream_of(n), order, Budget(4, 2), seed)
    for one_pass in examples.view(2, n):
        assert one_pass.sort().values.tolist() == list(range(n))
        assert scores[one_pass].tolist() == sorted(scores.tolist(), reverse=down)


def test_equal_scores_are_in_an_order_of_the_members_and_of_the_epoch():
    order = Scored().by(torch.zeros(200))
    first, second = met(stream_of(200), order, Budget(8, 2))[0].view(2, 200)
    other = met(stream_of(200), order, Budget(8, 1), seed=4)[0]
    assert (first != second).float().mean() > 0.9
    assert (first != other).float().mean() > 0.9


@few
@given(mix=st.floats(0, 1), n=st.integers(1, 400))
def test_a_share_is_met_at_random_all_the_same(mix, n):
    order = Scored(mix=mix).by(scores_of(n))
    places = order.places(stream_of(n), 0, 0, 3)
    assert places.sort().values.tolist() == list(range(n))
    sorted_places = scores_of(n).argsort()
    assert (places != sorted_places).sum() <= round(mix * n)


def test_those_met_at_random_are_spread_over_the_whole():
    n = 20_000
    places = Scored(mix=0.5).by(torch.arange(n).float()).places(stream_of(n), 0, 0, 3)
    away = (places != torch.arange(n)).float()
    assert away.mean() == pytest.approx(0.5, abs=0.01)  # but for those that fall into their own place
    for quarter in away.view(4, -1):
        assert quarter.mean() == pytest.approx(0.5, abs=0.03)
    assert places[away > 0].float().mean() == pytest.approx(n / 2, rel=0.03)


def test_some_phases_alone_are_in_order():
    scores = scores_of(30)
    for which, ordered in (("first", [True, False, False]), ("last", [False, False, True]), ("all", [True] * 3)):
        order = Scored(phases=which).by(scores)
        stream = stream_of(10, 10, 10)
        for number, expected in enumerate(ordered):
            own = scores[stream.phases[number].examples[order.places(stream, number, 0, 3)]]
            assert (own.tolist() == sorted(own.tolist())) == expected


def test_at_random_is_what_it_was_before_there_were_orders():
    stream = stream_of(20)
    expected = torch.randperm(20, generator=generator(3, "order", 0, 1))
    assert Uniform().places(stream, 0, 1, 3).equal(expected)
    assert Uniform().places(stream_of(20, ordered=True), 0, 1, 3).tolist() == list(range(20))


# --- streams ----------------------------------------------------------------------------------------------------------


def test_over_the_stream_all_samples_are_in_one_order_each_as_of_its_own_task():
    scores = scores_of(30)
    stream = stream_of(5, 15, 10)
    order = Scored(over="stream").by(scores)
    arranged = order.arranged(order.unbounded(stream), 3)
    assert [len(phase.examples) for phase in arranged.phases] == [5, 15, 10]
    assert not any(phase.announced for phase in arranged.phases)
    examples, tasks = met(stream, order, Budget(5))
    assert scores[examples].tolist() == sorted(scores.tolist())
    of = torch.arange(3).repeat_interleave(torch.tensor([5, 15, 10]))
    assert tasks.tolist() == of[examples].tolist()


def test_over_tasks_these_are_in_order_of_their_mean_score_and_their_samples_are_not():
    stream = stream_of(20, 20, 20)
    scores = torch.cat([torch.rand(20) + mean for mean in (5, 1, 3)])
    order = Scored(over="tasks").by(scores)
    arranged = order.arranged(order.unbounded(stream), 3)
    assert [int(task.view) for task in arranged.tasks] == [1, 2, 0]
    assert [phase.completes for phase in arranged.phases] == [0, 1, 2]
    for new, old in enumerate([1, 2, 0]):
        assert arranged.phases[new].examples.equal(stream.phases[old].examples)
        assert (arranged.phases[new].tasks == new).all()
    own = scores[met(stream, order, Budget(4))[0][:20]].tolist()
    assert own != sorted(own)


# --- pacing -----------------------------------------------------------------------------------------------------------


def test_pacing_functions_are_the_papers():
    """Wu et al. 2021 for b = .2, by hand at x = 0, 1/4 and 1."""
    x = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
    middle = {
        "linear": 0.2 + 0.8 / 4,
        "root": 0.2 + 0.8 / 2,
        "quadratic": 0.2 + 0.8 / 16,
        "step": 0.2,
        "exponential": 0.2 + 0.8 / (math.exp(10) - 1) * (math.exp(2.5) - 1),
        "logarithmic": 0.2 + 0.8 * (1 + 0.1 * math.log(0.25 + math.exp(-10))),
    }
    assert set(middle) == set(PACING)
    for kind, value in middle.items():
        torch.testing.assert_close(paced(kind, x, 0.2), torch.tensor([0.2, value, 1.0], dtype=torch.float64), rtol=1e-4, atol=0)


@pytest.mark.parametrize("direction", ["ascending", "descending"])
def test_paced_samples_are_drawn_from_the_share_that_is_open(direction):
    n, width, steps = 1000, 50, 200
    scores = scores_of(n)
    order = Scored(direction=direction, pacing="linear", start=0.1, reach=0.5).by(scores)
    examples, _ = met(stream_of(n), order, Budget(width, None, steps))
    ranks = scores.argsort(descending=direction == "descending").argsort()[examples].double() / n
    time = torch.arange(len(examples)) / (0.5 * len(examples))
    limit = 0.1 + 0.9 * time.clamp(max=1)
    assert (ranks < limit + 1 / n).all()
    # Uniform below the limit: twice the mean of rank / limit is 1, its deviation 1 / sqrt(3 k).
    for part in (ranks / limit).view(4, -1):
        assert 2 * part.mean() == pytest.approx(1, abs=5 / math.sqrt(3 * len(part)))


def test_paced_samples_are_the_same_wherever_blocks_are_cut_and_counted_as_drawn():
    order = Scored(pacing="root", mix=0.3).by(scores_of(70))
    by_blocks = [met(stream_of(70), order, Budget(8, 2), block=block)[0] for block in (1, 5, 64)]
    assert by_blocks[0].equal(by_blocks[1])
    assert by_blocks[0].equal(by_blocks[2])
    course = Course([stream_of(70)], [3], Budget(8, 2), orders=[order])
    assert course.samples(0) == len(by_blocks[0]) == 2 * 9 * 8


def test_a_mixed_share_is_drawn_from_all():
    scores = torch.arange(1000).float()
    order = Scored(pacing="step", start=0.1, reach=1.0, mix=0.4).by(scores)
    examples, _ = met(stream_of(1000), order, Budget(50, None, 200))
    beyond = (scores[examples] >= 100).float().mean()
    assert beyond == pytest.approx(0.4 * 0.9, abs=0.02)


# --- what makes no order ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"direction": "up"}, "order.direction=up: expected one of ascending, descending"),
        ({"over": "run"}, "order.over=run: expected one of task, tasks, stream"),
        ({"phases": "second"}, "order.phases=second: expected one of all, first, last"),
        ({"mix": 1.5}, r"order.mix=1.5: expected a number in \[0, 1\]"),
        ({"pacing": "cubic"}, "order.pacing=cubic: expected one of linear, root"),
        ({"start": 1.0}, r"order.start=1.0: expected a number in \[0, 1\)"),
        ({"reach": 0}, r"order.reach=0: expected a number in \(0, 1\]"),
        ({"score": None}, "order.score=None: expected quality, reference, or a file"),
        ({"over": "stream", "pacing": "root"}, "order.over=stream: expected task, since .* order.pacing=root is about one"),
        ({"over": "tasks", "phases": "last"}, "order.over=tasks: expected task, since .* order.phases=last is about one"),
        ({"over": "tasks", "mix": 0.1}, "order.over=tasks: expected task, since .* order.mix=0.1 is about samples"),
    ],
)
def test_values_that_make_no_order_are_refused(options, error):
    with pytest.raises(UserError, match=error):
        Scored(**options)


def test_streams_in_an_order_of_their_own_are_refused():
    with pytest.raises(UserError, match="order: the examples of this environment are in an order of their own"):
        Scored().unbounded(stream_of(4, ordered=True))


def test_tasks_that_are_not_phases_cannot_be_put_in_order():
    stream = stream_of(4, 4)
    both = Phase(torch.arange(8), torch.arange(2).repeat_interleave(4), 1)
    joint = Stream(stream.tasks, (both,), "domain", 2)
    with pytest.raises(UserError, match=r"order.over=tasks: expected task or stream: the phases of this stream"):
        Scored(over="tasks").unbounded(joint)
