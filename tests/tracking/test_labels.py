"""What is read of runs, and how the experiment looks."""

import json

import numpy as np
import pytest

from lab.errors import UserError
from lab.tracking import check, labels, pages, publish, view
from lab.tracking.entries import cell, members


def runs_of(client, settings, kind):
    experiment = client.get_experiment_by_name(settings["experiment"])
    wanted = f"tags.`lab.kind` = '{kind}'"
    return client.search_runs([experiment.experiment_id], wanted, order_by=["attributes.start_time DESC"])


def test_tags_say_what_a_run_is_and_where_its_numbers_come_from(make_results, tmp_path):
    results = make_results(members=2)
    results.provenance |= {"commit": "0123456789abcdef", "data": {"name": "digits", "digest": "fedcba9876543210"}}
    parent, children = cell(results, tmp_path), list(members(results))
    for entry in (parent, *children):
        told = {name: entry.tags[name] for name in ("strategy", "environment", "scenario", "data", "commit")}
        assert told == {
            "strategy": "er", "environment": "permuted digits x3", "scenario": "domain", "data": "digits fedcba98",
            "commit": "01234567",
        }  # fmt: skip
    assert [entry.tags["lab.kind"] for entry in (parent, *children)] == ["cell", "member", "member"]
    assert {entry.tags["cell"] for entry in children} == {"er · permuted digits x3 · domain 00aa"}
    assert "cell" not in parent.tags, "its means are no member"
    assert "diverged" not in parent.tags


def test_tags_of_the_users_own(make_results, tmp_path):
    results = make_results(members=2)
    results.config["tracking"] = {"tags": {"paper": "draft", "rank": 3, "strategy": "mine"}}
    for entry in (cell(results, tmp_path), *members(results)):
        assert [entry.tags[name] for name in ("paper", "rank", "strategy")] == ["draft", "3", "er"], (
            "the lab's stay what they are"
        )


@pytest.mark.parametrize("given", ["draft", ["draft"], {"paper": ["draft"]}])
def test_tags_that_are_none(given):
    settings = {"uri": "sqlite:///mlflow.db", "experiment": "x", "timeout": 5}
    check(settings | {"tags": {"paper": "draft"}})
    with pytest.raises(UserError, match=r"^tracking\.tags=.*: expected texts or numbers by name"):
        check(settings | {"tags": given})


def test_cells_of_one_name_are_grouped_apart(make_results):
    ours, others = make_results(), make_results()
    others.provenance["cell"] = "1bb"
    assert labels.group(ours) != labels.group(others)


def test_a_cell_that_lost_members_says_which(make_results, tmp_path):
    results = make_results(members=3, points=0, diverged=77)
    parent, (*_, lost) = cell(results, tmp_path), members(results)
    assert parent.tags["diverged"] == "1 of 3: seed 11"
    assert "Seed 11 diverged at step 77" in parent.tags["mlflow.note.content"]
    assert "diverged at step 77" in lost.tags["mlflow.note.content"].splitlines()[0]
    assert "| accuracy | - |" in lost.tags["mlflow.note.content"]


def test_without_provenance_there_is_less_to_say_and_nothing_breaks(make_results, tmp_path):
    results = make_results()
    results.provenance = {}
    parent = cell(results, tmp_path)
    assert not {"data", "data.digest", "commit", "device"} & set(parent.tags)
    assert labels.dataset(results) is None
    assert labels.group(results) == "er · permuted digits x3 · domain"


def test_an_environment_around_another_has_the_inner_one_s_source(make_results):
    inner = make_results().config["environment"]
    results = make_results(environment={"_target_": "environments.online.Online", "base": inner})
    told = labels.tags(results)
    assert (told["environment"], told["scenario"]) == ("online permuted digits x3", "domain")
    assert "environments.sources.digits.digits" in labels.dataset(results)["source"]


def test_a_description_has_each_measure_with_its_interval(make_results, tmp_path):
    results = make_results(members=3)
    text = cell(results, tmp_path).tags["mlflow.note.content"]
    for name, values in results.metrics.items():
        if not np.isnan(values).all():
            assert f"| {name.replace('_', ' ')} | {values.mean():.4f} | " in text
    (_, second, _) = members(results)
    assert (
        f"| accuracy | {results.metrics['accuracy'][1]:.4f} | {results.metrics['accuracy'].mean():.4f} |"
        in (second.tags["mlflow.note.content"])
    )


def test_runs_have_their_dataset_and_a_report_that_lies_there(make_run, settings, client):
    folder = make_run(members=2, points=0)
    (folder / "report.html").write_text("<h1>Report</h1>")
    publish(folder, settings)
    (parent,), children = (runs_of(client, settings, kind) for kind in ("cell", "member"))
    for run in (parent, *children):
        (given,) = run.inputs.dataset_inputs
        assert (given.dataset.name, given.dataset.digest) == ("digits", "d1d1")
        assert json.loads(given.dataset.profile)["tasks"] == 3
    assert "report.html" in {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert [child.info.run_name for child in children] == ["seed 3", "seed 7"], "the newest first, as MLflow lists them"


# --- how the experiment looks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [view.CELLS, view.CHARTS])
def test_a_view_is_read_by_mlflow_with_names_and_by_one_without(key):
    kept = json.loads(view.views()[f"{view.VIEW}{key}"])
    state = json.loads(kept["state"])
    assert {name: kept[name] for name in state} == state
    assert isinstance(kept["name"], str)
    assert isinstance(kept["createdAt"], int)
    sections = {section["uuid"] for section in state["compareRunSections"]}
    assert {card["metricSectionId"] for card in state["compareRunCharts"]} == sections
    assert len(view.views()[f"{view.VIEW}{key}"]) <= 5000, "what older stores take"


def test_an_experiment_made_elsewhere_gets_the_views_and_keeps_its_description(make_run, settings, client, tmp_path):
    described = {"mlflow.note.content": "the user's own"}
    made = client.create_experiment("continual-learning", (tmp_path / "files").as_uri(), described)
    publish(make_run(points=0), settings)
    tags = client.get_experiment(made).tags
    assert tags["mlflow.note.content"] == "the user's own"
    assert {f"{view.VIEW}{view.CELLS}", f"{view.VIEW}{view.CHARTS}"} < set(tags)
    client.set_experiment_tag(made, f"{view.VIEW}{view.CELLS}", "changed by the user")
    publish(make_run("next", points=0, wall=7.0), settings)
    assert client.get_experiment(made).tags[f"{view.VIEW}{view.CELLS}"] == "changed by the user"
    table, charts = pages(settings)
    runs = f"/#/experiments/{made}/runs?workflowType=machine_learning&viewStateShareKey="
    assert (table, charts) == (f"{runs}lab", f"{runs}lab-charts&compareRunsMode=CHART")
