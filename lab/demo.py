"""`lab demo`: two streams of digits, three strategies, ten seeds; a table, a verdict, figures and a dashboard."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from lab.errors import require
from lab.run import answered, composed, execute

EXPERIMENTS = ("digits_permuted", "digits_split")
STRATEGIES = ("naive", "er", "joint")


def main(arguments: list[str]) -> int:
    """Run the demo; 0 done, 2 the user's mistake, 1 anything else."""
    parser = argparse.ArgumentParser("lab demo", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="how many seeds (10)")
    parser.add_argument("--runs", default="runs", help="folder of run directories (runs)")
    parser.add_argument("--no-tracking", action="store_true", help="leave MLflow out")
    given = parser.parse_args(arguments)
    return answered(lambda: _show(given))


def _show(given: argparse.Namespace) -> None:
    """Train, compare and draw."""
    require(given.seeds >= 2, "--seeds", given.seeds, "a whole number from 2 on: strategies are compared seed by seed")

    from lab.report.figures import overview, write
    from lab.report.summary import print_table
    from lab.results import load

    words = [f"seeds={given.seeds}", f"paths.runs={given.runs}", f"tracking={'off' if given.no_tracking else 'mlflow'}"]
    for experiment in EXPERIMENTS:
        runs = []
        for strategy in STRATEGIES:
            folder = execute(composed(f"experiment={experiment}", f"strategy={strategy}", *words), table=False)
            runs.append((strategy, load(folder)))
        print_table(runs, experiment.replace("_", " "))
        print(verdict(dict(runs)), file=sys.stderr)
        files = write(overview(runs), Path(given.runs) / f"demo-{experiment}")
        print(f"picture: {files[0]}\n", file=sys.stderr)
    if not given.no_tracking:
        print("dashboard: lab dashboard   (curves, figures and configurations, in MLflow)", file=sys.stderr)
    print("next: lab run experiment=digits_split strategy=er strategy.er.memory=50", file=sys.stderr)


def verdict(runs: dict[str, Any]) -> str:
    """One sentence: does replay forget less than plain training?"""
    from lab.statistics import paired

    found = paired(runs["naive"].metrics["forgetting"], runs["er"].metrics["forgetting"])
    less = "less" if found.difference > 0 else "more"
    low, high = sorted(map(abs, (found.low, found.high)))
    size = f"{abs(found.difference):.2f} [{low:.2f}, {high:.2f}]"
    if found.low <= 0 <= found.high:
        return f"undecided: er and naive forget alike as far as {found.seeds} seeds can tell (p = {found.p:.2g})"
    return f"er forgets {less} than naive: {size} of accuracy, p = {found.p:.2g} (sign-flip test), {found.seeds} seeds"
