"""Texts as characters: windows and vocabulary worked by hand, EWT's sentences, and what each mistake is told."""

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import pytest
import torch

from environments.sources.ewt import FILE, ewt
from environments.sources.text import text
from environments.split import Split
from environments.stationary import Stationary
from lab.errors import UserError

DATA = os.environ.get("LAB_DATA")


@pytest.fixture
def file(tmp_path):
    """Sixteen characters: five windows of three, and the one behind them."""
    path = tmp_path / "own.txt"
    path.write_text("abbabbabbacbabxA", encoding="utf-8")
    return path


def said(rows, alphabet):
    return ["".join(alphabet[token] for token in row) for row in rows.tolist()]


def test_windows_follow_one_another_and_the_last_are_tested_on(file):
    """b (8) is more frequent in training than a (4); c, in the tested windows alone, is unknown, as x and A are."""
    data = text(str(file), length=3, test=0.4)
    assert (data.name, data.classes, data.ordered) == ("own", 3, False)
    assert data.train.inputs.dtype == data.train.targets.dtype == torch.int64
    assert said(data.train.inputs, "ba?") == ["abb", "abb", "abb"]
    assert said(data.train.targets, "ba?") == ["bba", "bba", "bba"]
    assert said(data.test.inputs, "ba?") == ["a?b", "ab?"]
    assert said(data.test.targets, "ba?") == ["?ba", "b??"]


def test_the_unknown_is_there_only_where_it_is_needed(file):
    """Seven windows of two; x is behind the last of them alone."""
    needed = text(str(file), length=2, test=0.01, lower=True)
    assert needed.classes == len("abc?")
    assert len(needed.test) == 1, "one window at least"
    few = text(str(file), length=2, test=0.01, vocabulary=1)
    assert few.classes == 2
    assert said(few.train.inputs, "b?") == ["?b", "b?", "bb", "?b", "b?", "?b"]
    assert len(text(str(file), length=2, test=0.999).train) == 1
    file.write_text("Abbabbabbacbab")
    assert text(str(file), length=2, test=0.01, lower=True).classes == len("abc")


def test_several_files_are_one_text_and_lines_end_alike(tmp_path):
    for name, content in (("a", b"\xef\xbb\xbfone\r\n"), ("b", "zwölf\n".encode()), ("whole", "one\nzwölf\n".encode())):
        (tmp_path / name).write_bytes(content)
    several, one = (text(path, length=2) for path in ([str(tmp_path / "a"), str(tmp_path / "b")], str(tmp_path / "whole")))
    assert (several.name, several.digest) == ("a+b", one.digest)
    assert torch.equal(several.train.inputs, one.train.inputs)


def test_the_digest_knows_which_characters_they_are(tmp_path):
    for name, content in (("a", "ababababab"), ("b", "cdcdcdcdcd")):
        (tmp_path / name).write_text(content)
    one, other = (text(str(tmp_path / name), length=2) for name in "ab")
    assert torch.equal(one.train.inputs, other.train.inputs)
    assert one.digest != other.digest


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"path": None}, r"path=None: expected a text file, or a list of them"),
        ({"path": []}, r"path=\[\]: expected a text file"),
        ({"path": "nowhere.txt"}, r"path=nowhere.txt: there is no such file"),
        ({"path": 3}, r"path=3: expected the name of a file"),
        ({"path": "/"}, r"path=/: cannot be read as text in UTF-8 \("),
        ({"length": 0}, r"length=0: expected a whole number from 1 on"),
        ({"length": 8}, r"path=.*own.txt: the text has 16 characters; expected at least 17, two windows of"),
        ({"lower": 1}, r"lower=1: expected true or false"),
        ({"vocabulary": 0}, r"vocabulary=0: expected a whole number from 1 on"),
        ({"test": 0}, r"test=0: expected a number above 0 and below 1"),
        ({"test": 1}, r"test=1: expected a number above 0"),
    ],
)  # fmt: skip
def test_mistakes_are_told(file, options, told):
    with pytest.raises(UserError, match=rf"^environment\.source\.{told}"):
        text(**{"path": str(file), "length": 3} | options)


def test_what_is_no_utf_8_is_refused(file):
    file.write_bytes(b"caf\xe9" * 20)
    with pytest.raises(
        UserError, match=r"path=.*own.txt: cannot be read as text in UTF-8 \('utf-8' codec can't decode byte 0xe9"
    ):
        text(str(file), length=3)


def test_environments_take_them_or_say_why_not(file):
    data = text(str(file), length=3, test=0.4)
    assert Stationary(data).stream(0).outputs == 3
    with pytest.raises(UserError, match=r"environment\.source=own: expected a source with one label an example"):
        Split(data, 2)


# --- EWT --------------------------------------------------------------------------------------------------------------


def write(folder, content):
    folder.joinpath(FILE).write_bytes(gzip.compress(json.dumps(content).encode()))


def sentences(*texts):
    return [{"tokens": one.split()} for one in texts]


def test_ewt_is_its_sentences_line_by_line(tmp_path):
    write(tmp_path, {
        "train": {"email": sentences("Hi Sue , ok ?", "Yes ."), "weblog": sentences("No !")},
        "dev": {"email": sentences("unused ~")}, "test": {"email": sentences("Hi ~ No ?")},
    })  # fmt: skip
    data = ewt(str(tmp_path), length=4, vocabulary=None)
    running = "Hi Sue , ok ?\nYes .\nNo !\n"
    counts = Counter(running)
    alphabet = "".join(sorted(counts, key=lambda c: (-counts[c], ord(c)))) + "~"
    assert said(data.train.inputs, alphabet) == ["Hi S", "ue ,", " ok ", "?\nYe", "s .\n", "No !"]
    assert said(data.train.targets, alphabet)[-1] == "o !\n"
    assert said(data.test.inputs, alphabet) == ["Hi ~", " No "]
    assert data.classes == len(alphabet)


def test_ewt_says_what_is_wrong_with_it(tmp_path):
    with pytest.raises(
        UserError, match=r"source=ewt: the data are not there; looked for .*ud_english_ewt\.json\.gz\. Set data"
    ):
        ewt(str(tmp_path))
    with pytest.raises(UserError, match=r"looked for no place \(data\.dir is not set\)"):
        ewt(None)
    for damaged in ({"train": {}}, [], {"train": {"a": [{"tokens": [1]}]}, "test": {}}):
        write(tmp_path, damaged)
        with pytest.raises(UserError, match=r"source=ewt: data\.dir=.*cannot be read as sentences by split and genre"):
            ewt(str(tmp_path))
    (tmp_path / FILE).write_bytes(b"no gzip")
    with pytest.raises(UserError, match=r"cannot be read as sentences"):
        ewt(str(tmp_path))
    write(tmp_path, {"train": {"email": sentences("long enough")}, "test": {"email": sentences("short")}})
    with pytest.raises(UserError, match=r"test has 6 characters; expected more than environment\.source\.length=6"):
        ewt(str(tmp_path), length=6)


@pytest.mark.skipif(not DATA or not (Path(DATA) / FILE).exists(), reason=f"LAB_DATA has no {FILE}")
def test_all_of_ewt():
    data = ewt(DATA)
    assert data.train.inputs.shape == (16175, 64)
    assert data.test.inputs.shape == (2004, 64)
    assert data.classes == 97
    assert (data.train.targets[:-1, -1] == data.train.inputs[1:, 0]).all(), "windows follow one another"
    assert (data.train.targets == 96).sum() < 100
