"""Inference over pairs of sentences: groups worked by hand, the rules on them, parts, genres, labels that are not told."""

import json
import os
from pathlib import Path

import pytest
import torch

from environments.nli import NLI, with_groups
from environments.sources.pairs import pairs
from environments.sources.sick import FILE, sick
from lab.consistency import announcements
from lab.errors import UserError
from lab.protocols import Examples
from lab.testing.sentences import write_sick

DATA = os.environ.get("LAB_DATA")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sick")
    write_sick(folder)
    return sick(str(folder))


def rows_of(*sentences, targets):
    """Pairs of sentences that are one token each."""
    return Examples(torch.tensor(sentences), torch.tensor(targets))


def named(examples, groups):
    """Groups as the pairs in them: ``(a, b)`` of single tokens."""
    return [[tuple(examples.inputs[row].tolist()) for row in group] for group in groups.tolist()]


def test_pairs_and_chains_by_hand():
    """1-2, 2-3 and 1-3 are a closed chain, 2-3-4 an open one; 2-1 is there, the second 1-2 and 3-3 count for nothing."""
    given = rows_of([1, 2], [2, 3], [1, 3], [2, 1], [3, 4], [1, 2], [3, 3], targets=[-100, 0, 0, 1, 2, 0, 0])
    examples, groups = with_groups(given)
    assert named(examples, groups["pairs"]) == [
        [(2, 3), (3, 2)], [(1, 3), (3, 1)], [(2, 1), (1, 2)], [(3, 4), (4, 3)],
    ]  # fmt: skip
    assert groups["pairs"][2].tolist() == [3, 5], "of equal pairs the one with a label"
    assert sorted(map(tuple, named(examples, groups["triples"]))) == [
        ((1, 2), (2, 3), (1, 3)), ((1, 3), (3, 4), (1, 4)), ((2, 1), (1, 3), (2, 3)), ((2, 3), (3, 4), (2, 4)),
    ]  # fmt: skip
    added = [tuple(row) for row in examples.inputs[7:].tolist()]
    assert sorted(added) == [(1, 4), (2, 4), (3, 1), (3, 2), (4, 3)]
    assert (examples.targets[7:] == -100).all()
    assert torch.equal(examples.targets[:7], given.targets)
    one = with_groups(given, most=1)[1]["triples"]
    assert one.shape == (1, 3)


def test_no_groups_are_none():
    examples, groups = with_groups(rows_of([1, 1], targets=[0]))
    assert (len(examples), groups["pairs"].shape, groups["triples"].shape) == (1, (0, 2), (0, 3))


def test_data_without_chains_are_trained_on_all_the_same(tmp_path):
    lines = [{"a": f"one {n}", "b": f"other {n}", "label": ("entailment", "neutral")[n % 2]} for n in range(30)]
    (tmp_path / "apart.jsonl").write_text("\n".join(map(json.dumps, lines)))
    environment = NLI(pairs(str(tmp_path / "apart.jsonl"), least=1))
    stream = environment.stream(0)
    assert stream.tasks[0].groups["triples"].shape == (0, 3)
    assert list(announcements(environment, stream))


def test_the_rules_are_about_the_groups(source):
    """Labels as answers: the made-up pairs keep both; who says contradiction of every first pair breaks symmetry there."""
    environment = NLI(source)
    stream, targets = environment.stream(0), environment.data.train.targets
    (task,) = stream.tasks
    closed = {kind: rows[(targets[rows] >= 0).all(1)] for kind, rows in task.groups.items()}
    assert {kind: len(rows) for kind, rows in closed.items()} == {"pairs": 6 * 4, "triples": 6 * 4}
    for rule in stream.rules:
        answers = targets[closed[rule.over]].unsqueeze(-1)
        inputs = environment.data.train.inputs[closed[rule.over]]
        real = torch.ones_like(answers, dtype=torch.bool)
        assert not rule.violated(answers, inputs, real).any()
        broken = answers.clone()
        broken[:, 0], broken[:, -1] = {"pairs": (2, 1), "triples": (0, 1)}[rule.over]
        assert rule.violated(broken, inputs, real).all()
    told = list(announcements(environment, stream))
    assert told == [
        "groups of training data: 100 pairs with their reverse, 24 with all labels, 120 chains, 24 with all labels; "
        "of test data: 20 pairs with their reverse, 4 with all labels, 20 chains, 4 with all labels"
    ], "cook and clown, met in test pairs alone, are the same unknown word"


