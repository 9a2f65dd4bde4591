"""`lab report`: where the page goes, what it is of, and what mistakes get."""

import json
import webbrowser

import pytest

from lab.comparison import cells_of, compare
from lab.comparison.gathering import gather
from lab.report.command import main
from lab.study import record, reporting

from ..comparison.material import folder
from .pages import Parsed


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "runs", "one", [0.3, 0.4, 0.5, 0.45], "strategy=naive")
    folder(tmp_path / "runs", "two", [0.7, 0.8, 0.75, 0.72], "strategy=er", cell="c1")
    return tmp_path / "runs"


def test_a_run_alone_has_its_page_in_it(runs, capsys):
    assert main(["runs/one"]) == 0
    path = runs / "one" / "seeds" / "report.html"
    assert capsys.readouterr().out == f"{path.relative_to(runs.parent)}\n"
    text = Parsed(path).text()
    assert "naive · permuted digits x3 · domain" in text
    assert "lab report runs/one" in text


def test_several_runs_are_compared_here(runs, capsys):
    assert main(["runs", "--metric", "accuracy", "--baseline", "er", "--margin", ".02"]) == 0
    assert capsys.readouterr().out == "report.html\n"
    text = Parsed(runs.parent / "report.html").text()
    assert "naive cannot be told from er by accuracy" in text  # four seeds cannot
    assert "lab report runs --metric accuracy --baseline er --margin .02" in text
    assert "the margin of 0.02" in text


@pytest.mark.parametrize("given", ["pages/mine.html", "pages"])
def test_the_page_goes_where_it_is_wanted_and_opens(runs, monkeypatch, given):
    (runs.parent / "pages").mkdir()
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    assert main(["runs", "--output", given, "--open"]) == 0
    path = runs.parent / (given if given.endswith(".html") else f"{given}/report.html")
    assert path.exists()
    assert opened == [path.as_uri()]


def test_a_study_is_reported_with_its_verdict(runs, monkeypatch):
    look = {"kind": "extension", "seeds": [2, 3], "p": 0.5, "level": 0.005, "verdict": "undecided", "date": "2026-01-02"}
    known = {
        "name": "replay_digits",
        "verdict": "undecided",
        "measured": "Something.",
        "seeds": [2, 3],
        "command": "lab study x",
    }
    known |= {"claim": "Replay.", "looks": [look], "declaration": {}}
    (runs.parent / "record.json").write_text(json.dumps(known))
    asked = []

    def compared(study, seeds, folder):
        asked.append(seeds)
        found = cells_of(gather([str(runs)]).runs)
        return found, compare(found, ["accuracy"])

    monkeypatch.setattr(record, "place", lambda study: runs.parent / "record.json")
    monkeypatch.setattr(reporting, "compared", compared)
    assert main(["replay_digits", "--output", "study.html"]) == 0
    said = Parsed(runs.parent / "study.html").text()
    assert "replay of 500 samples forgets less" in said
    assert "Undecided Something." in " ".join(said.split())
    assert asked == [[2, 3]]  # those that the verdict rests on, and no others
    assert main(["replay_digits", "--metric", "accuracy"]) == 2


def test_a_file_that_is_no_report_is_not_overwritten(runs, capsys):
    (runs.parent / "report.html").write_text("my notes")
    assert main(["runs"]) == 2
    assert "report.html: is there and no report of this lab" in capsys.readouterr().err
    assert (runs.parent / "report.html").read_text() == "my notes"
    assert main(["runs", "--output", "other.html"]) == 0
    assert main(["runs", "--output", "other.html"]) == 0


MISTAKES = {
    "no such folder": (["nothing"], "nothing: there is no such folder"),
    "a metric": (["runs", "--metric", "acuracy"], "Did you mean accuracy?"),
    "a baseline": (["runs", "--baseline", "ewc"], "--baseline ewc: there is no such cell"),
    "a margin": (["runs", "--margin", "-1"], "--margin=-1.0"),
    "a place": (["runs", "--output", "runs/one/seeds/results.json/page.html"], "results.json"),
}


@pytest.mark.parametrize(("words", "sentence"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_sentences(runs, capsys, words, sentence):
    assert main(words) == 2
    said = capsys.readouterr()
    assert sentence in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_an_unfinished_run_is_named_on_the_page(runs):
    unfinished = runs / "three" / "seeds"
    unfinished.mkdir(parents=True)
    (unfinished / "incomplete").touch()
    assert main(["runs"]) == 0
    assert "three/seeds: not finished" in Parsed(runs.parent / "report.html").text()
