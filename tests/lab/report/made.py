"""Results, cells and comparisons as they would come of training, made up of seeded numbers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from lab.comparison.cells import Cell
from lab.comparison.findings import Comparison, Difference, Ranks, Summary
from lab.comparison.protocol import Settings
from lab.results import Results
from lab.statistics import Estimate, Paired, SeedsNeeded


def results(seeds=5, tasks=4, joint=False, curves=True, diverged=(), kept=0.5, draw=0):
    """Members that keep ``kept`` of an earlier task's accuracy with each later one; ``diverged``: places of members."""
    rng = np.random.default_rng(draw)
    after, on = np.arange(1, tasks + 1)[:, None], np.arange(tasks)[None]
    rows = np.where(on < after, 0.1 + 0.8 * kept ** (after - 1 - on).clip(0), 0.1)
    accuracy = np.concatenate([np.full((1, tasks), 0.1), rows])[None] + rng.normal(0, 0.02, (seeds, tasks + 1, tasks))
    accuracy = accuracy.clip(0, 1)
    if joint:
        accuracy[:, 1:-1] = np.nan
        accuracy[:, -1] = 0.9
    accuracy[list(diverged), -1] = np.nan
    lost = [100 if place in diverged else None for place in range(seeds)]
    config = {"strategy": {"er": {}}, "environment": {"_target_": "environments.split.Split", "tasks": tasks}}
    return Results(config, list(range(seeds)), accuracy, _curves(accuracy, joint) if curves else None, lost, {})


def _curves(accuracy, joint, points=6):
    """Points within tasks on lines between the rows of the accuracy tensor."""
    tasks = accuracy.shape[2]
    rows = accuracy[:, [0, -1]] if joint else accuracy
    shares = np.arange(1, points + 1)[:, None] / points
    parts = [rows[:, [i]] + shares * (rows[:, [i + 1]] - rows[:, [i]]) for i in range(rows.shape[1] - 1)]
    values = np.concatenate([rows[:, :1], *parts], 1)
    met = [tasks] * points if joint else np.repeat(np.arange(1, tasks + 1), points).tolist()
    return {"steps": np.arange(values.shape[1]) * 10, "task": [0, *met], "accuracy": values}


def cell(name="er", environment="digits", **given):
    """A cell; ``given`` goes to :func:`results`."""
    return Cell(name, environment, results(**given), (Path(name),), Settings({"environment.name": environment}, {}, {}, ""))


def summary(name, mean=0.5, metric="accuracy", environment="digits", seeds=(0, 1, 2), without=""):
    """A cell's values, 0.1 around the mean; none where ``mean`` is NaN."""
    known = [] if math.isnan(mean) else list(seeds)
    found = Estimate(mean, 0.04, mean - 0.1, mean + 0.1, len(known), "t")
    if not known:
        found = Estimate(*[np.nan] * 4, 0, "none")
    return Summary(environment, metric, name, known, found, without)


def difference(name, by=0.2, p=0.01, metric="accuracy", environment="digits", high=math.inf, **given):
    """A difference to `naive` that some tests were made of."""
    found = Paired(by, by - 0.05, by + 0.05, "t", 0.03, 1.5, 0.5, 2.5, p / 2, True, None, 3)
    needed = SeedsNeeded(7, 5, high)
    return Difference(
        environment, metric, name, "naive", [0, 1, 2], [by - 0.01, by, by + 0.01], found, p, 0.25, 0.07, needed, **given
    )


def comparison(names=("naive", "er", "joint"), environment="digits", margin=None, ranks=(), left_out=(), notes=()):
    """`naive` (the first name) and others against it: of each, 0.1 more accuracy; no forgetting of the last."""
    base, *others = names
    cells = [summary(name, 0.5 + 0.1 * i, "accuracy", environment) for i, name in enumerate(names)]
    cells += [summary(name, 0.5 - 0.1 * i, "forgetting", environment) for i, name in enumerate(names[:-1])]
    cells.append(summary(names[-1], np.nan, "forgetting", environment, without="undefined, all tasks at once"))
    tested = {"noninferior_p": 0.02, "equivalent_p": 0.3} if margin is not None else {}
    rows = [difference(name, 0.1 * i, 0.01 * i, "accuracy", environment, **tested) for i, name in enumerate(others, 1)]
    rows += [difference(name, -0.1, 0.0004, "forgetting", environment, **tested) for name in others[:-1]]
    if others:
        missing = "seeds 0-2 without a value"
        rows.append(Difference(environment, "forgetting", others[-1], base, [], [], None, without=missing))
    metrics = ["accuracy", "forgetting"]
    return Comparison(metrics, base, 0.05, margin, cells, rows, list(ranks), list(left_out), list(notes))


TESTED = Ranks("accuracy", ["a", "b", "c", "d"], list("vwxyz"), [1.2, 1.8, 3.0, 4.0], 0.0002, 1.5, [["a", "b"], ["b", "c"]])
UNTESTED = Ranks("accuracy", ["a", "b", "c"], ["v", "w"], [2.5, 1.0, 2.5])
