"""Spans of BIO labels, against nervaluate, whose rules for sequences that are not well formed are conlleval's too."""

import pytest
import torch
from nervaluate import Evaluator

from lab.spans import counted, kinds_of, marks_spans

CLASSES = ("O", "B-a", "I-a", "B-b", "I-b", "I-c")


def ours(answers, targets, labelled):
    found, said, there = (n.sum().item() for n in counted(answers, targets, labelled, *kinds_of(CLASSES)))
    return found, said, there


def theirs(answers, targets, lengths):
    named = [
        [[CLASSES[c] for c in row[:n]] for row, n in zip(rows.tolist(), lengths, strict=True)] for rows in (targets, answers)
    ]
    strict = Evaluator(*named, tags=["a", "b", "c"], loader="list").evaluate()["overall"]["strict"]
    return strict.correct, strict.actual, strict.possible


def test_equal_to_nervaluate_on_random_labels_well_formed_or_not():
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 9, (200,), generator=draw)
    targets = torch.randint(len(CLASSES), (200, 8), generator=draw)
    differs = torch.rand(200, 8, generator=draw) < 0.25
    answers = torch.where(differs, torch.randint(len(CLASSES), (200, 8), generator=draw), targets)
    labelled = torch.arange(8) < lengths.unsqueeze(1)
    found = ours(answers, torch.where(labelled, targets, -100), labelled)
    assert found == theirs(answers, targets, lengths.tolist())
    assert 0 < found[0] < min(found[1:])


@pytest.mark.parametrize(
    ("answer", "target", "expected"),
    [
        ("O I-a O", "O B-a O", (1, 1, 1)),  # an I- begins a span where none is
        ("B-a I-b O", "B-a I-a O", (0, 2, 1)),  # of another type it begins another
        ("B-a B-a O", "B-a I-a O", (0, 2, 1)),
        ("B-a I-a I-a", "B-a I-a O", (0, 1, 1)),  # a later end is another span
        ("O O O", "O O O", (0, 0, 0)),
    ],
)
def test_by_hand(answer, target, expected):
    rows = [torch.tensor([[CLASSES.index(word) for word in words.split()]]) for words in (answer, target)]
    assert ours(*rows, torch.ones(1, 3, dtype=torch.bool)) == expected


def test_a_span_ends_where_labels_end_and_leading_axes_are_any():
    answers = torch.tensor([[[1, 2, 2], [1, 2, 2]]])  # B-a I-a I-a twice, the last place of the second one without label
    targets = torch.tensor([[[1, 2, 2], [1, 2, -100]]])
    found, said, there = counted(answers, targets, targets >= 0, *kinds_of(CLASSES))
    assert found.tolist() == said.tolist() == there.tolist() == [[1, 1]]


def test_which_outputs_mark_spans():
    assert marks_spans(CLASSES)
    assert not marks_spans(("O",))
    assert not marks_spans(("entailment", "neutral", "contradiction"))
