"""Tagged sentences: tokens, tags and intents worked by hand, Snips, CoNLL columns, and what each mistake is told."""

import gzip
import json
import os
from pathlib import Path

import pytest
import torch

from environments.sources.conll import bio, conll
from environments.sources.snips import FILE, snips
from lab.errors import UserError
from lab.testing.sentences import write_snips

DATA = os.environ.get("LAB_DATA")
NAMES = """-DOCSTART- -X- O

Ann NNP B-PER
Lee NNP I-PER
sings VBZ O

In IN O
Rome NNP B-LOC

Ann NNP B-PER
sings VBZ O
"""
ROLES = """# a comment
The    DT -     (A0*   (A1*
man    NN -     *)     *)
ran    VB run   (V*)   *
and    CC -     *      *
slept  VB sleep *      (V*)

Rain   NN -     *

It     PR -     (A1*)
rained VB rain  (V*)
"""


def said(data, split="train"):
    """Each row's tokens and targets, by name."""
    names, tokens = [n for output in data.layout.outputs for n in output.classes], ["_", *data.layout.tokens[1:]]
    own = getattr(data, split)
    return [
        (" ".join(tokens[t] for t in row), " ".join(names[c] if c >= 0 else "_" for c in targets))
        for row, targets in zip(own.inputs.tolist(), own.targets.tolist(), strict=True)
    ]


def test_snips_is_an_intent_and_a_tag_a_word(tmp_path):
    first = {"tokens": ["Play", "Hey", "Jude"], "tags": ["O", "B-track", "I-track"], "intent": "PlayMusic"}
    other = {"tokens": ["Rome", "now", "now"], "tags": ["B-city", "O", "O"], "intent": "GetWeather"}
    test = {"tokens": ["Play", "Rome"], "tags": ["O", "I-song"], "intent": "PlayMusic"}
    content = {"train": [first, other], "valid": [test]}
    (tmp_path / FILE).write_bytes(gzip.compress(json.dumps(content).encode()))
    data = snips(str(tmp_path), length=None, least=1)
    assert data.layout.tokens == ("<padding>", "<intent>", "<unknown>", "now", "hey", "jude", "play", "rome")
    assert said(data) == [
        ("<intent> play hey jude", "PlayMusic O B-track I-track"),
        ("<intent> rome now now", "GetWeather B-city O O"),
    ]
    assert said(data, "test") == [("<intent> play rome _", "PlayMusic O I-song _")]
    intent, tag = data.layout.outputs
    assert intent.classes == ("GetWeather", "PlayMusic")
    assert tag.classes == ("O", "B-city", "B-song", "I-song", "B-track", "I-track"), "an I- has its B-"
    assert data.layout.sayable.tolist() == [[True] * 2 + [False] * 6] + [[False] * 2 + [True] * 6] * 3
    assert said(snips(str(tmp_path), length=1, least=2)) == [
        ("<intent> <unknown>", "PlayMusic O"),
        ("<intent> <unknown>", "GetWeather B-city"),
    ]


def test_snips_says_what_is_wrong_with_it(tmp_path):
    with pytest.raises(UserError, match=r"source=snips: the data are not there; looked for .*snips_bio\.json\.gz"):
        snips(str(tmp_path))
    sound = {"tokens": ["a"], "tags": ["O"], "intent": "x"}
    for train in ([sound | {"tags": []}], [sound | {"intent": None}], [sound | {"tokens": [1]}], [{}], [3]):
        (tmp_path / FILE).write_bytes(gzip.compress(json.dumps({"train": train, "valid": [sound]}).encode()))
        with pytest.raises(UserError, match=r"source=snips: data\.dir=.*cannot be read as sentences with tokens, tags"):
            snips(str(tmp_path))
    (tmp_path / FILE).write_bytes(gzip.compress(json.dumps({"train": [sound], "valid": []}).encode()))
    with pytest.raises(UserError, match=r"there is no test sentence"):
        snips(str(tmp_path))
    assert write_snips(tmp_path)
    assert len(snips(str(tmp_path)).train) == 60


@pytest.mark.skipif(not DATA or not (Path(DATA) / FILE).exists(), reason=f"LAB_DATA has no {FILE}")
def test_all_of_snips():
    data = snips(DATA)
    assert data.train.inputs.shape == (13784, 27)
    assert data.test.inputs.shape == (700, 27)
    assert [len(output.classes) for output in data.layout.outputs] == [7, 72]
    assert data.test.targets[:, 0].bincount().tolist() == [100] * 7
    assert torch.equal(data.train.inputs > 0, data.train.targets >= 0)
    assert (data.layout.real(data.test.inputs) == (data.test.targets >= 0)).all()


