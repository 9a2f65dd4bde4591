"""Transduction: strings against a rewriting by hand, what is told and what is not, streams in which pairs, lengths and rules
arrive."""

import itertools
import re
from collections import Counter

import pytest
import torch

from environments.transduction import Transduction
from lab.protocols import NO_LABEL, UserError
from lab.reader import Reader

TABLE = {"az": "aaa", "bz": "zb", "cz": "zcc", "dyz": "d", "ez": "eez"}


def words(environment, split="train", labelled=True):
    """``[(source, told, answer)]`` as texts, of the rows with or without labels."""
    layout, examples = environment.data.layout, getattr(environment.data, split)
    names = ["", *layout.tokens[1:]]
    classes = layout.outputs[0].classes
    found = []
    for inputs, targets in zip(examples.inputs.tolist(), examples.targets.tolist(), strict=True):
        source, before = ("".join(names[t] for t in part) for part in (inputs[: layout.source], inputs[layout.source :]))
        if labelled == (targets[0] >= 0):
            found.append((source, before, "".join(classes[c] for c in targets if c >= 0)))
    return found


def rewritten(source, table):
    return "".join(table[piece] for piece in re.findall("|".join(table), source))


@pytest.fixture(scope="module")
def plain():
    return Transduction()


def test_strings_are_rewritten_piece_by_piece(plain):
    for environment, table in ((plain, {"az": "aaa", "bz": "zb"}), (Transduction(TABLE, longest=5), TABLE)):
        for split in ("train", "test"):
            for source, before, answer in words(environment, split):
                assert answer == rewritten(source, table) + "<end>"
                assert before == "<begin>" + answer.removesuffix("<end>")
                assert "".join(re.findall("|".join(table), source)) == source
    inputs, targets = plain.data.train.inputs, plain.data.train.targets
    assert inputs.shape == (256, 16 + 25)
    assert targets.shape == (256, 25)
    assert (inputs[:, :16].count_nonzero(1) == (inputs[:, :16] > 0).long().cumprod(1).sum(1)).all(), "padding is behind"


