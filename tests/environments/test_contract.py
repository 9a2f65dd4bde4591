"""What every environment keeps, the shipped ones found in the configuration: wrapping ones over every inner one, in every
scenario they take, with and without validation data."""

import copy
import itertools

import pytest
import torch
import yaml

from lab.config import CONF, build
from lab.errors import UserError
from lab.protocols import SCENARIOS, Environment, Stream
from lab.reader import Reader
from lab.stream import Blocks, Budget, Course
from lab.testing import OneDevice, composed

GROUP = CONF / "environment"
NAMES = sorted(path.stem for path in GROUP.glob("*.yaml"))
BASES = sorted(path.stem for path in (GROUP / "base").glob("*.yaml"))


def wraps(name: str) -> bool:
    """Whether an environment, or the one that its file begins with, has an inner one."""
    defaults = yaml.safe_load((GROUP / f"{name}.yaml").read_text()).get("defaults", ())
    return any("base" in other for other in defaults if isinstance(other, dict)) or any(
        wraps(other) for other in defaults if other in NAMES
    )


WRAPPERS = [name for name in NAMES if wraps(name)]
PLAIN = [name for name in NAMES if name not in WRAPPERS]


def innermost(node: dict) -> dict:
    return innermost(node["base"]) if "base" in node else node


def with_options(node: dict, **options) -> dict:
    """The node with those of the options that its innermost environment has."""
    node = copy.deepcopy(node)
    inner = innermost(node)
    inner.update({key: value for key, value in options.items() if key in inner})
    return node


def cases():
    for name in PLAIN:
        yield name, [f"environment={name}", *(f"environment.{option}" for option in SEVERAL.get(name, ()))]
    for name in WRAPPERS:
        for base in ["split"] if name in AGAIN[1:] else BASES:  # these differ from the first in an option
            if (name, base) not in REFUSED and name != base:
                several = [f"environment.base.{option}" for option in SEVERAL.get(base, ())]
                yield f"{name}-{base}", [f"environment={name}", f"environment.base={base}", *several]
    yield "blurry-gradual", ["environment=blurry", "environment.mixture=gradual", "environment.share=0.4"]
    yield "power_law-generative", ["environment=power_law", "environment.form=generative"]
    yield "split-augmented", ["environment=split", "environment.augment=crop_flip", "environment.padding=2"]


SEVERAL = {"graded": ["base=permuted"], "nli": ["by=rule"], "slots": ["by=intent"]}
"""Options with which environments have several tasks, where they have one by themselves."""
AGAIN = ("power_law", "uniform", "exponential", "recent", "once")
"""Environments in which tasks are met again."""

ONE_TASK = ("nli", "slots", "stationary", "transduction")
REFUSED = {
    *itertools.product(("blurry",), ("drift", *ONE_TASK)),
    *itertools.product(AGAIN[:2], ("blurry", "drift", "power_law", *ONE_TASK)),
    *itertools.product(("transfer",), ("blurry", "drift", "power_law", *ONE_TASK)),
}
"""Where what the wrapper does would undo what the inner environment is for, or there is one task alone."""


@pytest.fixture(scope="module", params=[pytest.param(words, id=name) for name, words in cases()])
def node(request, tables):
    return composed(*request.param, f"data.dir={tables}", "tracking=off")["environment"]


def versions(node: dict):
    """The environments of a node: each scenario it takes, without and with validation data."""
    scenarios = SCENARIOS if "scenario" in innermost(node) else (None,)
    for scenario in scenarios:
        options = {} if scenario is None else {"scenario": scenario}
        for validation in (0, 0.25):
            yield build("environment", with_options(node, validation=validation, **options))


@pytest.fixture(scope="module")
def environments(node) -> list[Environment]:
    return list(versions(node))


def same(a: Stream, b: Stream) -> bool:
    def parts(stream):
        views = [task.view for task in stream.tasks if task.view is not None]
        tasks = [x for t in stream.tasks for x in (t.train, t.test, t.validation, t.labels)]
        return [*views, *tasks, *(x for p in stream.phases for x in (p.examples, p.tasks))]

    one, other = parts(a), parts(b)
    return len(one) == len(other) and all(map(torch.equal, one, other))


def test_environments_are_found():
    assert {"permuted", "split", "rotated", "drift"} <= set(PLAIN)
    assert {"online", "blurry", "graded", *AGAIN} <= set(WRAPPERS)
    assert set(PLAIN) <= set(BASES)


def test_a_stream_is_a_function_of_the_seed(environments, node):
    for environment in environments:
        assert same(environment.stream(3), environment.stream(3))
        inner = innermost(node)
        if inner.get("tasks") != 1:  # of one task nothing but held out rows is drawn
            assert same(environment.stream(3), environment.stream(4)) == ("shared" not in inner)


def test_shared_streams_differ_in_nothing_but_held_out_rows(node):
    if "shared" not in innermost(node):
        pytest.skip("all members meet the same stream anyway")
    environment = build("environment", with_options(node, shared=True))
    for one, other in zip(environment.stream(3).tasks, environment.stream(4).tasks, strict=True):
        assert torch.equal(one.labels, other.labels)
        assert (one.view is None and other.view is None) or torch.equal(one.view, other.view)


