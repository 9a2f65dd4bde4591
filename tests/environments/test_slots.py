"""Intents and slots: the rules on answers by hand, tasks by intent and by rule, tags that tasks share, labels not told."""

import os
from pathlib import Path

import pytest
import torch

from environments.slots import Slots, allowed
from environments.sources.conll import conll
from environments.sources.snips import FILE, snips
from lab.errors import UserError
from lab.evaluation import first_met
from lab.reader import Reader
from lab.testing.sentences import write_snips

DATA = os.environ.get("LAB_DATA")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("snips")
    write_snips(folder)
    return snips(str(folder), length=6, least=1)


def names(data):
    return [name for output in data.layout.outputs for name in output.classes]


@pytest.mark.parametrize(
    ("answer", "broken"),
    [
        ("PlayMusic O B-track I-track O B-artist", ()),
        ("PlayMusic I-track O O O B-artist", ("bio",)),
        ("PlayMusic O O I-track O O", ("bio",)),
        ("PlayMusic B-track I-artist O O O", ("bio",)),
        ("PlayMusic O B-track I-track B-track I-track", ()),
        ("PlayMusic O B-city I-city O O", ("slots",)),
        ("GetWeather O O B-city I-city O", ()),
        ("GetWeather O O B-city I-book O", ("bio", "slots")),
        ("RateBook O O O O O", ()),
    ],
)
def test_rules_by_hand(source, answer, broken):
    stream = Slots(source).stream(0)
    classes = names(source)
    answers = torch.tensor([[classes.index(name) for name in answer.split()] + [classes.index("O")]])
    inputs = torch.tensor([[1] * 6 + [0]])
    real = source.layout.real(inputs)
    assert {rule.name for rule in stream.rules if rule.violated(answers[None], inputs[None], real[None])} == set(broken)


def test_labels_keep_the_rules_and_strangers_are_counted(source):
    environment = Slots(source)
    for split in (source.train, source.test):
        groups = (split.targets.clamp(min=0).unsqueeze(1), split.inputs.unsqueeze(1))
        real = source.layout.real(groups[1])
        assert not any(rule.violated(*groups, real).any() for rule in environment.rules)
    assert ("GetWeather", "B-city") in environment.allowed
    assert ("GetWeather", "B-track") not in environment.allowed
    assert environment.announcement() == "0 of 24 test sentences have a tag that their intent has in no training sentence"
    fewer = source.train.targets[:, 0] != 0
    kept = {name: getattr(source.train, name)[fewer] for name in ("inputs", "targets")}
    without = type(source)("x", type(source.train)(**kept), source.test, source.classes, "d", layout=source.layout)
    assert Slots(without).announcement().startswith("8 of 24 test sentences")
    assert not any(intent == "GetWeather" for intent, _ in allowed(without))


@pytest.mark.parametrize("scenario", ["domain", "class", "task"])
def test_an_intent_a_task(source, scenario):
    environment = Slots(source, by="intent", scenario=scenario, validation=0.1)
    stream, classes = environment.stream(3), names(source)
    assert (len(stream.tasks), stream.outputs, stream.scenario) == (3, source.classes, scenario)
    met = [source.train.targets[task.train, 0].unique().tolist() for task in stream.tasks]
    assert sorted(map(len, met)) == [1, 1, 1]
    assert sorted(intent for own in met for intent in own) == [0, 1, 2]
    assert len({tuple(int(source.train.targets[t.train[0], 0]) for t in environment.stream(s).tasks) for s in range(12)}) > 3
    for task, (intent,) in zip(stream.tasks, met, strict=True):
        assert (len(task.train), len(task.validation), len(task.test)) == (18, 2, 8)
        assert (source.test.targets[task.test, 0] == intent).all()
        own = {classes[c] for c in range(source.classes) if task.labels[c] >= 0}
        tags = {tag for name, tag in environment.allowed if name == classes[intent]}
        assert own == (set(classes) if scenario == "domain" else {classes[intent]} | tags)


def test_shared_tags_are_met_once_and_tasks_with_their_intents(source):
    """Which units and tasks count as met, and what the reader makes of tags of other tasks."""
    environment = Slots(source, by="intent", scenario="class", intent_order=["RateBook", "PlayMusic", "GetWeather"])
    stream, classes = environment.stream(0), names(source)
    units, tasks = first_met(stream)
    assert tasks.tolist() == [1, 2, 3]
    met = dict(zip(classes, units.tolist(), strict=True))
    assert (met["O"], met["B-book"], met["RateBook"], met["B-track"], met["B-city"]) == (1, 1, 1, 2, 3)
    reader = Reader(environment.data, [stream])
    rows = stream.tasks[2].train[:4].unsqueeze(0)
    own = reader.targets_of(rows, torch.tensor([[2]]))
    assert torch.equal(own[0], source.train.targets[rows[0]])
    strange = reader.targets_of(rows, torch.tensor([[0]]))
    assert set(strange.unique().tolist()) == {-100, classes.index("O")}