def test_no_test_string_is_a_training_string_and_none_comes_twice(plain):
    sources = [source for split in ("train", "test") for source, _, _ in words(plain, split)]
    assert len(set(sources)) == len(sources) == 256 + 128
    lengths = Counter(len(source) // 2 for source in sources)
    assert [lengths[n] for n in (1, 2, 3, 4, 5)] == [2, 4, 8, 16, 32], "short ones are used up"
    assert min(lengths[n] for n in (6, 7, 8)) > 50


def test_strings_come_from_the_draw_and_not_from_the_member(plain):
    assert torch.equal(plain.data.train.inputs, Transduction().data.train.inputs)
    other = Transduction(draw=1)
    assert other.data.digest != plain.data.digest
    assert {s for s, _, _ in words(other)} != {s for s, _, _ in words(plain)}
    assert Transduction({"az": "aab", "bz": "zb"}).data.digest != plain.data.digest


def test_of_few_strings_there_are_as_many_as_can_be():
    environment = Transduction(shortest=2, longest=3, train=20, test=10)
    assert (len(environment.data.train), len(environment.data.test)) == (8, 4)
    assert "8 and 4" in environment.announcement()
    assert Transduction().announcement() is None
    with pytest.raises(UserError, match="az make one string of 1 pieces"):
        Transduction({"az": "a"}, longest=1)


def test_the_rules_say_how_counts_are_tied(plain):
    """Each is kept by all strings, and broken by an answer with a symbol too many, too few or another one."""
    text = {rule.name: rule.text for rule in plain.rules}
    assert text["count_a"] == "count(i: out[i] = a) = 3 * count(j: source[j] = a and source[j+1] = z)"
    for environment in (plain, Transduction(TABLE, longest=4)):
        layout, data = environment.data.layout, environment.data.test
        classes = layout.outputs[0].classes
        answers = torch.where(data.targets >= 0, data.targets, layout.end)

        def broken(answers, environment=environment, layout=layout, data=data):
            groups = answers[:, None], data.inputs[:, None], layout.real(data.inputs, answers)[:, None]
            return {rule.name: rule.violated(*groups) for rule in environment.rules}

        assert sorted(broken(answers)) == [f"count_{symbol}" for symbol in classes[:-1]]
        assert not any(violated.any() for violated in broken(answers).values())
        for symbol, other in itertools.permutations(range(len(classes) - 1), 2):
            changed = torch.where(answers == symbol, other, answers)
            there = (answers == symbol).any(1)
            for name, violated in broken(changed).items():
                concerned = name in (f"count_{classes[symbol]}", f"count_{classes[other]}")
                assert torch.equal(violated, there & concerned)


def test_labels_that_are_not_told_are_nowhere():
    environment = Transduction(labels=0.25, validation=0.1)
    stream, data = environment.stream(3), environment.data
    (task,) = stream.tasks
    assert (len(task.train), len(task.validation), len(data.train)) == (round(0.25 * 230), 26, 512)
    (rows,) = task.groups["single"].T
    untold = rows[rows >= 256]
    assert sorted([*task.train.tolist(), *(untold - 256).tolist(), *task.validation.tolist()]) == list(range(256))
    assert (data.train.targets[untold] == NO_LABEL).all()
    assert torch.equal(data.train.inputs[untold, :16], data.train.inputs[untold - 256, :16])
    assert {before for _, before, _ in words(environment, labelled=False)} == {"<begin>"}
    assert torch.equal(torch.cat([phase.examples for phase in stream.phases]).sort().values, task.train)
    assert not environment.stream(3).tasks[0].train.equal(environment.stream(4).tasks[0].train)
    assert Transduction().stream(0).tasks[0].groups == {}


def test_pairs_arrive_with_tasks_and_rules_with_what_they_are_about():
    environment = Transduction(
        {k: TABLE[k] for k in ("az", "bz", "cz", "ez")}, by="pairs", tasks=2, train=40, test=20, earlier=0.5
    )
    stream = environment.stream(5)
    assert [task.rules for task in stream.tasks] == [("count_a", "count_b", "count_z"), tuple(f"count_{s}" for s in "abcez")]
    assert [rule.name for rule in stream.rules] == [f"count_{s}" for s in "abcez"]
    train, test = words(environment), words(environment, "test")
    for task, pieces in zip(stream.tasks, ({"az", "bz"}, {"cz", "ez"}), strict=True):
        for found, rows in ((train, task.train), (test, task.test)):
            assert {piece for row in rows for piece in re.findall("..", found[row][0])} == pieces
    first, second = stream.tasks
    assert first.groups == {}
    (rows,) = second.groups["single"].T
    still = rows[len(second.train) :] - 80
    assert len(still) == 20
    assert set(still.tolist()) < set(first.train.tolist())
    later = Transduction(TABLE, by="pairs", tasks=2, imposed={"count_a": [1, 1], "count_z": None})
    assert [task.rules for task in later.stream(5).tasks] == [
        tuple(f"count_{s}" for s in "abc"),
        tuple(f"count_{s}" for s in "bcde"),
    ]


def test_tasks_of_longer_and_longer_strings():
    environment = Transduction(shortest=3, longest=8, by="length", tasks=3, train=40, test=20)
    stream, found = environment.stream(0), words(environment, "test")
    assert [{len(found[row][0]) // 2 for row in task.test} for task in stream.tasks] == [{3, 4}, {5, 6}, {7, 8}]
    assert [len(task.train) for task in stream.tasks] == [16, 40, 40]


def test_a_rule_a_task():
    environment = Transduction(by="rule", rules={"count_z": None, "before_b": "for all i: out[i+1] = b -> out[i] = z"})
    stream = environment.stream(0)
    assert [task.rules for task in stream.tasks] == [("count_a",), ("count_b",), ("before_b",)]
    assert torch.cat([task.train for task in stream.tasks]).sort().values.equal(torch.arange(256))
    assert all(len(task.test) == 128 for task in stream.tasks)
    assert not stream.tasks[0].train.equal(environment.stream(1).tasks[0].train)
    shared = Transduction(by="rule", shared=True)
    assert shared.stream(0).tasks[0].train.equal(shared.stream(1).tasks[0].train)


def test_members_can_be_read_together():
    environment = Transduction(TABLE, by="pairs", tasks=2, labels=0.5, longest=4)
    streams = [environment.stream(seed) for seed in (0, 1)]
    reader = Reader(environment.data, streams)
    assert not reader.relabel
    rows = torch.stack([stream.tasks[1].groups["single"][-3:, 0] for stream in streams])
    assert (reader.read(rows, torch.ones(2, 1, dtype=torch.int64))[1] == NO_LABEL).all()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"pairs": {}}, r"environment\.pairs"),
        ({"pairs": {"az": "A"}}, r"environment\.pairs=.*small letters"),
        ({"pairs": {"az": "a", "ab": "b"}}, r"environment\.pairs=az: a: .*first letter"),
        ({"pairs": {"az": "a", "za": "b"}}, r"environment\.pairs=az: a: .*first letter"),
        ({"shortest": 0}, r"environment\.shortest=0"),
        ({"longest": 0}, r"environment\.longest=0"),
        ({"shortest": 9}, r"environment\.longest=8: expected 9 or more"),
        ({"by": "symbols"}, r"environment\.by=symbols"),
        ({"tasks": 2}, r"environment\.tasks=2: expected 1, or environment\.by"),
        ({"tasks": 3, "by": "pairs"}, r"environment\.tasks=3: expected at most 2"),
        ({"earlier": 2}, r"environment\.earlier=2"),
        ({"labels": 0}, r"environment\.labels=0"),
        ({"by": "rule", "rules": {f"count_{s}": None for s in "abz"}}, r"environment\.rules=.*at least one"),
        ({"imposed": {"count_c": 1}}, r"environment\.imposed=count_c"),
        ({"rules": {"mine": "for all i: out[i] = c"}}, r"environment\.rules\.mine"),
    ],
)
def test_other_options_are_refused(options, told):
    with pytest.raises(UserError, match=told):
        Transduction(**options)
