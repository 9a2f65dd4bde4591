"""The accuracy tensor and the curves, against torchmetrics on one member and one example set at a time."""

from functools import partial

import pytest
import torch
from torch.func import functional_call
from torchmetrics.classification import MulticlassAccuracy

from lab.evaluation import Evaluation, Rows, first_met
from lab.networks import MLP
from lab.protocols import Phase, Stream, Task
from lab.stream import Budget, Course
from lab.testing.miniature import Miniature, fit, small_learner
from strategies.er import ER
from strategies.joint import Joint

SEEDS, TASKS = [3, 8], 2


def network_of(environment):
    return MLP((1, 8, 8), environment.stream(0).outputs, width=16, depth=1)


def reference(learner, environment, member, task, phase, with_task=True, rows=None):
    """Accuracy of one member on one task's test rows by torchmetrics; None where no answer can be right."""
    stream, scenario = learner.course.streams[member], environment.scenario
    network = network_of(environment)
    rows = stream.tasks[task].test if rows is None else rows
    inputs = environment.data.test.inputs[rows].float() / 255
    state = learner.population.member(member)
    with torch.no_grad():
        logits = functional_call(network, state, (inputs,))
    targets = stream.tasks[task].labels[environment.data.test.targets[rows]]
    if scenario != "domain":
        own = {unit for unit in stream.tasks[task].labels.tolist() if unit >= 0}
        tasks = {t for k in range(phase + 1) for t in stream.phases[k].tasks.tolist()}
        met = {unit for t in tasks for unit in stream.tasks[t].labels.tolist() if unit >= 0}
        answers = own if scenario == "task" and with_task else met
        if not own <= answers:
            return None
        for unit in range(stream.outputs):
            if unit not in answers:
                logits[:, unit] = -1e9
    return MulticlassAccuracy(stream.outputs, average="micro")(logits.softmax(1), targets).item()


def watched(learner, environment):
    """Train, and take the reference for each row and curve point as it is measured."""
    rows, points = {}, {}
    after, within = learner.evaluation.after_phase, learner.evaluation.within_phase

    def note_row(own, phase):
        after(own, phase)
        row = learner.course.phases[phase].completes + 1 if phase >= 0 else 0
        for m in range(len(SEEDS)):
            for t in range(TASKS):
                rows[m, row, t] = (reference(own, environment, m, t, phase), reference(own, environment, m, t, phase, False))

    def note_point(own, step):
        within(own, step)
        for m in range(len(SEEDS)):
            for t in range(TASKS):
                subset = learner.evaluation.subset(t)[0][m]
                points[m, step, t] = reference(own, environment, m, t, learner.course.phase_at(step), rows=subset)

    learner.evaluation.after_phase, learner.evaluation.within_phase = note_row, note_point
    fit(learner)
    return rows, points


def assert_measured(value, expected):
    assert value.isnan() if expected is None else value.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("strategies", [(), (ER(memory=5),), (Joint(),)], ids=["naive", "er", "joint"])
@pytest.mark.parametrize("scenario", ["class", "domain", "task"])
def test_equal_to_torchmetrics(scenario, strategies):
    environment = Miniature(scenario)
    learner = small_learner(SEEDS, partial(network_of, environment), strategies, environment=environment, curves=5, samples=7)
    rows, points = watched(learner, environment)
    measured = learner.evaluation
    for (m, row, t), (with_task, without) in rows.items():
        assert_measured(measured.accuracy[m, row, t], with_task)
        if scenario == "task":
            assert_measured(measured.accuracy_without_task[m, row, t], without)
    for (m, step, t), expected in points.items():
        assert_measured(measured.curves[m, measured.steps.index(step), t], expected)
    done = {row for _, row, _ in rows}
    assert all(measured.accuracy[:, row].isnan().all() for row in range(TASKS + 1) if row not in done)
    assert done == ({0, 2} if isinstance((strategies or (None,))[0], Joint) else {0, 1, 2})
    assert len(measured.steps) > 3


def test_chunks_change_nothing():
    accuracies = []
    for batch in (3, 1000):
        learner = small_learner(SEEDS, environment=Miniature())
        learner.evaluation.batch = batch
        fit(learner)
        accuracies.append(learner.evaluation.accuracy)
    torch.testing.assert_close(*accuracies, rtol=0, atol=0, equal_nan=True)


def test_curves_are_measured_on_a_fixed_subset_of_the_members_own():
    environment = Miniature("domain")
    courses = [Course([environment.stream(s) for s in seeds], seeds, Budget(4), evaluate_every=5) for seeds in ([3, 8], [8])]
    one, other = (Evaluation(course, course.seeds, samples=5).subset(0)[0] for course in courses)
    assert one.shape == (2, 5)
    assert torch.equal(one[1], other[0])
    assert not torch.equal(one[0].sort().values, one[1].sort().values)


