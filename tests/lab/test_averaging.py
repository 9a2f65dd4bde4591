"""Averages of weights: against torch.optim.swa_utils and by hand, for members that rest, and evaluated beside the weights."""

import copy

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lab.averaging import Averaging, Iterates, Snapshots, held, weights
from lab.errors import UserError
from lab.networks import MLP
from lab.results import Results, join, load, save
from lab.stream import Budget
from lab.testing.miniature import Miniature, checkpoint, fit, restored, small_learner, small_network
from lab.training import _measured

SEEDS = [3, 8, 5]


def learner_of(averaging, seeds=SEEDS, **options):
    return small_learner(seeds, averaging=averaging, **options)


def followed(learner):
    """Train; the weights of every member behind each of its own steps, ``[member][step]`` as {name: [...]}."""
    seen, after = [[] for _ in learner.seeds], learner.averaging.after_step
    lengths = torch.tensor(learner.course.lengths)  # [phase, member]
    ends = [0, *learner.course.ends]

    def note(population, step):
        after(population, step)
        phase = learner.course.phase_at(step)
        for m, own in enumerate(seen):
            if step - ends[phase] <= lengths[phase, m]:
                own.append({name: value[m].detach().clone() for name, value in held(population).items()})

    learner.averaging.after_step = note
    fit(learner)
    return seen


def mean_of(states, shares):
    return {name: sum(share * state[name] for share, state in zip(shares, states, strict=True)) for name in states[0]}


def assert_is(learner, member, expected, kind=None):
    found = learner.averaging.state(learner.population, kind)
    for name, value in expected.items():
        torch.testing.assert_close(found[name][member], value, rtol=1e-5, atol=1e-6)


# --- the weights of snapshots -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "six"),
    [
        ("ema_source", [0.328, 0.082, 0.102, 0.128, 0.160, 0.200]),  # as methods.md gives the paper's
        ("ema", [0.089, 0.111, 0.139, 0.173, 0.217, 0.271]),
        ("sma", [1 / 6] * 6),
        ("wma", [i / 21 for i in range(1, 7)]),
    ],
)
def test_snapshots_count_as_in_the_paper(kind, six):
    assert weights(kind, 0.2, 6).tolist() == pytest.approx(six, abs=6e-4)
    for n in range(1, 9):
        assert float(weights(kind, 0.3, n).sum()) == pytest.approx(1)
    assert weights(kind, 0.2, 1).tolist() == pytest.approx([1])


@pytest.mark.parametrize(
    ("kind", "function"), [("sma", None), ("ema_source", get_ema_multi_avg_fn(0.8))], ids=["sma", "ema_source"]
)
def test_they_are_what_swa_utils_makes_of_the_same_snapshots(kind, function):
    learner = learner_of(Snapshots(kind, 4, window=0.7))
    seen = followed(learner)
    own = [sum(lengths) for lengths in zip(*learner.course.lengths, strict=True)]
    for m, steps in enumerate(own):
        room = round(0.7 * steps)
        at = [steps - round(room * (3 - i) / 4) for i in range(4)]  # one-based: the last is the last step
        states = [seen[m][step - 1] for step in at]
        network = small_network()
        averaged = AveragedModel(network, multi_avg_fn=function)
        for state in states:
            network.load_state_dict({name.replace("/", "."): value for name, value in state.items()})
            averaged.update_parameters(network)
        theirs = {name.replace(".", "/"): value.detach() for name, value in averaged.module.named_parameters()}
        assert_is(learner, m, theirs)


