"""Tasks met again: budgeted counts against fractions worked out by hand and by plain Python, draws of the generative form by
the probability-integral transform of each, given the ages at that time."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from environments.blurry import Blurry
from environments.drift import Drift
from environments.permuted import Permuted
from environments.reencounters import LAWS, Reencounters, drawn
from environments.split import Split
from lab.errors import UserError
from lab.experiment import Experiment
from lab.testing import composed


def met(stream) -> list[list[int]]:
    """How many examples of each task each phase holds."""
    return [torch.bincount(phase.tasks, minlength=len(stream.tasks)).tolist() for phase in stream.phases]


def pairs(phase) -> list[tuple[int, int]]:
    return list(zip(phase.tasks.tolist(), phase.examples.tolist(), strict=True))


# --- budgeted ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("law", "exponent", "budget", "last"),
    [  # the last of four phases: earlier tasks at ages 4, 3, 2
        ("power", 1.0, 26, [6, 8, 12]),  # 3/13, 4/13, 6/13
        ("power", 2.0, 39, [6, 10, 23]),  # 9/61, 16/61, 36/61: 5.75, 10.23, 23.02
        # Of the same mean age, 156/61: weights x^2, x, 1 with 88 x^2 + 27 x - 34 = 0, x = .48682: 5.36, 11.01, 22.62.
        ("exponential", 2.0, 39, [5, 11, 23]),
        ("uniform", 2.0, 39, [13, 13, 13]),
        ("power", 0.0, 39, [13, 13, 13]),
        ("power", math.inf, 39, [0, 0, 39]),
        ("recent", 2.0, 39, [0, 0, 39]),
    ],
)
def test_counts_are_those_worked_out_by_hand(make, law, exponent, budget, last):
    stream = Reencounters(Permuted(make(2, examples=20), 4), law, exponent, amount=budget).stream(3)
    assert met(stream)[0] == [40, 0, 0, 0]
    assert met(stream)[1] == [budget, 40, 0, 0]
    assert met(stream)[3] == [*last, 40]


def test_equal_remainders_are_rounded_up_for_one_task_or_another(make):
    environment = Reencounters(Permuted(make(2, examples=20), 5), "uniform", amount=6)
    dealt = [met(environment.stream(seed))[4][:4] for seed in range(30)]
    assert all(sorted(counts) == [1, 1, 2, 2] for counts in dealt)
    assert {j for counts in dealt for j in range(4) if counts[j] == 2} == {0, 1, 2, 3}


def test_what_grows_is_the_power_law_itself_and_the_same_for_all_laws(make):
    base = Permuted(make(2, examples=20), 4)
    growing = {law: met(Reencounters(base, law, 1.0, amount="growing").stream(0)) for law in LAWS if law != "recent"}
    assert growing["power"] == [[40, 0, 0, 0], [20, 40, 0, 0], [13, 20, 40, 0], [10, 13, 20, 40]]
    assert growing["once"] == [[40, 0, 0, 0], [0, 60, 0, 0], [0, 0, 73, 0], [0, 0, 0, 83]]
    assert growing["uniform"][3] in ([14, 14, 15, 40], [14, 15, 14, 40], [15, 14, 14, 40])
    assert [sum(row) for row in growing["exponential"]] == [40, 60, 73, 83]


def test_tasks_of_different_sizes_give_what_the_smaller_has(make):
    stream = Reencounters(Split(make(5, examples=10), 2), amount="growing", exponent=1.0).stream(0)  # 30 and 20 examples
    assert met(stream) == [[30, 0], [10, 20]]
    assert met(Reencounters(Split(make(5, examples=10), 2), amount=0.25).stream(0)) == [[30, 0], [5, 20]]


def hamilton(total: int, weights: list[Fraction]) -> list[tuple[int, Fraction]]:
    """Whole parts of what is due by exact weights, and the remainders."""
    due = [total * weight / sum(weights) for weight in weights]
    return [(math.floor(d), d - math.floor(d)) for d in due]


@given(
    tasks=st.integers(2, 8),
    examples=st.integers(3, 30),
    share=st.floats(0.05, 0.99),
    exponent=st.integers(0, 6),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_phases_hold_the_new_task_and_largest_remainders_of_the_old(make, tasks, examples, share, exponent, seed):
    base = Permuted(make(2, examples=examples), tasks)
    power = Reencounters(base, "power", exponent, amount=share).stream(seed)
    budget = max(1, round(share * 2 * examples))
    for k, (phase, counts) in enumerate(zip(power.phases, met(power), strict=True)):
        assert counts[k] == 2 * examples
        assert sum(counts[:k]) == (budget if k else 0)
        assert not any(counts[k + 1 :])
        assert len(set(pairs(phase))) == len(phase.examples)
        assert (phase.completes, phase.announced, phase.ordered) == (k, True, False)
        if k:
            exact = hamilton(budget, [Fraction(1, (k - j + 1) ** exponent) for j in range(k)])
            more = [count - floor for count, (floor, _) in zip(counts, exact, strict=False)]
            assert set(more) <= {0, 1}
            up = [rest for extra, (_, rest) in zip(more, exact, strict=True) if extra]
            down = [rest for extra, (_, rest) in zip(more, exact, strict=True) if not extra]
            assert not up or not down or min(up) >= max(down)
    for law in LAWS[1:]:
        other = Reencounters(base, law, exponent, amount=share).stream(seed)
        assert [len(phase.examples) for phase in other.phases] == [len(phase.examples) for phase in power.phases]
        fresh = [{row for task, row in pairs(phase) if task == k} for k, phase in enumerate(other.phases)]
        assert fresh == [set(task.train.tolist()) for task in other.tasks]


def test_once_shows_the_current_task_again_evenly(make):
    stream = Reencounters(Permuted(make(2, examples=10), 5), "once", 0.25, amount="growing").stream(0)
    for k, phase in enumerate(stream.phases):
        often = torch.bincount(phase.examples)
        assert phase.tasks.unique().tolist() == [k]
        assert often.max() - often.min() <= 1
    assert len(stream.phases[4].examples) > 40, "more than twice the task"


@pytest.mark.parametrize("count", [2, 7])
def test_old_examples_are_a_uniform_sample_without_replacement(count):
    """2 of 10 are redrawn until they differ, 7 of 10 are cut from a permutation: every subset is as likely."""
    trials = 4000
    rows = drawn(torch.full((trials,), count), torch.full((trials,), 10), torch.Generator().manual_seed(0)).view(trials, count)
    assert (rows // 10 == torch.arange(trials).unsqueeze(1)).all()
    subsets = (rows % 10).sort(1).values
    assert (subsets.diff(dim=1) > 0).all()
    _, often = subsets.unique(dim=0, return_counts=True)
    assert len(often) == math.comb(10, count)
    assert stats.chisquare(often).pvalue > 1e-3


def test_members_and_phases_meet_other_examples(make):
    environment = Reencounters(Permuted(make(2, examples=50), 3, shared=True), "recent", amount=30)
    one, other = environment.stream(0), environment.stream(1)
    old = [set(p.examples[p.tasks < k].tolist()) for s in (one, other) for k, p in enumerate(s.phases) if k]
    assert all(a != b for i, a in enumerate(old) for b in old[:i])


# --- generative -------------------------------------------------------------------------------------------------------


def blocks_of(stream, blocks: int, block: int) -> list[int]:
    """The task of every block, each of one task."""
    tasks = torch.cat([phase.tasks for phase in stream.phases]).view(-1, block)
    assert len(tasks) == len(stream.tasks) * blocks
    assert (tasks == tasks[:, :1]).all()
    return tasks[:, 0].tolist()


def probabilities(law: str, exponent: float, ages: np.ndarray) -> np.ndarray:
    """The law, written anew."""
    weights = np.ones_like(ages) if law == "uniform" else ages**-exponent
    if law == "exponential":
        mean = ages @ weights / weights.sum()

        def off(rate):
            w = np.exp(-rate * (ages - ages.min()))
            return ages @ w / w.sum() - mean

        rate = optimize.brentq(off, 0, 50) if len(ages) > 1 and off(0) > 1e-9 else 0.0
        weights = np.exp(-rate * (ages - ages.min()))
    return weights / weights.sum()


def transforms(sequence: list[int], blocks: int, law: str, exponent: float, draw: np.random.Generator) -> list[float]:
    """Of each drawn task, P(older) + V P(as old) given when each was last met: uniform if the law is the right one."""
    last, found = {}, []
    for now, task in enumerate(sequence):
        if now % blocks:
            ages = np.array([now - last[j] for j in sorted(last)], float)
            chances = probabilities(law, exponent, ages)
            own = ages[sorted(last).index(task)]
            found.append(chances[ages > own].sum() + draw.uniform() * chances[ages == own].sum())
        else:
            assert task == now // blocks, "the first block of a phase is of its own task"
        last[task] = now
    return found


@pytest.mark.parametrize(("law", "wrong"), [("power", 0.7), ("power", 0.3), ("uniform", 0.5), ("exponential", 0.8)])
def test_every_draw_follows_the_law_given_the_ages_at_that_time(make, law, wrong):
    environment = Reencounters(Permuted(make(2), 12), law, 0.5, form="generative", blocks=9, block=1)
    sequences = [blocks_of(environment.stream(seed), 9, 1) for seed in range(40)]

    def p(kind, exponent):
        draw = np.random.default_rng(0)
        values = [u for sequence in sequences for u in transforms(sequence, 9, kind, exponent, draw)]
        assert len(values) == 40 * 12 * 8
        return stats.kstest(values, "uniform").pvalue

    assert p(law, 0.5) > 0.01
    assert p("power" if law == "uniform" else law, wrong) < 1e-5, "the test would tell another exponent"


def test_a_tasks_blocks_go_through_its_examples_and_begin_anew(make):
    stream = Reencounters(Split(make(6, examples=10), 3), form="generative", blocks=6, block=8).stream(2)  # 20 examples a task
    examples, tasks = (torch.cat([getattr(phase, part) for phase in stream.phases]) for part in ("examples", "tasks"))
    assert [len(phase.examples) for phase in stream.phases] == [48] * 3
    assert all(phase.ordered and phase.announced for phase in stream.phases)
    assert stream.one_pass
    rounds = [own for t in range(3) for own in examples[tasks == t].split(20) if len(own) == 20]
    assert len(rounds) > 4
    assert all(sorted(own.tolist()) in [task.train.tolist() for task in stream.tasks] for own in rounds)
    assert len({tuple(own.tolist()) for own in rounds}) == len(rounds)


def test_once_has_blocks_of_its_own_task_alone_in_phases_of_the_same_length(make):
    stream = Reencounters(Permuted(make(2), 3), "once", form="generative", blocks=4, block=5).stream(0)
    assert met(stream) == [[20, 0, 0], [0, 20, 0], [0, 0, 20]]


@pytest.mark.parametrize("words", [["epochs=2"], ["epochs=null", "steps=5"]])
def test_an_order_that_is_the_point_is_met_once(words):
    small = ("environment=power_law", "environment.form=generative", "tracking=off", "seeds=1", "network.width=8")
    with pytest.raises(UserError, match=r"this environment is one pass over its data; expected epochs=1 steps=null"):
        Experiment(composed(*small, *words))
    assert Experiment(composed(*small)).streams[0].one_pass
    Experiment(composed(*small, "environment.form=budgeted", *words))


# --- both -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"form": "generative", "block": 10}])
def test_a_thousand_tasks(make, options):
    """In seconds: the test's own limit is generous, since machines are shared."""
    environment = Reencounters(Permuted(make(2, examples=200), 1000), **options)
    stream = environment.stream(0)
    assert len(stream.phases) == 1000
    assert all((phase.tasks <= k).all() for k, phase in enumerate(stream.phases))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"law": "zipf"}, r"environment\.law=zipf: expected one of power, uniform, exponential, recent, once"),
        ({"form": "free"}, r"environment\.form=free: expected one of budgeted, generative"),
        ({"exponent": -0.5}, r"environment\.exponent=-0\.5: expected a number from 0 on"),
        ({"exponent": math.nan}, r"environment\.exponent=nan"),
        ({"law": "once", "exponent": "half"}, r"environment\.exponent=half"),
        ({"amount": 0}, r"environment\.amount=0: expected a share in \(0, 1\) of the smallest task, a whole number from 1 on"),
        ({"amount": 1.0}, r"environment\.amount=1\.0"),
        ({"amount": True}, r"environment\.amount=True"),
        ({"amount": "all"}, r"environment\.amount=all: .*or growing"),
        ({"amount": math.nan}, r"environment\.amount=nan"),
        ({"blocks": 1}, r"environment\.blocks=1: expected a whole number from 2 on"),
        ({"block": 0.5}, r"environment\.block=0\.5"),
        ({"form": "generative", "law": "recent"}, r"environment\.law=recent: .* which is law=once"),
        ({"form": "generative", "exponent": math.inf}, r"environment\.exponent=inf: .* which is law=once"),
    ],
)
def test_options_out_of_range_are_refused(make, options, message):
    with pytest.raises(UserError, match=message):
        Reencounters(Split(make(), 2), **options)


