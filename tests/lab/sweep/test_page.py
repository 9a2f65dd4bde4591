"""A sweep's page as a document: sound, whole in itself, true to the trials, safe against what users name."""

import json
import re
from dataclasses import replace

import pytest

from lab.sweep.page import write_page

from ..report.pages import EVIL, Parsed
from .made import TWO, found


@pytest.fixture(scope="module")
def one():
    made = found()
    row = {"cell": "er", "baseline": "naive", "metric": "accuracy", "seeds": [0, 1, 2], "p_holm": 0.25}
    differences = [row | {"difference": 0.19, "low": 0.17, "high": 0.21}, row | {"difference": None, "p_holm": None}]
    return replace(made, record=made.record | {"comparison": {"differences": differences}})


@pytest.fixture(scope="module")
def two():
    return found(TWO)


def evil():
    """A sweep in which all that a user names is markup."""
    made = found(name=EVIL, title=EVIL, question=EVIL, command=EVIL, protocol=EVIL, forced=True)
    return replace(made, storage=EVIL, arms=[replace(arm, name=f"{EVIL} {arm.name}") for arm in made.arms])


@pytest.fixture(scope="module")
def pages(one, two, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    made = {"one": one, "two": two, "under way": found(finished=False), "evil": evil(), "begun": found(TWO, False, 0)}
    return {name: write_page(sweep, folder / f"{name}.html") for name, sweep in made.items()}


@pytest.fixture(params=["one", "two", "under way", "evil", "begun"])
def parsed(pages, request):
    return Parsed(pages[request.param])


def specs(path):
    return json.loads(re.search(r'<script type="application/json" id="specs">(.*?)</script>', path.read_text(), re.S)[1])


def test_it_can_be_read_by_ear(parsed):
    assert len(parsed.all("h1")) == 1
    assert len(parsed.all("caption")) == len(parsed.all("table")) > 1
    assert all(attributes["alt"] for attributes, _ in parsed.all("img"))
    assert all(attributes.get("scope") in ("row", "col") for attributes, _ in parsed.all("th"))
    ids = [attributes["id"] for _, attributes, _ in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_it_asks_for_nothing_from_elsewhere(parsed):
    for tag, attributes, _ in parsed.elements:
        for key in ("src", "href", "srcset", "action", "data", "poster"):
            assert attributes.get(key, "data:").startswith(("data:", "#")), (tag, attributes)


def test_what_users_name_stays_text(pages):
    made, sound = Parsed(pages["evil"]), Parsed(pages["one"])
    assert len(made.all("script")) == len(sound.all("script"))
    assert all("onerror" not in attributes for _, attributes, _ in made.elements)
    assert EVIL in made.text()


def test_it_begins_with_what_was_found_and_how(pages, one):
    said = " ".join(Parsed(pages["one"]).text().split())
    winner = one.arms[1].winner
    rate = f"{winner.settings['optimizer.lr']:.3g}"
    mean = sum(winner.by_seed["accuracy"]) / 3
    assert f"Chosen on tuning streams {one.protocol}" in said
    assert f"er: accuracy {mean - 0.02:.3f} [" in said
    assert f"on 6 fresh seeds, at optimizer.lr={rate}, " in said
    assert f"tuning streams said {mean:.3f} (optimism +0.020); the default configuration has {mean - 0.12:.3f} [" in said
    assert "optuna-dashboard journal.log" in said
    assert "lab run experiment=runs/sweeps/tuned/best.yaml" in said
    assert "lab compare runs/naive/0-5 runs/er/0-5 --varies network.width" in said


def test_what_was_forced_says_so_first(pages):
    said = Parsed(pages["evil"]).text()
    assert said.index("Chosen on test data") < said.index("Winners")
    assert "Chosen on test data" not in Parsed(pages["one"]).text()


def test_a_sweep_under_way_says_how_far_it_is(pages):
    said = " ".join(Parsed(pages["under way"]).text().split())
    assert "under way, 30 trials done" in said
    assert "on tuning streams alone, the best so far, at optimizer.lr=" in said
    assert "best.yaml" not in said


def test_every_trial_is_in_the_table(pages, one):
    text = pages["one"].read_text()
    rows = re.search(r'<caption class="unseen">Every trial</caption>(.*?)</table>', text, re.S)[1].split("<tr")[2:]
    assert len(rows) == sum(len(arm.trials) for arm in one.arms) == 30
    assert sum("seed 1001 diverged at step 20" in row for row in rows) == 2
    values = [f"{trial.values['accuracy']:.4g}" for trial in one.arms[0].complete]
    assert all(f"<td>{value}</td>" in text for value in values)


def test_charts_have_the_trials(pages, two):
    charts = [spec["data"]["values"] for spec in specs(pages["two"])]
    front = next(rows for rows in charts if rows and "front" in rows[0])
    held = {(arm.name, trial.number) for arm, trial in two.front()}
    assert {(row["series"], row["trial"]) for row in front if row["front"] == "yes"} == held
    assert len(front) == 24
    said = Parsed(pages["two"]).text()
    assert "The Pareto front of all arms" in said
    assert "The Pareto front" not in Parsed(pages["one"]).text()


def test_winners_are_held_against_each_other(pages):
    said = Parsed(pages["one"]).text()
    assert "0.190 [0.170,\u00a00.210]" in said
    assert said.count("Winners against each other") == 2  # the heading and the table's caption
    assert "Winners against each other" not in Parsed(pages["two"]).text()


def test_the_same_trials_are_the_same_bytes(tmp_path):
    few = found(trials=2)
    first, again = (write_page(few, tmp_path / name).read_bytes() for name in ("one.html", "two.html"))
    assert first == again