def test_labels_that_are_not_told(source):
    environment = Slots(source, labels=0.1, validation=0.2)
    (task,) = environment.stream(0).tasks
    assert (len(task.validation), len(task.train)) == (12, 5)
    single = task.groups["single"].squeeze(1)
    assert len(single) == 48
    hidden = single[single >= 60]
    assert len(hidden) == 43
    assert (environment.data.train.targets[hidden] == -100).all()
    assert torch.equal(environment.data.train.inputs[hidden], source.train.inputs[hidden - 60])
    assert set((hidden - 60).tolist()) | set(task.train.tolist()) == set(range(60)) - set(task.validation.tolist())


def test_earlier_sentences_may_stay_for_rules(source):
    environment = Slots(source, by="intent", scenario="class", earlier=0.5, validation=0.1)
    first, second, third = environment.stream(0).tasks
    assert first.groups == {}
    single = third.groups["single"].squeeze(1)
    assert torch.equal(single[:18], third.train)
    old = single[18:] - 60
    assert (environment.data.train.targets[old + 60] == -100).all()
    assert len(set(old.tolist()) & set(first.train.tolist())) == len(set(old.tolist()) & set(second.train.tolist())) == 9
    assert set(second.groups["single"].squeeze(1).tolist()) - set(second.train.tolist()) < set(single.tolist())


def test_a_part_for_each_rule_and_rules_of_ones_own(source):
    mine = {"one_city": "count(i: tag[i] = B-city) <= 1", "slots": None}
    stream = Slots(source, by="rule", rules=mine, imposed={"bio": [1, 2]}).stream(0)
    assert [task.rules for task in stream.tasks] == [("bio",), ("bio", "one_city")]
    assert [len(task.train) for task in stream.tasks] == [30, 30]
    assert [len(task.test) for task in stream.tasks] == [24, 24]


def test_names_in_columns_have_no_intents(tmp_path):
    (tmp_path / "own.txt").write_text("Ann B-PER\nLee I-PER\n\nRome B-LOC\n\nBonn B-LOC\n")
    environment = Slots(conll(str(tmp_path / "own.txt"), least=1))
    assert [rule.name for rule in environment.rules] == ["bio"]
    assert environment.announcement() is None
    assert environment.data.layout.outputs[0].classes == ("O", "B-LOC", "B-PER", "I-PER")
    answers = torch.tensor([[2, 3], [0, 3], [3, 3], [2, 0]]).unsqueeze(1)
    broken = environment.rules[0].violated(answers, torch.ones_like(answers), answers >= 0)
    assert broken.tolist() == [False, True, True, False]
    with pytest.raises(UserError, match=r"environment\.by=intent: expected null or rule: own tells no intents"):
        Slots(environment.source, by="intent")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"by": "slot"}, r"by=slot: expected null, intent or rule"),
        ({"scenario": "class"}, r"scenario=class: expected domain, or environment\.by=intent"),
        ({"scenario": "all"}, r"scenario=all: expected one of domain, class, task"),
        ({"by": "intent", "intent_order": ["RateBook"]}, r"intent_order=.*each of GetWeather, PlayMusic, RateBook once"),
        ({"labels": 2}, r"labels=2"),
        ({"earlier": 2}, r"earlier=2"),
        (
            {"by": "intent", "scenario": "task", "earlier": 0.5},
            r"earlier=0\.5: with scenario=task .*expected 0, or scenario=class",
        ),
        ({"by": "rule", "rules": {"bio": None, "slots": None}}, r"rules=.*at least one rule"),
        ({"rules": {"mine": "tag[i] = O"}}, r"rules\.mine: "),
    ],
)
def test_mistakes_are_told(source, options, told):
    with pytest.raises(UserError, match=rf"^environment\.{told}"):
        Slots(source, **options)


@pytest.mark.skipif(not DATA or not (Path(DATA) / FILE).exists(), reason=f"LAB_DATA has no {FILE}")
def test_all_of_snips():
    environment = Slots(snips(DATA), by="intent")
    assert environment.announcement().startswith("0 of 700 test")
    assert len(environment.allowed) == 105
    answers = environment.data.test.targets.clamp(min=0).unsqueeze(1)
    inputs = environment.data.test.inputs.unsqueeze(1)
    assert not any(rule.violated(answers, inputs, inputs > 0).any() for rule in environment.rules)