def test_members_may_have_averages_of_their_own():
    learner = learner_of(Snapshots(["sma", "ema", "wma"], 3, window=0.5, alpha=[0.2, 0.6, 0.9], beside=["raw", "ema_source"]))
    seen = followed(learner)
    for m, (kind, alpha) in enumerate([("sma", 0.2), ("ema", 0.6), ("wma", 0.9)]):
        steps = len(seen[m])
        room = round(0.5 * steps)
        states = [seen[m][steps - round(room * (2 - i) / 3) - 1] for i in range(3)]
        assert_is(learner, m, mean_of(states, weights(kind, alpha, 3)))
        assert_is(learner, m, mean_of(states, weights("ema_source", alpha, 3)), "ema_source")
        assert_is(learner, m, seen[m][-1], "raw")


def test_over_tasks_the_last_task_ends_are_averaged():
    learner = learner_of(Snapshots("wma", 2, over="tasks"), environment=Miniature(tasks=3), make=six_units)
    seen = followed(learner)
    lengths = torch.tensor(learner.course.lengths).cumsum(0)  # [phase, member]: own steps by its end
    for m in range(len(SEEDS)):
        states = [seen[m][int(lengths[phase, m]) - 1] for phase in (1, 2)]
        assert_is(learner, m, mean_of(states, [1 / 3, 2 / 3]))


def six_units():
    return MLP((1, 8, 8), 6, width=16, depth=1)


def test_over_task_an_average_begins_anew_with_each():
    learner = learner_of(Snapshots("sma", 2, over="task", window=0.5))
    seen = followed(learner)
    for m in range(len(SEEDS)):
        last = learner.course.lengths[-1][m]
        room = round(0.5 * last)
        own = seen[m][-last:]
        assert_is(learner, m, mean_of([own[last - round(room / 2) - 1], own[last - 1]], [0.5, 0.5]))


def test_iterates_count_by_their_age():
    learner = learner_of(Iterates([0.9, 0.5, 1.0], every=3))
    seen = followed(learner)
    for m, decay in enumerate([0.9, 0.5, 1.0]):
        states = seen[m][2::3]
        shares = torch.tensor([decay ** (3 * age) for age in reversed(range(len(states)))])
        assert_is(learner, m, mean_of(states, shares / shares.sum()))


@pytest.mark.parametrize("decay", [0.9, 1.0])
@pytest.mark.parametrize("over", ["run", "task"])
def test_members_alike_are_averaged_as_by_themselves(decay, over):
    # What counts alike for all is a number, and one a member where one of them differs.
    budget, found = Budget(4, steps=7), []
    for decays in (decay, [decay, decay, 0.5]):
        learner = learner_of(Iterates(decays, every=2, over=over), budget=budget)
        seen = followed(learner)
        found.append(learner.averaging.state(learner.population, None))
        begin = 7 * (len(learner.course.ends) - 1) if over == "task" else 0
        states = seen[0][begin:][1::2]
        shares = torch.tensor([decay ** (2 * age) for age in reversed(range(len(states)))])
        assert_is(learner, 0, mean_of(states, shares / shares.sum()))
    for name, value in found[0].items():
        assert torch.equal(value[:2], found[1][name][:2])


@pytest.mark.parametrize(
    "averaging",
    [
        Snapshots(snapshots=3, window=0.6),
        Snapshots(snapshots=2, over="task", window=0.6),
        Snapshots(snapshots=2, over="tasks"),
        Iterates(every=3),
    ],
    ids=["run", "task", "tasks", "iterates"],
)
def test_moments_are_the_steps_behind_which_weights_are_taken_in(averaging):
    learner = learner_of(averaging)
    found, after = [[] for _ in SEEDS], averaging.after_step

    def note(population, step):
        before = averaging.taken.clone()
        after(population, step)
        for m in (averaging.taken > before).nonzero().flatten().tolist():
            found[m].append(step)

    averaging.after_step = note
    fit(learner)
    assert averaging.moments(learner.course) == found
    assert all(own == sorted(set(own)) and len(own) >= 2 for own in found)
    assert Averaging().moments(learner.course) == [[], [], []]


# --- beside the weights -----------------------------------------------------------------------------------------------


