"""Pictures of the dashboard and of a sweep's page for `docs/images`: small runs are trained, sent, served, and looked at.

    .venv/bin/python tests/browser/screenshots.py [--out docs/images]

Four minutes on 2 cores. Look at every picture before committing it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chromium import launched, page_of

RUNS = ("experiment=digits_permuted,digits_split", "strategy=naive,er,joint", "seeds=10")
SIZE = {"width": 1900, "height": 900}
CLOSED = {"name": "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "value": "true"}
"""MLflow's assistant opens by itself the first time, and takes a third of the page."""


def main() -> None:
    given = _parse()
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        given.out.mkdir(parents=True, exist_ok=True)
        subprocess.run([_lab(), "run", "-m", *RUNS, f"tracking.uri=sqlite:///{folder}/mlflow.db"], cwd=folder, check=True)
        with _dashboard(folder) as address, launched() as browser:
            for name, picture in _pictures(browser, address, Path(folder) / "runs"):
                picture.screenshot(path=given.out / f"dashboard_{name}.png")
                print(given.out / f"dashboard_{name}.png")
        with launched() as browser:
            print(_sweep(browser, folder, given.out / "sweep.png"))


def _pictures(browser: Any, address: str, runs: Path) -> Iterator[tuple[str, Any]]:
    """Names and pages, each as it is when it has been drawn."""
    server = address.partition("/#")[0]
    state = {"cookies": [], "origins": [{"origin": server, "localStorage": [CLOSED]}]}
    er, naive = _sent(runs, "er"), _sent(runs, "naive")
    with page_of(browser, address, viewport=SIZE, storage_state=state) as seen:
        page = seen.page
        page.get_by_text("accuracy_high").wait_for()
        page.locator(".ag-pinned-left-cols-container .ag-row", has_text="er · permuted").get_by_role("button").first.click()
        page.get_by_text("seed 9", exact=True).wait_for()
        yield "experiment", page
        page.goto(f"{address.replace('=lab', '=lab-charts')}&compareRunsMode=CHART")
        page.set_viewport_size(SIZE | {"height": 1100})
        page.locator(".js-fill").first.wait_for()
        yield "charts", _drawn(page)
        page.goto(f"{server}/#/experiments/1/runs/{er}")
        page.get_by_text("Show more").click()
        yield "cell", _drawn(page)
        page.get_by_role("link", name="seed 0", exact=True).click()
        page.get_by_text("Parent run").wait_for()
        yield "seed", _drawn(page)
        page.goto(f'{server}/#/compare-runs?runs=["{er}","{naive}"]&experiments=["1"]')
        page.get_by_text("Show diff only").first.wait_for()
        page.set_viewport_size(SIZE | {"height": 1500})
        page.get_by_role("switch").first.click()
        page.mouse.move(700, 300)
        page.mouse.wheel(0, -9000)
        yield "compare", _drawn(page)


def _sweep(browser: Any, folder: str, path: Path) -> Path:
    """The head of the page of the sweep that docs/sweeps.md runs."""
    subprocess.run([_lab(), "sweep", "tuned_digits", "tracking=off"], cwd=folder, check=True)
    report = Path(folder) / "runs" / "sweeps" / "tuned_digits" / "report.html"
    with page_of(browser, report, viewport={"width": 1200, "height": 1010}) as seen:
        seen.page.wait_for_selector("html.scripted[data-ready]")
        seen.page.screenshot(path=path)
    return path


def _drawn(page: Any) -> Any:
    """The page some seconds later: nothing says when charts are drawn, and MLflow asks its server on and on."""
    page.wait_for_timeout(6000)
    return page


def _sent(runs: Path, strategy: str) -> str:
    """The id of the permuted stream's cell in the store."""
    for marker in sorted(runs.glob("*/*/tracking.json")):
        config = json.loads((marker.parent / "results.json").read_text())["config"]
        if list(config["strategy"]) == [strategy] and "Permuted" in config["environment"]["_target_"]:
            return json.loads(marker.read_text())[-1]["run_id"]
    raise LookupError(f"{runs}: no finished run of {strategy} on a permuted stream")


@contextmanager
def _dashboard(folder: str) -> Iterator[str]:
    """The address of `lab dashboard`, as it is printed."""
    command = [_lab(), "dashboard", "--uri", f"sqlite:///{folder}/mlflow.db"]
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait()


def _lab() -> str:
    return str(Path(sys.executable).with_name("lab"))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
