"""A comparison in each format, whatever its cells are called."""

import csv
import io
import json
import math
import re
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.report.latex import SPECIAL, escaped
from lab.report.tables import as_csv, as_json, as_latex, as_markdown, as_text, sheets, write_tables

from .made import TESTED, comparison

NASTY = ("naive", r"*[1]{x}\$5", "a&b%c#d_e^f~g|h<i>`j", "[red]strategy.cosine.scale=10 momentum=0.95 memory=5000[/red]")
NAMES = st.lists(st.text(min_size=1, max_size=40), min_size=3, max_size=3, unique=True).map(tuple)
ODD = settings(deadline=None, max_examples=40)


def whole(names=NASTY):
    return comparison(names, "split · a_b & c", 0.01, [TESTED], ["x_1: not finished"], ["50 % & more"])


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_text_fits_and_says_all(width):
    text = as_text(whole(), width)
    assert max(map(len, text.splitlines())) <= width
    assert "[red]" in text
    together = " ".join(text.split())
    for words in ("0.600", "[0.500, 0.700]", "0.800*", "Left out", "x_1: not finished", "50 % & more", "critical", "1.20"):
        assert words.lower() in together.lower(), words


def test_text_says_a_note_once():
    assert as_text(whole(), 200).count("sign-flip") == 1


@ODD
@given(NAMES)
def test_text_of_any_names(names):
    assert as_text(whole(names), 80)


@ODD
@given(NAMES)
def test_markdown_has_as_many_columns_in_every_row(names):
    found = whole(names)
    lines = as_markdown(found).split("\n")
    rows = [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) - 1 for line in lines if line.startswith("|")]
    assert rows == [len(sheet.header) for sheet in sheets(found) for _ in range(len(sheet.rows) + 2)]


def test_markdown():
    text = as_markdown(comparison())
    assert "| joint | 3 | **0.700** [0.600, 0.800] | 0.040 | 0.200 [0.150, 0.250] | 1.50 [0.50, 2.50] | .010 | .020 |" in text
    assert r"a\_1" in as_markdown(comparison(("naive", "a_1")))


def tables(text):
    """The rows of each tabular, as lists of fields."""
    for body in re.findall(r"\\begin\{tabular\}\{l(r+)\}\n(.*?)\n\\end\{tabular\}", text, re.DOTALL):
        rows = [line for line in body[1].split("\n") if line not in (r"\toprule", r"\midrule", r"\bottomrule")]
        yield len(body[0]) + 1, rows


def balanced(text):
    depth = 0
    for mark in re.findall(r"\\.|[{}]", text, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(mark, 0)
        assert depth >= 0
    return depth == 0


def check_latex(text, found):
    assert balanced(text)
    for begin in re.findall(r"\\begin\{(\w+)\}", text):
        assert text.count(f"\\begin{{{begin}}}") == text.count(f"\\end{{{begin}}}")
    known = list(tables(text))
    assert [columns for columns, _ in known] == [len(sheet.header) for sheet in sheets(found)]
    for (columns, rows), sheet in zip(known, sheets(found), strict=True):
        assert len(rows) == len(sheet.rows) + 1
        for row in rows:
            assert row.endswith(r" \\")
            assert len(re.findall(r"(?<!\\)&", row)) == columns - 1
    assert len(set(re.findall(r"\\label\{(.*?)\}", text))) == len(known)


@ODD
@given(NAMES)
def test_latex_of_any_names(names):
    found = whole(names)
    check_latex(as_latex(found), found)


def test_latex():
    text = as_latex(comparison())
    assert r"\labstack[r]{$\mathbf{0.700}$ \\ $[0.600, 0.800]$}" in text
    assert r"$<.001$" in text
    assert r"\toprule" in text
    check_latex(text, comparison())


@ODD
@given(st.text(max_size=30))
def test_what_latex_escapes_can_be_read_back(words):
    """The inverse, command by command: no letter is lost, none is left that would be a command."""
    inverse = {value: key for key, value in SPECIAL.items()}
    pattern = "|".join(map(re.escape, sorted(inverse, key=len, reverse=True))) + "|."
    text = re.sub(r"-\{\}", "-", escaped(words))
    back = "".join(inverse.get(token, token) for token in re.findall(pattern, text))
    assert back == " ".join("".join(c if c.isprintable() else " " for c in words).split())
    assert not re.search(r"(?<!\\)[#%&_]", text)


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no LaTeX here")
def test_latex_compiles(tmp_path):
    head = "\\documentclass{article}\n\\usepackage{booktabs,graphicx}\n\\begin{document}\n"
    (tmp_path / "t.tex").write_text(f"{head}{as_latex(whole())}\\end{{document}}\n", encoding="utf-8")
    done = subprocess.run(["pdflatex", "-halt-on-error", "t.tex"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


def test_csv_is_read_back_to_the_last_digit():
    found = whole()
    table = list(csv.DictReader(io.StringIO(as_csv(found), newline="")))
    assert [row["mean"] for row in table] == [str(row.estimate.mean) if row.estimate.n else "" for row in found.cells]
    tested = [row for row in found.differences if row.paired]
    kept = [row for row in table if row["difference"]]
    for ours, row in zip(kept, tested, strict=True):
        assert (ours["cell"], ours["metric"], ours["pair_seeds"]) == (row.cell, row.metric, "0 1 2")
        read = [float(ours[name]) for name in ("difference", "diff_low", "p_holm", "noninferior_p", "seeds_needed_high")]
        assert read == [row.paired.difference, row.paired.low, row.p_holm, row.noninferior_p, math.inf]
        assert [float(value) for value in ours["pair_differences"].split()] == row.values
        assert (ours["wilcoxon_p"], ours["exact"], ours["seeds_needed"]) == ("", "True", "7")


@ODD
@given(NAMES)
def test_csv_of_any_names(names):
    read = list(csv.DictReader(io.StringIO(as_csv(whole(names)), newline="")))
    assert [row["cell"] for row in read] == [row.cell for row in whole(names).cells]


@ODD
@given(NAMES)
def test_json_is_strict_and_whole(names):
    found = whole(names)
    read = json.loads(as_json(found), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert [row["cell"] for row in read["cells"]] == [row.cell for row in found.cells]
    assert read["cells"][-1]["mean"] is None
    first, last = read["differences"][0], read["differences"][-1]
    assert (first["difference"], first["low"]) == (found.differences[0].paired.difference, found.differences[0].paired.low)
    assert (first["seeds_needed"], first["seeds_needed_low"], first["seeds_needed_high"]) == (7, 5, None)
    assert (last["difference"], last["p"]) == (None, None)
    assert (read["tests"], read["environments"], read["margin"]) == (found.tests, found.environments, 0.01)
    assert read["ranks"][0]["cliques"] == [["a", "b"], ["b", "c"]]
    assert (read["left_out"], read["notes"]) == (found.left_out, found.notes)


def test_json_takes_numpys_numbers():
    found = comparison()
    found.cells[0].seeds[:] = list(np.arange(3))
    assert json.loads(as_json(found))["cells"][0]["seeds"] == [0, 1, 2]


def test_files(tmp_path):
    files = write_tables(whole(), tmp_path / "new")
    assert [file.name for file in files] == [f"comparison.{kind}" for kind in ("md", "tex", "csv", "json")]
    assert files[2].read_bytes().decode() == as_csv(whole())
