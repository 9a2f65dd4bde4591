"""What is shown of rules: matrices of who breaks them, tables of what is broken, plain beside constrained."""

import json
import re
from dataclasses import replace

import numpy as np

from lab.metrics import of_matrices, with_h
from lab.report import ruled
from lab.report.figures import violations, write_run_figures
from lab.report.page import write_page

from .made import cell, results

BIO = {
    "says": "for all i: tag[i+1] = I-x -> tag[i] != <O>", "over": "single", "aligned": True, "weighed_against": "span_f1",
    "groups": [10, 30], "violated": [2, 8],
    "worst": [
        {"grounding": f"i={place}", "count": [0, 4 - place], "example": {"seed": 1, "task": 0, "examples": [
            {"tokens": ["<intent>", "to", "Rome"], "answers": {"intent": "trip", "tag": ["O", f"I-{place}"]}},
        ]}}
        for place in range(4)
    ],
}  # fmt: skip


def with_rules(names=("bio", "agree"), **given):
    """Two members, two tasks; each rule's violation is .1 more than that before it, any rule's .5."""
    made = results(seeds=2, tasks=2, **given)
    shape = made.accuracy.shape
    matrices = {"span_f1": np.full(shape, 0.8), "violation": np.full(shape, 0.5)}
    matrices |= {f"violation_{name}": np.full(shape, 0.1 + 0.1 * place) for place, name in enumerate(names)}
    matrices |= {"constrained_span_f1": np.full(shape, 0.9), "constrained_found": np.full(shape, 1.0)}
    matrices["violation"][:, 0] = np.nan
    made.matrices = with_h(matrices, matrices["span_f1"])
    made.metrics |= of_matrices(made.matrices, made.diverged)[0]
    made.violated = dict.fromkeys(names, BIO)
    return made


def test_a_figure_has_a_matrix_for_each_rule_light_where_few_break_it():
    figure = violations(with_rules())
    assert [axes.get_title() for axes in figure.axes] == ["any rule", "bio", "agree"]
    for axes, value in zip(figure.axes, (0.5, 0.1, 0.2), strict=True):
        (image,) = axes.images
        np.testing.assert_allclose(image.get_array().data[1:], value)
        assert image.norm(0.0) == 0.0
        assert sum(image.cmap(0.0)[:3]) > sum(image.cmap(1.0)[:3])
        ink = {text.get_text(): text.get_color() for text in axes.texts}
        assert ink == {f"{100 * value:.0f}": "black"}
    assert [axes.get_title() for axes in violations(with_rules(("bio",))).axes] == ["bio"]
    assert violations(results()) is None


def test_a_run_keeps_the_figure(tmp_path):
    assert "violations.svg" in {file.name for file in write_run_figures(with_rules(), tmp_path)}


def test_tables_in_words():
    made = with_rules()
    assert ruled.kept(made)[:5] == ["span f1", *(f"{v}\n[{v},\u00a0{v}]" for v in ("0.800", "0.900", "1.000", "0.500"))]
    assert ruled.kept(made)[-2].startswith(f"{2 * 0.8 * 0.5 / 1.3:.3f}")
    assert ruled.of_rules(made)[0][:4] == ["bio", BIO["says"], "single", "10 to 30"]
    rows = ruled.worst(made, 3)
    assert [row[:3] for row in rows[:3]] == [["bio", "i=0", "10.0 %"], ["bio", "i=1", "7.5 %"], ["bio", "i=2", "5.0 %"]]
    assert rows[2][3] == "intent: trip; tag: to Rome/I-2"
    assert len(rows) == 6


def test_constrained_decoding_may_be_left_out():
    made = with_rules()
    for name in ("constrained_span_f1", "constrained_found"):
        del made.matrices[name], made.metrics[name]
    assert ruled.kept(made)[2:4] == ["-", "-"]
    assert ruled.kept(made)[0] == "span f1"


def test_the_page_of_a_run_shows_matrices_and_what_is_violated_most(tmp_path):
    own = replace(cell(), results=with_rules())
    text = write_page(tmp_path / "page.html", [own], None, "title", "command").read_text()
    specs = json.loads(re.search(r'id="specs">(.*?)</script>', text, re.DOTALL)[1])
    reversed_ones = [spec for spec in specs if '"reverse": true' in json.dumps(spec)]
    assert len(reversed_ones) == 3
    values = {row["mean"] for row in reversed_ones[1]["data"]["values"]}
    assert values == {0.1}
    assert "<h2>Rules</h2>" in text
    assert "tag[i] != &lt;O&gt;" in text
    assert "to Rome/I-3" in text
    plain = write_page(tmp_path / "plain.html", [cell()], None, "title", "command").read_text()
    assert "<h2>Rules</h2>" not in plain