def test_labels_that_are_not_told_are_nowhere(source):
    environment = NLI(source, labels=0.25, validation=0.125)
    one, other = environment.stream(0).tasks[0], environment.stream(1).tasks[0]
    data, held = environment.data, set(one.validation.tolist())
    assert (len(one.validation), len(one.train)) == (18, round(0.25 * 126))
    assert not torch.equal(one.train, other.train)
    assert (data.train.targets[one.train] >= 0).all()
    shown = torch.cat([rows.flatten() for rows in one.groups.values()])
    labelled = set(shown[data.train.targets[shown] >= 0].tolist())
    assert labelled <= set(one.train.tolist())
    inside = {row % environment.count for row in shown.tolist()}
    assert not inside & held
    assert set(range(144)) - held <= inside, "all others are there"
    hidden = shown[shown >= environment.count]
    assert torch.equal(data.train.inputs[hidden], data.train.inputs[hidden - environment.count])
    assert len(one.groups["single"]) == 144 - 18
    for kind, there in environment.groups["train"].items():
        kept = one.validation_groups[kind]
        assert torch.isin(kept, one.validation).any(1).all()
        assert len(kept) + len(one.groups[kind]) == len(there), "measured on or trained on, and nothing else"


def test_a_part_for_each_rule(source):
    environment = NLI(source, by="rule")
    stream = environment.stream(3)
    for task in stream.tasks:
        shown = torch.cat([rows.flatten() for rows in task.groups.values()])
        labelled = shown[environment.data.train.targets[shown] >= 0]
        assert torch.isin(labelled, task.train).all(), "no labels of other tasks"
    assert [task.rules for task in stream.tasks] == [("symmetric",), ("transitive",)]
    parts = [set(task.train.tolist()) for task in stream.tasks]
    assert (parts[0] | parts[1], parts[0] & parts[1]) == (set(range(144)), set())
    first = [set(task.groups["triples"][:, 0].tolist()) for task in stream.tasks]
    assert all(own <= part for own, part in zip(first, parts, strict=True))
    assert sum(len(task.groups["triples"]) for task in stream.tasks) == 120
    assert all(len(task.test) == 48 and len(task.test_groups["triples"]) == 20 for task in stream.tasks)
    later = NLI(source, by="rule", rules={"transitive": None, "never": "label != neutral"}, imposed={"never": 1})
    assert [task.rules for task in later.stream(3).tasks] == [("symmetric", "never"), ("never",)]


def test_a_task_for_each_genre(tmp_path):
    lines = [
        {"a": f"{genre} {n}", "b": f"{genre} {n + 1}", "label": "entailment", "genre": genre, "split": split}
        for split, count in (("train", 6), ("test", 3)) for genre in ("news", "talk") for n in range(count)
    ]  # fmt: skip
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, lines)))
    environment = NLI(pairs(str(tmp_path / "own.jsonl")), by="genre")
    orders = set()
    for seed in range(8):
        tasks = environment.stream(seed).tasks
        orders.add(int(tasks[0].train[0]))
        for task in tasks:
            first = 0 if task.train[0] == 0 else 6
            assert task.train.tolist() == list(range(first, first + 6))
            assert task.test.tolist() == list(range(first // 2, first // 2 + 3))
            assert len(task.groups["triples"]) == 5
            assert len(task.test_groups["triples"]) == 2
    assert orders == {0, 6}
    shared = NLI(pairs(str(tmp_path / "own.jsonl")), by="genre", shared=True)
    assert len({int(shared.stream(seed).tasks[0].train[0]) for seed in range(8)}) == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"by": "topic"}, r"by=topic: expected null, genre or rule"),
        ({"by": "genre"}, r"by=genre: expected null or rule: sick does not say"),
        ({"by": "rule", "rules": {"symmetric": None, "transitive": None}}, r"rules=.*at least one rule"),
        ({"labels": 0}, r"labels=0: expected a number above 0"),
        ({"validation": 1}, r"validation=1"),
        ({"triples": 0}, r"triples=0"),
        ({"shared": 1}, r"shared=1"),
        ({"imposed": {"symmetrc": 1}}, r"imposed=symmetrc: expected names of rules: symmetric, transitive"),
        ({"rules": {"mine": {"over": "triples", "says": "ba.label = neutral"}}}, r"rules\.mine: "),
    ],
)
def test_mistakes_are_told(source, options, told):
    with pytest.raises(UserError, match=rf"^environment\.{told}"):
        NLI(source, **options)


@pytest.mark.skipif(not DATA or not (Path(DATA) / FILE).exists(), reason=f"LAB_DATA has no {FILE}")
def test_all_of_sick():
    environment = NLI(sick(DATA))
    assert environment.announcement() == (
        "groups of training data: 4454 pairs with their reverse, 16 with all labels, 3788 chains, 337 with all labels; "
        "of test data: 4906 pairs with their reverse, 20 with all labels, 4736 chains, 458 with all labels"
    )
    told = list(announcements(environment, environment.stream(0)))[1:]
    assert told[0] == "labels of training examples break rules: transitive by 3 of 337"
    assert told[1].startswith("labels of test examples break rules: ")