# --- columns ----------------------------------------------------------------------------------------------------------


def test_columns_of_names(tmp_path):
    (tmp_path / "names.txt").write_text(NAMES)
    data = conll(str(tmp_path / "names.txt"), length=None, least=1)
    assert said(data) == [("Ann Lee sings", "B-PER I-PER O"), ("In Rome _", "O B-LOC _")]
    assert said(data, "test") == [("Ann sings _", "B-PER O _")]
    assert [(o.name, o.start, o.first) for o in data.layout.outputs] == [("tag", 0, 0)]
    other = conll([str(tmp_path / "names.txt")] * 2, words=1, tags=2, length=None, least=1)
    assert len(other.test) == len(other.train) == 3
    assert said(other)[0] == ("NNP NNP VBZ", "B-PER I-PER O")


def test_a_predicate_is_marked_and_has_its_own_roles(tmp_path):
    (tmp_path / "roles.txt").write_text(ROLES)
    data = conll(str(tmp_path / "roles.txt"), predicate=2, tags=3, comments="#", length=None, least=1, lower=True)
    assert said(data) == [
        ("the man ran and slept _ _ <predicate> _ _", "B-A0 I-A0 B-V O O"),
        ("the man ran and slept _ _ _ _ <predicate>", "B-A1 I-A1 O O B-V"),
    ]
    assert said(data, "test") == [("<unknown> <unknown> _ _ _ _ <predicate> _ _ _", "B-A1 B-V _ _ _")]
    assert data.layout.places == 5
    assert data.layout.real(data.test.inputs).tolist() == [[True, True, False, False, False]]


def test_what_one_sentence_makes_is_not_dealt_out_and_its_predicates_are_seen(tmp_path):
    first, _, last = ROLES.strip().split("\n\n")
    (tmp_path / "roles.txt").write_text(f"{last}\n\n{first}\n")
    options = {"predicate": 2, "tags": 3, "comments": "#", "least": 1}
    data = conll(str(tmp_path / "roles.txt"), **options, test=0.3)
    assert (len(data.train), len(data.test)) == (1, 2)
    with pytest.raises(UserError, match=r"source\.length=4, and `slept` is word 5: expected as many words as"):
        conll(str(tmp_path / "roles.txt"), **options, length=4)


@pytest.mark.parametrize("wrong", [["(A*", "(B*)", "*)"], ["(A*", "*"], ["*)"], ["(A(B*))"], ["A*"], ["*))"]])
def test_brackets_that_are_no_spans(wrong):
    with pytest.raises(ValueError, match=r"bracket|begun|end"):
        bio(wrong)


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        (NAMES, {"path": None}, r"path=None: expected a file, or two"),
        (NAMES, {"path": ["a", "b", "c"]}, r"path=.*: expected a file, or two"),
        (NAMES, {"path": "nowhere"}, r"path=nowhere: there is no such file"),
        (NAMES, {"words": 3}, r"path=.*own\.txt: line 3 has 3 columns, and none with the number 3"),
        (NAMES, {"tags": "last"}, r"tags=last: expected the number of a column"),
        (NAMES, {"tags": 1}, r"path=.*: the sentence from line 3 on is tagged with NNP; expected BIO"),
        (NAMES, {"predicate": 1}, r"tags=-1: expected a column from 0 on"),
        (NAMES, {"test": 0}, r"test=0: expected a number above 0"),
        ("a O\n", {}, r"path=.*own\.txt: holds one sentence; expected at least two"),
        ("\n\n", {}, r"path=.*own\.txt: holds no sentence"),
        ("a (A*\n\nb *\n", {}, r"path=.*: the sentence from line 1 on is tagged in brackets, and \(A\* does not end"),
        ("a - *\n\nb - *\n", {"predicate": 1, "tags": 2}, r"path=.*own\.txt: holds no sentence with a predicate"),
    ],
)  # fmt: skip
def test_mistakes_are_told(tmp_path, text, options, told):
    (tmp_path / "own.txt").write_text(text)
    with pytest.raises(UserError, match=rf"^environment\.source\.{told}"):
        conll(**{"path": str(tmp_path / "own.txt")} | options)