def test_so_many_examples_stand_for_a_test_set():
    environment = Miniature("domain")
    streams = [environment.stream(seed) for seed in SEEDS]
    evaluation = Evaluation(Course(streams, SEEDS, Budget(4), evaluate_every=5), SEEDS, samples=9, at_most=6)
    for rows in (evaluation.whole, evaluation.subset):  # curves are measured on no more than that either
        examples, valid = rows(1)
        assert examples.shape == (2, 6)
        assert valid.all()
        for m, stream in enumerate(streams):
            assert set(examples[m].tolist()) <= set(stream.tasks[1].test.tolist())
            assert len(set(examples[m].tolist())) == 6
    assert torch.equal(evaluation.whole(1)[0], evaluation.subset(1)[0])


def test_what_tasks_and_members_have_in_common_is_kept_once():
    test, own = torch.arange(5), torch.arange(3)
    rows = Rows([[test, torch.arange(5)], [test, own], [test, own]])
    assert len(list(rows.buffers())) == 2 * 2
    assert rows.examples_0.shape == (1, 5)
    for task, lengths in enumerate([(5, 5), (5, 3), (5, 3)]):
        examples, valid = rows(task)
        assert valid.sum(1).tolist() == list(lengths)
        assert all(examples[m, :n].tolist() == list(range(n)) for m, n in enumerate(lengths))


def test_what_is_met_when_is_what_the_phases_show():
    """Units 0, 1 in task 0, 1, 2 in task 1; the first phase shows task 1 alone, the second both, task 2 is never shown."""
    labels = [torch.tensor([0, 1, -1, -1]), torch.tensor([-1, 1, 2, -1]), torch.tensor([-1, -1, -1, 3])]
    tasks = tuple(Task(torch.arange(4), torch.arange(4), own) for own in labels)
    phases = (Phase(torch.arange(2), torch.tensor([1, 1]), 1), Phase(torch.arange(2), torch.tensor([0, 1]), 0))
    units, whole = first_met(Stream(tasks, phases, "class", 5))
    assert units.tolist() == [2, 1, 1, 3, 3]
    assert whole.tolist() == [2, 1, 3]


def test_validation_data_are_taken_from_the_training_split():
    class Held(Miniature):
        def _task(self, classes, draw):
            from dataclasses import replace

            task = super()._task(classes, draw)
            return replace(task, train=task.train[3:], validation=task.train[:3])

    environment = Held("domain", uneven=False)
    streams = [environment.stream(seed) for seed in SEEDS]
    evaluation = Evaluation(Course(streams, SEEDS, Budget(4)), SEEDS, split="validation")
    assert evaluation.data_split == "train"
    assert sorted(evaluation.whole(1)[0][0].tolist()) == streams[0].tasks[1].validation.tolist()


def test_log_lags_evaluates_few_tasks_and_all_at_the_ends():
    environment = Miniature("domain", tasks=9)
    course = Course([environment.stream(0)], [0], Budget(4))
    evaluation = Evaluation(course, [0], tasks="log_lags")
    assert evaluation._chosen(0) == evaluation._chosen(9) == list(range(9))
    # After task 8 (the last but one): lags 0, 1, 2, 4 are tasks 8, 7, 6, 4, counted from 0: 7, 6, 5, 3; and the next.
    assert evaluation._chosen(8) == [3, 5, 6, 7, 8]
    assert evaluation._chosen(1) == [0, 1]


def test_members_with_test_sets_of_unlike_sizes():
    class Uneven(Miniature):
        def stream(self, seed):
            from dataclasses import replace

            stream = super().stream(seed)
            return replace(stream, tasks=tuple(replace(task, test=task.test[: 4 + seed]) for task in stream.tasks))

    environment = Uneven("domain")
    learner = small_learner(SEEDS, partial(network_of, environment), environment=environment)
    fit(learner)
    for m in range(2):
        assert learner.evaluation.accuracy[m, 2, 0].item() == pytest.approx(reference(learner, environment, m, 0, 1), abs=1e-6)


@pytest.mark.parametrize("scenario", ["domain", "class"])
@pytest.mark.parametrize("tasks", ["all", "log_lags"])
def test_what_it_will_take_is_known_ahead(tasks, scenario):
    """The plan asks; here, every example that goes through the network is counted."""
    environment = Miniature(scenario, tasks=5)
    learner = small_learner(SEEDS, partial(network_of, environment), environment=environment, curves=7, block=3)
    learner.evaluation.which, learner.evaluation.samples, met = tasks, 6, []
    predict = learner.predict
    learner.predict = lambda inputs, tasks: met.append(inputs.shape[1]) or predict(inputs, tasks)
    fit(learner)
    assert learner.evaluation.count() == sum(met)


def test_tasks_that_have_no_accuracy_yet_are_not_measured():
    """Class-incremental: the row before training is empty, row i has i tasks; their forward passes are spared."""
    environment, measured = Miniature("class", tasks=3), []
    learner = small_learner(SEEDS, partial(network_of, environment), environment=environment)
    measure = learner.evaluation._measure
    learner.evaluation._measure = lambda own, phase, *rest: measured.append((phase, own.task)) or measure(own, phase, *rest)
    fit(learner)
    assert measured == [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]
    filled = ~learner.evaluation.accuracy.isnan()
    assert torch.equal(filled[0], torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]).bool())