def test_training_does_not_notice():
    plain, averaged = learner_of(None, curves=2), learner_of(Snapshots("sma", 3, window=0.6), curves=2)
    fit(plain)
    fit(averaged)
    for name, leaf in plain.population.leaves.items():
        assert torch.equal(leaf, averaged.population.leaves[name])
    for measured in ("accuracy", "curves"):
        raw = getattr(averaged.beside["raw"], measured)
        assert torch.equal(raw.nan_to_num(9), getattr(plain.evaluation, measured).nan_to_num(9))
    assert not torch.equal(averaged.evaluation.accuracy[:, -1], averaged.beside["raw"].accuracy[:, -1])


def test_what_stands_for_the_run_is_the_accuracy_of_the_average():
    learner = learner_of(Snapshots("sma", 3, window=0.6))
    fit(learner)
    state = learner.averaging.state(learner.population, None)
    again = copy.deepcopy(learner.evaluation.accuracy)
    learner.population.load(state)
    learner.population.eval()
    learner.evaluation.after_phase(learner, len(learner.course.phases) - 1)
    assert torch.equal(again.nan_to_num(9), learner.evaluation.accuracy.nan_to_num(9))


def test_before_anything_is_averaged_it_is_the_weights_as_they_are():
    learner = learner_of(Snapshots("sma", 2, window=0.2), budget=Budget(4, 2))
    fit(learner)
    first = learner.evaluation.accuracy[:, :2].nan_to_num(9)  # before training, and at the end of the first of two tasks
    assert torch.equal(first, learner.beside["raw"].accuracy[:, :2].nan_to_num(9))


@pytest.mark.parametrize("make", [lambda: Snapshots("ema", 3, window=0.8), lambda: Iterates(0.9, 2, over="task")])
def test_a_resumed_run_has_the_same_average(make):
    whole, halved, resumed = (learner_of(make(), curves=3) for _ in range(3))
    fit(whole)
    saved = checkpoint(halved, fit(halved, until=3))
    fit(resumed, restored(resumed, saved))
    for name, value in whole.averaging.state(whole.population, None).items():
        assert torch.equal(value, resumed.averaging.state(resumed.population, None)[name])
    for one, other in ((whole.evaluation, resumed.evaluation), (whole.beside["raw"], resumed.beside["raw"])):
        assert torch.equal(one.accuracy.nan_to_num(9), other.accuracy.nan_to_num(9))
        assert torch.equal(one.curves.nan_to_num(9), other.curves.nan_to_num(9))


@pytest.mark.parametrize("make", [lambda: Snapshots("wma", 3, window=0.8), lambda: Iterates(0.9, 2)])
def test_an_average_does_not_depend_on_the_company(make):
    together = learner_of(make())
    fit(together)
    found = together.averaging.state(together.population, None)
    for m, seed in enumerate(SEEDS):
        alone = learner_of(make(), [seed])
        fit(alone)
        for name, value in alone.averaging.state(alone.population, None).items():
            torch.testing.assert_close(found[name][m], value[0])


def test_running_statistics_are_averaged_along():
    def normalised():
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 4))

    learner = learner_of(Snapshots("sma", 3, window=0.6), make=normalised)
    assert "2/running_mean" in held(learner.population)
    seen = followed(learner)
    steps = len(seen[0])
    states = [seen[0][steps - round(round(0.6 * steps) * (2 - i) / 3) - 1] for i in range(3)]
    assert_is(learner, 0, mean_of(states, [1 / 3] * 3))


def test_none_changes_nothing_and_keeps_nothing():
    learner = learner_of(Averaging())
    assert not dict(learner.averaging.named_buffers())
    assert not learner.beside
    assert learner.averaging.announcement(10, 1000, 4) is None


