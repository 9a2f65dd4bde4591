"""Rules that cannot be kept, and labels that do not keep them."""

from __future__ import annotations

import torch

from lab.protocols import Data, Examples
from lab.rules import Layout, Output, Rule, unsatisfiable, violations_by_labels

NLI = Layout((Output("label", ("entailment", "neutral", "contradiction"), sequence=False),), 1)
PAIRS = {"over": "pairs", "of": ("ab", "ba")}
TOKENS = ("", "a", "b", "z", "<begin>")
TOLD = Layout((Output("out", ("a", "b", "z", "<end>")),), 6, TOKENS, source=6, told=(1, 2, 3, 4), end=3)
TAGS = Layout((Output("kind", ("x", "y"), 0, 0, 1, False), Output("tag", ("O", "B-a", "I-a"), 2, 1)), 5)


def rules(layout, **said):
    return [Rule(name, *(text if isinstance(text, tuple) else (text,)), layout) for name, text in said.items()]


def test_a_smallest_conflict_is_named():
    given = rules(NLI, fine="label != contradiction", one="label = entailment", other="label in {neutral, contradiction}")
    assert unsatisfiable(given, NLI) == (["one", "other"], "")
    assert unsatisfiable(given[:2], NLI) == ([], "")
    assert unsatisfiable([*given, *rules(NLI, never="label = neutral and label = entailment")], NLI) == (["never"], "")


def test_rules_over_groups_are_to_be_kept_together_with_those_over_their_members():
    apart = Rule("apart", "ab.label != ba.label", NLI, **PAIRS)
    symmetric = Rule("symmetric", "ab.label = contradiction <-> ba.label = contradiction", NLI, **PAIRS)
    assert unsatisfiable([apart, symmetric], NLI) == ([], "")
    assert unsatisfiable([apart, symmetric, *rules(NLI, one="label = neutral")], NLI) == (["apart", "one"], "")


def test_sequences_of_any_length_will_do_and_inputs_too():
    most = "count(i: tag[i] = B-a) >= 4"
    assert unsatisfiable(rules(TAGS, most=most), TAGS) == ([], "")
    assert unsatisfiable(rules(TAGS, most=most, begins="for all i: tag[i] = B-a -> tag[i-1] = O"), TAGS)[0] == [
        "most",
        "begins",
    ]
    copies = "count(i: out[i] = a) = 3 * count(j: source[j] = a and source[j+1] = z)"
    some = "count(i: source[i] = z) = 2 and count(i: out[i] = b) = 1"
    assert unsatisfiable(rules(TOLD, copies=copies, some=some), TOLD) == ([], "")
    assert unsatisfiable(rules(TOLD, three="count(i: out[i] = a) = 3", two="count(i: out[i] = a) = 2"), TOLD)[0] == [
        "three",
        "two",
    ]


def test_of_large_spaces_it_says_that_it_cannot_tell():
    layout = Layout((Output("tag", tuple("abcdefghij")),), 40)
    least = rules(layout, least="count(i: tag[i] = a) >= 12")
    conflict, reason = unsatisfiable(least, layout)
    assert conflict is None
    assert "more than 1048576 answers" in reason
    assert "least" in reason


def test_labels_that_break_rules_are_counted_where_all_places_have_one():
    inputs = torch.tensor([[1, 2, 2, 2, 0], [1, 2, 2, 0, 0], [1, 2, 2, 2, 2], [1, 2, 0, 0, 0]])
    targets = torch.tensor([[0, 2, 4, 2, -100], [1, 4, 4, -100, -100], [0, 2, -100, 4, 2], [1, 4, -100, -100, -100]])
    data = Data("d", Examples(inputs, targets), Examples(inputs[:1], targets[:1]), 5, "", layout=TAGS)
    bio = Rule("bio", "for all i: tag[i] = I-a -> tag[i-1] in {B-a, I-a}", TAGS)
    same = Rule("same", "one.kind = two.kind", TAGS, over="pairs", of=("one", "two"))
    assert violations_by_labels([bio, same], data, torch.arange(4)) == {"bio": (3, 3)}
    pairs = torch.tensor([[1, 3], [0, 1], [0, 2]])
    rows = {"single": torch.tensor([[0], [2]]), "pairs": pairs}
    assert violations_by_labels([bio, same], data, rows) == {"bio": (1, 1), "same": (1, 2)}
    assert violations_by_labels([bio], data, torch.arange(1), test=True) == {"bio": (1, 1)}


def test_labels_of_what_ends_itself():
    inputs = torch.tensor([[1, 3, 0, 0, 0, 0, 4, 1, 1, 1, 4, 0]] * 3)
    targets = torch.tensor([[0, 0, 0, 3, -100, -100], [0, 3, -100, -100, -100, -100], [-100] * 6])
    data = Data("d", Examples(inputs, targets), Examples(inputs, targets), 4, "", layout=TOLD)
    given = rules(TOLD, counts="count(i: out[i] = a) = 3 * count(j: source[j] = a and source[j+1] = z)")
    assert violations_by_labels(given, data, torch.arange(3)) == {"counts": (1, 2)}


def test_where_inputs_may_be_of_any_length_rules_that_look_at_them_are_not_refused():
    told = Layout(NLI.outputs, 1, ("", "no", "yes"))
    either = [
        Rule(name, f"count(i: source[i] = no) >= 2 or {label}", told)
        for name, label in (("one", "label = neutral"), ("other", "not label = neutral"))
    ]
    assert unsatisfiable(either, told) == (
        None,
        "inputs are of any length: whether one, other can be kept together is not tried",
    )