def test_rows_exist_and_are_held_apart(environments):
    for environment in environments:
        data, stream = environment.data, environment.stream(5)
        for task in stream.tasks:
            train, held, test = (set(rows.tolist()) for rows in (task.train, task.validation, task.test))
            assert train, "a task to train on"
            assert test, "a task to test"
            assert train | held <= set(range(len(data.train)))
            assert test <= set(range(len(data.test)))
            assert len(train) == len(task.train)
            assert not train & held
            if data.train.inputs is data.test.inputs:
                assert not (train | held) & test


def test_validation_rows_are_there_when_asked_for(environments, node):
    if "validation" not in innermost(node):
        pytest.skip("it holds nothing out")
    without, held = environments[0].stream(5), environments[1].stream(5)
    assert all(len(task.validation) == 0 for task in without.tasks)
    assert all(len(task.validation) > 0 for task in held.tasks)
    assert all(len(a.train) > len(b.train) for a, b in zip(without.tasks, held.tasks, strict=True))


def test_answers_are_output_units_of_the_task(environments):
    for environment in environments:
        stream = environment.stream(5)
        for task in stream.tasks:
            assert task.labels.shape == (environment.data.classes,)
            assert task.labels.max() < stream.outputs
            for rows, split in ((task.train, "train"), (task.validation, "train"), (task.test, "test")):
                targets = getattr(environment.data, split).targets[rows]
                assert (task.labels[targets[targets >= 0]] >= 0).all()
                assert all((each >= 0).any() for each in targets), "each has some label"
        units = [set(task.labels[task.labels >= 0].tolist()) for task in stream.tasks]
        if stream.scenario != "domain":
            assert set().union(*units) == set(range(stream.outputs))
            assert environment.data.layout or sum(map(len, units)) == stream.outputs, "tasks share tags at most"


def test_every_training_example_is_met_once_an_epoch_as_of_its_task(environments, node):
    """Where tasks are met again, at least once; in blocks, as far as these go."""
    for environment in environments:
        stream = environment.stream(5)
        met = sorted(pair for p in stream.phases for pair in zip(p.tasks.tolist(), p.examples.tolist(), strict=True))
        own = sorted((t, row) for t, task in enumerate(stream.tasks) for row in task.train.tolist())
        if node.get("form") == "generative":
            assert set(met) <= set(own)
        elif "law" in node or "law" in node.get("base", {}):
            assert len(met) > len(own)
            assert set(met) == set(own)
        else:
            assert met == own


def test_phases_complete_the_tasks_in_turn(environments):
    for environment in environments:
        stream = environment.stream(5)
        assert [phase.completes for phase in stream.phases] == list(range(len(stream.tasks)))


def test_members_can_be_read_together(environments):
    for environment in environments:
        streams = [environment.stream(seed) for seed in (5, 6)]
        reader = Reader(environment.data, streams)
        rows = torch.stack([stream.tasks[-1].train[:3] for stream in streams])
        inputs, targets = reader.read(rows, torch.full((2, 1), len(streams[0].tasks) - 1), noise=torch.rand(2, 3, 4))
        assert inputs.shape == (2, 3, *environment.data.train.inputs.shape[1:])
        assert ((targets == -100) | ((targets >= 0) & (targets < streams[0].outputs))).all()
        assert inputs.is_floating_point() == (environment.data.train.inputs.dtype != torch.int64)
        assert inputs.isfinite().all()


def test_a_resumed_loader_goes_on_inside_an_epoch(environments):
    environment = environments[0]
    streams = [environment.stream(seed) for seed in (5, 6)]

    def loader():
        return Blocks(Course(streams, [5, 6], Budget(batch_size=16), block=3))

    whole = list(loader())
    interrupted, resumed = loader(), loader()
    list(itertools.islice(interrupted, 2))
    resumed.load_state_dict(interrupted.state_dict())
    for before, after in zip(whole[2:], resumed, strict=True):
        assert before.start == after.start
        assert torch.equal(before.examples, after.examples)
        assert torch.equal(before.tasks, after.tasks)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_inputs_are_made_on_the_device_alone(environments, dtype):
    environment = environments[0]
    stream = environment.stream(5)
    inputs = environment.data.train.inputs[:6].to(dtype).to("meta").unflatten(0, (2, 3))
    noise, alike, mixed = (torch.zeros(2, *shape, device="meta") for shape in ((3, 4), (1,), (3,)))
    table = None
    if stream.view is not None:
        table = torch.stack([torch.stack([task.view for task in stream.tasks])] * 2).to("meta")
        assert table.shape[:2] == (2, len(stream.tasks))
    for tasks in (alike.long(), mixed.long()):
        with OneDevice():
            shown = inputs if stream.view is None else stream.view(inputs, table, tasks)
            shown = shown if stream.augment is None else stream.augment(shown, noise)
        assert (shown.shape, shown.dtype) == (inputs.shape, dtype)


@pytest.mark.parametrize(("wrapper", "base"), sorted(REFUSED))
def test_wrappers_refuse_what_they_would_undo(wrapper, base, tables):
    words = [f"environment={wrapper}", f"environment.base={base}", f"data.dir={tables}"]
    environment = build("environment", composed(*words)["environment"])
    with pytest.raises(UserError, match=r"environment\.base"):
        environment.stream(0)
