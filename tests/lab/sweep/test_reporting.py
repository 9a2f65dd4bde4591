"""A sweep's report on the disk: at any time, by the command, from the file in its home or a database."""

import json

import pytest

from lab.report.command import main
from lab.sweep import question, reporting, tracked
from lab.sweep.command import main as sweep
from lab.sweep.storage import open_storage

from ..report.pages import Parsed
from .made import record, studies

ASKED = """claim: Replay is better.
common: [environment=permuted, environment.tasks=2, network.width=12, steps=5]
vary: {optimizer.lr: "tag(log, interval(0.001, 1))"}
arms:
  naive: {words: [strategy=naive]}
  er: {words: [strategy=er], vary: {strategy.er.memory: "choice(100, 200, 500)"}}
objectives: {accuracy: maximize}
trials: 12
minutes: 1
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The home of a sweep `tuned` whose trials are over."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "tuned.yaml").write_text(ASKED)
    return tmp_path / "runs" / "sweeps" / "tuned"


def tried(home, url=None):
    return studies(open_storage(home, url))


def read(path):
    return " ".join(Parsed(path).text().split())


def test_a_sweep_has_its_report_before_its_end_and_after_it(home, capsys):
    made = tried(home)
    assert main(["tuned"]) == 0
    path = home / "report.html"
    assert capsys.readouterr().out == f"{path.relative_to(home.parents[2])}\n"
    assert "under way, 30 trials done" in read(path)
    assert "optuna-dashboard runs/sweeps/tuned/journal.log" in read(path)
    assert not list((home / "figures").glob("optimism*"))
    (home / "found.json").write_text(json.dumps(record(made)))
    assert main(["tuned"]) == 0
    assert "Sweep tuned · finished Replay is better." in read(path)
    assert "on 6 fresh seeds" in read(path)
    assert (home / "figures" / "optimism-accuracy.svg").exists()


def test_trials_may_be_in_a_database(home):
    url = "sqlite:///trials.db"
    for study in tried(home, url).values():
        study.set_user_attr("protocol", "chosen by TEST DATA (forced)")
        study.set_user_attr("forced", True)
    assert main(["tuned", "--storage", url, "--output", "page.html"]) == 0
    said = read(home.parents[2] / "page.html")
    assert "under way, 30 trials done" in said
    assert "Chosen on test data chosen by TEST DATA (forced)" in said
    assert f"optuna-dashboard {url}" in said
    assert not home.exists()


def test_arms_that_have_not_begun_are_left_out(home):
    import optuna

    tried(home)
    optuna.delete_study(study_name="tuned.er", storage=open_storage(home, None))
    found = reporting.found(question.find("tuned"), home)
    assert [arm.name for arm in found.arms] == ["naive"]
    assert found.command == "lab sweep tuned"


def test_a_sweep_ends_with_its_report_and_is_tracked(home, capfd, monkeypatch):
    small = ASKED.replace("trials: 12", "trials: 2\ntuning: {seeds: 2}\nfinal: {seeds: 2}")
    (home.parents[2] / "sweeps" / "tuned.yaml").write_text(small)
    calls = []
    monkeypatch.setattr(reporting, "track", lambda *given: calls.append(given))
    where = ["trainer.enable_progress_bar=false", "plan.processes=1", "tracking=off"]
    assert sweep(["tuned", *where]) == 0
    assert capfd.readouterr().out.splitlines()[-2:] == [f"runs/sweeps/tuned/{name}" for name in ("report.html", "best.yaml")]
    said = read(home / "report.html")
    assert "on 2 fresh seeds" in said
    assert "lab sweep tuned" in said
    assert sum(1 for _ in (home / "figures").glob("optimism-accuracy.*")) == 2
    assert [(given[0].name, *given[2:]) for given in calls] == [("tuned", where, None)]


def test_it_is_tracked_in_an_experiment_of_its_name_or_not_at_all(home, monkeypatch, capsys):
    tried(home)
    asked, sent, away = question.find("tuned"), [], "the store is away"
    monkeypatch.setattr(tracked, "send", lambda found, home, settings: sent.append((found.name, settings)) or away)
    reporting.track(asked, home, ["tracking=off"])
    assert sent == []
    reporting.track(asked, home, ["tracking.uri=sqlite:///mine.db"])
    ((name, settings),) = sent
    assert (name, settings["experiment"], settings["uri"]) == ("tuned", "tuned", "sqlite:///mine.db")
    assert capsys.readouterr().err == f"lab: {away}\n"


MISTAKES = {
    "not begun": (["tuned"], "tuned: has not been run into runs/sweeps/tuned yet; lab sweep tuned runs it"),
    "another database": (["tuned", "--storage", "sqlite:///other.db"], "sqlite:///other.db has none of its trials"),
    "a measure": (["tuned", "--metric", "forgetting"], "--metric: a sweep's report is of its own objectives"),
    "no such thing": (["tunes"], "tunes: there is no such folder"),
}


@pytest.mark.parametrize(("words", "sentence"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_sentences(home, capsys, words, sentence):
    assert main(words) == 2
    said = capsys.readouterr()
    assert sentence in said.err
    assert said.err.count("\n") == 1
    assert not home.exists()