@pytest.mark.parametrize("law", LAWS)
def test_more_than_the_smallest_task_has_is_refused_whatever_the_law(make, law):
    base = Split(make(5, examples=10), 2)  # 30 and 20 examples
    assert sum(met(Reencounters(base, law, amount=20).stream(0))[1]) == 40
    with pytest.raises(
        UserError, match=r"environment\.amount=21: expected at most 20, the training examples of the smallest task"
    ):
        Reencounters(base, law, amount=21).stream(0)


def test_growing_beyond_what_a_task_has_or_from_nothing_is_refused(make):
    base = Permuted(make(2, examples=10), 4)
    with pytest.raises(UserError, match=r"environment\.amount=growing: .*with task 3 .* ask task 2 for 26 of its 20 examples"):
        Reencounters(base, "recent", amount="growing").stream(0)
    with pytest.raises(UserError, match=r"environment\.exponent=8: expected less, since nothing would be met again"):
        Reencounters(base, exponent=8, amount="growing").stream(0)


@pytest.mark.parametrize("options", [{}, {"form": "generative"}])
def test_streams_without_earlier_tasks_are_refused(make, options):
    data = make(4, examples=50, shape=(3,), ordered=True, dtype=torch.float32)
    refused = [
        (Permuted(make(), 1), r"environment\.base\.tasks=1: expected at least 2"),
        (Drift(data, 3), r"environment\.base=drift: it announces no boundaries"),
        (Drift(data, 3, announced=True), r"environment\.base=drift: its examples are in an order of their own"),
        (Blurry(Split(make(), 2)), r"environment\.base=blurry: it announces no boundaries"),
        (Reencounters(Split(make(), 2)), r"environment\.base=reencounters: .* met again in it already"),
    ]
    for base, message in refused:
        with pytest.raises(UserError, match=message):
            Reencounters(base, **options).stream(0)
    with pytest.raises(UserError, match=r"environment\.base=split: expected an environment to wrap"):
        Reencounters("split", **options)


def test_files_differ_in_the_law_alone():
    nodes = {name: composed(f"environment={name}")["environment"] for name in ("power_law", *LAWS[1:])}
    assert {name: node.pop("law") for name, node in nodes.items()} == {"power_law": "power"} | {law: law for law in LAWS[1:]}
    assert all(node == nodes["power_law"] for node in nodes.values())
