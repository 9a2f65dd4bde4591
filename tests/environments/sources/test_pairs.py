"""Pairs of sentences: tokens, labels and splits worked by hand, SICK, vectors known of words, and what each mistake is told."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from environments.sources.pairs import pairs, words
from environments.sources.sick import FILE, sick
from environments.sources.words import GLOVE
from lab.errors import UserError
from lab.testing.sentences import write_sick

DATA = os.environ.get("LAB_DATA")
LINES = [
    {"a": "A man sings.", "b": "A man", "label": "entailment", "split": "train", "genre": "song"},
    {"a": "A dog", "b": "A man sings", "label": "Neutral", "split": "train", "genre": "zoo"},
    {"a": "Who's there", "b": "a man", "label": None, "split": "train"},
    {"a": "A cat sings", "b": "A man", "label": "contradiction", "split": "test", "genre": "zoo"},
    {"a": "unused", "b": "unused", "label": "neutral", "split": "dev"},
]


def write(path, lines):
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return str(path)


def said(data, split):
    names = ["_", *data.layout.tokens[1:]]
    return [" ".join(names[token] for token in row) for row in getattr(data, split).inputs.tolist()]


def test_pairs_become_tokens_sentence_behind_sentence(tmp_path):
    data = pairs(write(tmp_path / "own.jsonl", LINES))
    assert data.layout.tokens == ("<padding>", "<unknown>", "a", "man", "sings", ".", "dog", "there", "who's")
    assert said(data, "train") == ["a man sings . a man _ _", "a dog _ _ a man sings _", "who's there _ _ a man _ _"]
    assert said(data, "test") == ["a <unknown> sings _ a man _ _"]
    assert data.layout.outputs[0].classes == ("entailment", "neutral", "contradiction")
    assert data.train.targets.tolist() == [0, 1, -100]
    assert data.test.targets.tolist() == [2]
    assert (data.genres, data.train.genre.tolist(), data.test.genre.tolist()) == (("song", "zoo"), [0, 1, -1], [1])
    assert (data.name, data.classes, data.layout.sayable.shape) == ("own", 3, (1, 3))


def test_odd_characters_and_blank_labels(tmp_path):
    odd = [{"a": "a man\u2028sings", "b": "no\x85one", "label": "  ", "split": "train"}, *LINES]
    path = tmp_path / "odd.jsonl"
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in odd), encoding="utf-8")
    data = pairs(str(path))
    assert data.layout.outputs[0].classes == ("entailment", "neutral", "contradiction")
    assert data.train.targets.tolist().count(-100) == 2


def test_options_bound_what_is_known(tmp_path):
    file = write(tmp_path / "own.jsonl", LINES)
    assert said(pairs(file, length=2), "train")[1] == "a dog a man"
    assert pairs(file, vocabulary=2).layout.tokens[2:] == ("a", "man")
    assert pairs(file, least=2).layout.tokens[2:] == ("a", "man", "sings")
    assert "A" in pairs(file, lower=False).layout.tokens


def test_without_splits_the_last_lines_are_tested_on(tmp_path):
    lines = [{"a": f"a {n}", "b": "b", "label": "same" if n % 2 else "other"} for n in range(10)]
    data = pairs([write(tmp_path / "x.jsonl", lines[:6]), write(tmp_path / "y.jsonl", lines[6:])], test=0.2)
    assert (len(data.train), len(data.test)) == (8, 2)
    assert data.layout.outputs[0].classes == ("other", "same")
    assert data.test.targets.tolist() == [0, 1]
    assert data.genres == ()
    assert data.train.genre is None


def test_known_vectors_are_the_tokens_own(tmp_path):
    vectors = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float16)
    np.savez(tmp_path / GLOVE, words=np.array(["man", "A", "unheard"]), vectors=vectors)
    file = write(tmp_path / "own.jsonl", LINES)
    for options, known in (({}, {"man": [1.0, 2.0]}), ({"lower": False}, {"man": [1.0, 2.0], "A": [3.0, 4.0]})):
        layout = pairs(file, vectors="glove", dir=str(tmp_path), **options).layout
        there = {name: row for name, row in zip(layout.tokens, layout.vectors.tolist(), strict=True) if row[0] == row[0]}
        assert there == known
    assert pairs(file).digest != pairs(file, vectors=str(tmp_path / GLOVE)).digest


def test_words():
    assert words("The well-known man's 'hat' (red) costs 3.50!") == [
        "The", "well-known", "man's", "'", "hat", "'", "(", "red", ")", "costs", "3", ".", "50", "!",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "options", "told"),
    [
        ([], {}, r"path=.*own\.jsonl: has no train pair among its 0 lines"),
        (LINES[:2], {}, r"path=.*own\.jsonl: has no test pair among its 2 lines"),
        (["{"], {}, r"path=.*own\.jsonl: line 1 is something else; expected \{\"a\": sentence"),
        ([{"a": "x", "b": "y"}], {}, r"path=.*: line 1 is something else"),
        ([LINES[0], {"a": "x", "b": " ", "label": "l"}], {}, r"path=.*: line 2 has no two sentences"),
        ([LINES[2], LINES[3]], {}, r"path=.*own\.jsonl: no train pair has a label"),
        (LINES, {"length": 0}, r"length=0: expected a whole number from 1 on"),
        (LINES, {"vocabulary": 0}, r"vocabulary=0"),
        (LINES, {"least": 0}, r"least=0"),
        (LINES, {"lower": "no"}, r"lower=no: expected true or false"),
        (LINES, {"test": 1}, r"test=1: expected a number above 0"),
        (LINES, {"path": None}, r"path=None: expected a file of JSON lines"),
        (LINES, {"path": "nowhere"}, r"path=nowhere: there is no such file"),
        (LINES, {"vectors": "nowhere.npz"}, r"vectors=nowhere\.npz: there is no such file"),
        (LINES, {"vectors": "glove"}, r"...: vectors=glove: the data are not there; looked for no place"),
    ],
)  # fmt: skip
def test_mistakes_are_told(tmp_path, content, options, told):
    file = write(tmp_path / "own.jsonl", content)
    with pytest.raises(UserError, match=rf"^environment\.source[.=]{told}"):
        pairs(**{"path": file} | options)


def test_vectors_that_are_none_are_refused(tmp_path):
    file = write(tmp_path / "own.jsonl", LINES)
    for arrays, told in (
        ({"words": np.array(["x"]), "vectors": np.ones((2, 3))}, "cannot be read as words"),
        ({"words": np.array([1.0]), "vectors": np.ones((1, 3))}, "cannot be read as words"),
        ({"words": np.array(["x"]), "vectors": np.ones((1, 3))}, "holds none of the 9 words"),
        ({"vectors": np.ones((1, 3))}, "holds no array words"),
    ):
        np.savez(tmp_path / "v.npz", **arrays)
        with pytest.raises(UserError, match=rf"^environment\.source\.vectors=.*v\.npz: {told}"):
            pairs(file, vectors=str(tmp_path / "v.npz"))


def test_sick_is_read_from_its_folder(tmp_path):
    with pytest.raises(UserError, match=r"source=sick: the data are not there; looked for .*sick\.json\.gz\. Set data\.dir"):
        sick(str(tmp_path))
    file = write_sick(tmp_path)
    data = sick(str(tmp_path))
    assert (data.name, len(data.train), len(data.test)) == ("sick", 144, 48)
    assert len(sick(str(tmp_path), trial=True).train) == 145
    assert data.train.targets[:6].tolist() == [0, 0, 0, 1, 2, 2]
    file.write_bytes(b"no gzip")
    with pytest.raises(UserError, match=r"source=sick: data\.dir=.*cannot be read as pairs of sentences"):
        sick(str(tmp_path))


@pytest.mark.skipif(not DATA or not (Path(DATA) / FILE).exists(), reason=f"LAB_DATA has no {FILE}")
def test_all_of_sick():
    data = sick(DATA)
    assert data.train.inputs.shape[0] == 4500
    assert data.train.targets.bincount().tolist() == [1299, 2536, 665]
    assert data.test.targets.bincount().tolist() == [1414, 2793, 720]
    assert (data.train.inputs != 1).all(), "no training word is unknown"
    assert (data.test.inputs == 1).sum() < 0.01 * (data.test.inputs > 0).sum()
    if (Path(DATA) / GLOVE).exists():
        assert 0.9 < 1 - sick(DATA, vectors="glove").layout.vectors.isnan().any(1).float().mean() < 1
        assert torch.equal(sick(DATA, vectors="glove").train.inputs, data.train.inputs)