def test_it_says_how_much_memory_it_takes():
    assert Snapshots("sma", 6).announcement(10, 2**18, 4) == "averaging: keeps 6 snapshots of 10 networks, 60.0 MiB"
    learner = learner_of(Snapshots("sma", 3, window=0.6))
    kept = sum(b.numel() for name, b in learner.averaging.named_buffers() if name.startswith("ring/"))
    assert kept == 3 * sum(leaf.numel() for leaf in learner.population.leaves.values())


# --- what does not fit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Snapshots("mean"), "averaging.kind=mean: expected one of sma, wma, ema, ema_source"),
        (lambda: Snapshots(snapshots=0), "averaging.snapshots=0: expected a whole number from 1 on"),
        (lambda: Snapshots(window=0), r"averaging.window=0: expected a share of the steps in \(0, 1\]"),
        (lambda: Snapshots(window=1.5), r"averaging.window=1.5: expected a number in \[0, 1\]"),
        (lambda: Snapshots(alpha=-0.1), r"averaging.alpha=-0.1: expected a number in \[0, 1\]"),
        (lambda: Snapshots(over="epoch"), "averaging.over=epoch: expected one of run, task, tasks"),
        (lambda: Snapshots(beside=["raw", "raw"]), "averaging.beside=.*: names one twice"),
        (lambda: Snapshots(beside=["sma"]), "averaging.beside=.*: names one twice, or what averaging.kind=sma is already"),
        (lambda: Snapshots(beside="raw"), "averaging.beside=raw: expected a list of raw, sma"),
        (lambda: Iterates(decay=1.1), r"averaging.decay=1.1: expected a number in \[0, 1\]"),
        (lambda: Iterates(every=0), "averaging.every=0: expected a whole number from 1 on"),
        (lambda: Iterates(over="tasks"), "averaging.over=tasks: expected one of run, task"),
    ],
)
def test_values_that_make_no_average_are_refused(make, error):
    with pytest.raises(UserError, match=error):
        make()


@pytest.mark.parametrize(
    ("averaging", "error"),
    [
        (Snapshots(snapshots=9), r"averaging.snapshots=9: expected at most 3, the steps in the last 0.2 \(averaging.window\)"),
        (Snapshots(snapshots=3, over="tasks"), "averaging.snapshots=3: expected at most 2, since averaging.over=tasks"),
        (Snapshots(["sma", "ema"], 2), r"averaging.kind=\['sma', 'ema'\]: expected one value, or a list of 3"),
        (Iterates(every=100, over="task"), r"averaging.every=100: expected at most the \d steps of the shortest task"),
        (Iterates([0.9, 0.8]), r"averaging.decay=\[0.9, 0.8\]: expected one value, or a list of 3"),
    ],
)
def test_averages_that_do_not_fit_the_run_are_refused(averaging, error):
    course = learner_of(None).course
    with pytest.raises(UserError, match=error):
        averaging.check(course)


def test_results_hold_what_stands_beside(tmp_path):
    learner = learner_of(Snapshots("sma", 3, window=0.6), curves=4)
    fit(learner)
    diverged = [None] * len(SEEDS)
    accuracy, raw = (_measured(of, diverged)["accuracy"] for of in (learner.evaluation, learner.beside["raw"]))
    config = {"strategy": {"naive": {}}, "environment": {"_target_": "x"}}
    cost = {"wall_seconds": 1.0, "samples": [1] * 3, "state_bytes": 0, "resumed_from_step": None}
    beside = {"raw": {"accuracy": raw, "accuracy_without_task": None, "loss": None, "curves": None}}
    results = Results(config, SEEDS, accuracy, None, diverged, cost, beside=beside)
    np.testing.assert_allclose(results.metrics["accuracy_raw"], raw[:, -1].mean(1))
    np.testing.assert_allclose(results.metrics["accuracy"], accuracy[:, -1].mean(1))
    read = load(save(results, tmp_path).parent)
    np.testing.assert_array_equal(read.beside["raw"]["accuracy"], raw)
    np.testing.assert_array_equal(join([read], [8]).beside["raw"]["accuracy"], raw[1:2])
