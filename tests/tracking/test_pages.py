"""What a reviewer sees: MLflow's own pages on a real server, in a real browser."""

import json
import os
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from lab.results import load
from lab.tracking import publish, publish_study

SIZE = {"width": 2200, "height": 1400}
REPORT = "<!doctype html><h1>before</h1><script>document.querySelector('h1').textContent = 'The report'</script>"
STRATEGIES = {"er": {"_target_": "strategies.er.ER"}, "naive": {"_target_": "strategies.naive.Naive"}}


@pytest.fixture(scope="module")
def served(tmp_path_factory, write_run_in, dashboard, empty_store):
    """Two cells of three seeds and a study's report, behind `lab dashboard`."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copy(empty_store, folder / "mlflow.db")
    settings = {"enabled": True, "uri": f"sqlite:///{folder}/mlflow.db", "experiment": "a study", "timeout": 60}
    cells = {}
    for i, (name, strategy) in enumerate(STRATEGIES.items()):
        run = write_run_in(folder / "elsewhere" / name / "seeds", members=3, wall=5.0 + i, strategy={name: strategy})
        (run / "report.html").write_text(REPORT)
        os.utime(run / "results.json", (1.8e9 + i, 1.8e9 + i))
        assert publish(run, settings) is None
        cells[name] = SimpleNamespace(results=load(run), id=json.loads((run / "tracking.json").read_text())[0]["run_id"])
    report = folder / "report"
    report.mkdir()
    (report / "report.html").write_text(REPORT)
    assert publish_study("replay", "**Claim.** Replay forgets less.", report, settings, {}, {"p": 0.1}) is None
    with dashboard(folder, "--experiment", "a study") as (address, _):
        yield SimpleNamespace(address=address, server=address.partition("/#")[0], cells=cells)


@pytest.fixture
def at(opened, served):
    """Opens one of MLflow's pages; in the end nothing may have been thrown there, nor asked of other hosts.

    MLflow's assistant is as one has it who has closed it: it opens by itself the first time and takes the room of columns.
    """
    closed = {"name": "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "value": "true"}
    state = {"cookies": [], "origins": [{"origin": served.server, "localStorage": [closed]}]}
    pages = []

    def go(where):
        page = opened(where if where.startswith("http") else f"{served.server}/#{where}", viewport=SIZE, storage_state=state)
        pages.append((page, page.__enter__()))
        return pages[-1][1].page

    yield go
    for page, seen in pages:
        page.__exit__(None, None, None)
        assert (seen.thrown, seen.outside) == ([], [])


def shown(page, *texts):
    """Wait until each text is there to be read."""
    for text in texts:
        page.get_by_text(text, exact=True).first.wait_for()


def name(strategy):
    return f"{strategy} · permuted digits x3 · domain"


def test_the_experiment_opens_on_cells_with_the_columns_that_matter(at, served):
    page = at(served.address)
    shown(page, "study: replay", name("er"), name("naive"), "Cells")
    shown(page, "accuracy", "accuracy_low", "accuracy_high", "forgetting", "wall_seconds", "seeds")
    shown(page, "strategy", "environment", "scenario", "data", "commit")
    rows = page.locator(".ag-center-cols-container .ag-row").all_inner_texts()
    accuracy = served.cells["er"].results.metrics["accuracy"].mean()
    assert any(f"{accuracy:.6f}".rstrip("0") in row and "digits d1d1" in row and "permuted digits x3" in row for row in rows)
    assert not page.get_by_text("seed 3", exact=True).count()
    page.locator(".ag-pinned-left-cols-container .ag-row", has_text=name("er")).get_by_role("button").first.click()
    shown(page, "seed 3", "seed 7", "seed 11")
    seeds = [text for text in page.locator(".ag-pinned-left-cols-container .ag-row").all_inner_texts() if "seed" in text]
    assert [re.search(r"seed \d+", text)[0] for text in seeds] == ["seed 3", "seed 7", "seed 11"]


def test_the_views_are_listed_by_name(at, served):
    page = at(served.address)
    page.get_by_role("button", name="Cells").click()
    shown(page, "Charts of cells")


def test_charts_are_means_over_the_seeds_of_each_cell_with_their_band(at, served):
    page = at(f"{served.address.replace('=lab', '=lab-charts')}&compareRunsMode=CHART")
    shown(page, "Measures", "Accuracy on the tasks met", "Group by: cell")
    for strategy in STRATEGIES:
        page.get_by_text(f"{name(strategy)} 00aa").first.wait_for()
    page.locator(".js-fill").first.wait_for()
    assert not page.get_by_text("Unassigned").count()
    means = sorted(f"{cell.results.metrics['accuracy'].mean():.2f}" for cell in served.cells.values())
    assert sorted(page.locator(".js-plotly-plot").first.locator(".bartext").all_text_contents()) == means


def test_a_cell_s_page_tells_of_it(at, served):
    page = at(f"/experiments/1/runs/{served.cells['er'].id}")
    mean = served.cells["er"].results.metrics["accuracy"].mean()
    shown(page, name("er"), "seed 3", "seed 7", "seed 11", "3 seeds", "accuracy_low")
    measures = page.locator("table", has_text="95 % interval").locator("tr", has_text="accuracy").first
    assert measures.locator("td").nth(1).inner_text() == f"{mean:.4f}"
    page.get_by_text("digits (d1d1)").wait_for()


def test_a_seed_s_page_leads_to_its_cell(at, served):
    page = at(f"/experiments/1/runs/{served.cells['er'].id}")
    page.get_by_role("link", name="seed 7").click()
    shown(page, "Seed 7", "Parent run", name("er"), "this seed", f"{served.cells['er'].results.metrics['accuracy'][1]:.4f}")


def test_two_cells_are_compared(at, served):
    ids = json.dumps([cell.id for cell in served.cells.values()])
    page = at(f'/compare-runs?runs={ids}&experiments=["1"]')
    shown(page, "Comparing 2 Runs from 1 Experiment", name("er"), name("naive"))
    shown(page, "accuracy", "accuracy_low", "strategy", "ER", "Naive")
    for cell in served.cells.values():
        page.get_by_text(f"{cell.results.metrics['accuracy'].mean():.3f}".rstrip("0"), exact=True).first.wait_for()


def test_reports_figures_and_the_matrix_show_among_the_artifacts(at, served):
    page = at(f"/experiments/1/runs/{served.cells['er'].id}/artifacts")
    page.get_by_text("report.html", exact=True).first.click()
    page.frame_locator("iframe").get_by_text("The report").wait_for()
    page.get_by_text("figures", exact=True).first.click()
    page.get_by_text("accuracy_matrix.png").first.click()
    image = page.locator("img[src^='blob:'], img[src*='get-artifact']").first
    image.wait_for()
    assert image.evaluate("image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])") == [3, 2]
    page.get_by_text("accuracy_matrix.json").first.click()
    shown(page, "after task", "on task 3")
    page.get_by_text(f"{np.round(served.cells['er'].results.accuracy[:, 3, 2].mean(), 4)}").first.wait_for()
