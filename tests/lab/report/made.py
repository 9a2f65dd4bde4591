"""Results, cells and comparisons as they would come of training, made up of seeded numbers."""

from pathlib import Path

import numpy as np

from lab.comparison.cells import Cell
from lab.comparison.protocol import Settings
from lab.results import Results


def results(seeds=5, tasks=4, joint=False, curves=True, diverged=(), kept=0.5, draw=0):
    """Members that keep ``kept`` of an earlier task's accuracy with each later one; ``diverged``: places of members."""
    rng = np.random.default_rng(draw)
    after, on = np.arange(1, tasks + 1)[:, None], np.arange(tasks)[None]
    met = on < after
    rows = np.where(met, 0.1 + 0.8 * kept ** (after - 1 - on).clip(0), 0.1)
    accuracy = np.concatenate([np.full((1, tasks), 0.1), rows])[None] + rng.normal(0, 0.02, (seeds, tasks + 1, tasks))
    accuracy = accuracy.clip(0, 1)
    if joint:
        accuracy[:, 1:-1] = np.nan
        accuracy[:, -1] = 0.9
    accuracy[list(diverged), -1] = np.nan
    lost = [100 if place in diverged else None for place in range(seeds)]
    config = {"strategy": {"er": {}}, "environment": {"_target_": "environments.split.Split", "tasks": tasks}}
    return Results(config, list(range(seeds)), accuracy, _curves(accuracy, tasks, joint) if curves else None, lost, {})


def _curves(accuracy, tasks, joint, points=6):
    """Points within tasks on lines between the rows of the accuracy tensor."""
    if joint:
        shares = np.linspace(0, 1, points * tasks + 1)[:, None]
        values = accuracy[:, :1] + shares * (accuracy[:, -1:] - accuracy[:, :1])
        return {"steps": np.arange(len(shares)) * 10, "task": [0] + [tasks] * points * tasks, "accuracy": values}
    shares = np.arange(1, points + 1)[:, None] / points
    parts = [accuracy[:, [i]] + shares * (accuracy[:, [i + 1]] - accuracy[:, [i]]) for i in range(tasks)]
    values = np.concatenate([accuracy[:, :1], *parts], 1)
    task = [0, *np.repeat(np.arange(1, tasks + 1), points).tolist()]
    return {"steps": np.arange(values.shape[1]) * 10, "task": task, "accuracy": values}


def cell(name="er", environment="digits", **given):
    return Cell(name, environment, results(**given), (Path(name),), Settings({"environment.name": environment}, {}, ""))
