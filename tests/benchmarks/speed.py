"""How fast the lab is: beside a bare PyTorch loop and beside Avalanche, on this machine, in one sitting.

    python tests/benchmarks/speed.py                  everything, about half an hour on 2 cores
    python tests/benchmarks/speed.py --quick          fewer rounds and tasks, a few minutes
    python tests/benchmarks/speed.py --only steps     one part or several (--help names them)
    python tests/benchmarks/speed.py --markdown FILE --json FILE

Needs `mnist.npz` in --data or LAB_DATA. Contenders take turns (A B A B ...), a figure is the median of its rounds, and only
ratios are judged: the machine may be shared, and another one is another machine.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

import psutil
import whole
from settings import A, B, Setting, arrays, data_folder, write_idx

from lab.workers import cores


@dataclass
class Row:
    """One line of the table; ``target`` is the largest value allowed, None where there is none."""

    what: str
    value: float
    unit: str
    target: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        return "" if self.target is None else "yes" if self.value <= self.target else "NO"

    @property
    def cells(self) -> tuple[str, ...]:
        limit = "" if self.target is None else f"{self.target:.3g}"
        return self.what, f"{self.value:.3g} {self.unit}".strip(), limit, self.verdict, self.note


PARTS = (
    "answers",
    "steps",
    "upkeep",
    "tasks",
    "co_schedules",
    "constraints",
    "pheromone",
    "sweeps",
    "memory",
    "tracking",
    "whole",
)


def main() -> None:
    options = _options()
    folder = data_folder(options.data)
    functions = (answers, steps, upkeep, tasks, co_schedules, constraints, pheromone, sweeps, memory, tracking, end_to_end)
    parts = dict(zip(PARTS, functions, strict=True))
    rows: list[Row] = []
    for name in options.only or parts:
        rows += parts[name](folder, options.quick)
    print(_table(rows))
    report = {"machine": _machine(), "quick": options.quick, "rows": [asdict(row) | {"met": row.verdict} for row in rows]}
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    if options.markdown:
        Path(options.markdown).write_text(_page(rows, options.quick))


# --- what is measured -------------------------------------------------------------------------------------------------


def steps(folder: Path, quick: bool) -> list[Row]:
    """Time a step: the bare loop, the lab with 1, 5 and 20 members, Avalanche."""
    import bare
    import ours
    import rival
    import torch

    images = {name: torch.from_numpy(array) for name, array in arrays(folder).items()}
    floor = bare.Bare(images["x_train"], images["y_train"].long())
    rows = []
    with tempfile.TemporaryDirectory() as root:
        write_idx(folder, Path(root))
        benchmark = rival.PermutedMNIST(2, seed=0, dataset_root=root)
        for setting in (A, B):
            for strategy in ("naive", "er"):
                contenders: dict[str, Callable[[], float]] = {}
                for threads in sorted({1, cores()}):
                    contenders[f"bare {threads}"] = partial(floor.seconds, setting, strategy, threads)
                    contenders[f"rival {threads}"] = partial(rival.seconds, benchmark, setting, strategy, threads)
                plans = {}
                for members in (1, 5, 20):
                    made = ours.experiment(setting, strategy, members, folder)
                    plans[members] = made.settle_plan()
                    contenders[f"lab {members}"] = partial(ours.seconds, made, plans[members])
                rows += _step_rows(setting, strategy, in_turn(contenders, 3 if quick else 9), plans)
    return rows


def _step_rows(setting: Setting, strategy: str, times: dict[str, float], plans: dict) -> list[Row]:
    bare, avalanche = (min(t for name, t in times.items() if name.startswith(who)) for who in ("bare", "rival"))
    where = f"({setting.name}) batch {setting.batch}, {strategy}"
    rows = [Row(f"{where}: bare loop, a step", 1e3 * bare, "ms", note="the faster of one thread and all")]
    for members in (1, 5, 20):
        target = {("a", 1): 1.15, ("b", 1): 1.4, ("b", 20): 0.4}.get((setting.name, members))
        plan = plans[members]
        how = f"{'stacked' if plan.stack else 'in turn'}, {plan.processes} process(es) of {plan.threads} thread(s)"
        share = times[f"lab {members}"] / members / bare
        rows.append(Row(f"{where}: lab, {members} members, a member's step / bare", share, "", target, how))
    return [*rows, Row(f"{where}: Avalanche, a step / bare", avalanche / bare, "", note="likewise")]


def answers(folder: Path, quick: bool) -> list[Row]:
    """Time the command line's answers."""
    commands = {"lab --help": ("--help",), "lab run --cfg job": ("run", "--cfg", "job")}
    times = in_turn({name: partial(whole.answer_seconds, *words) for name, words in commands.items()}, 3 if quick else 7)
    limits = {"lab --help": 0.5, "lab run --cfg job": 2.0}
    return [Row(f"`{name}` answers within", time, "s", limits[name]) for name, time in times.items()]


def upkeep(folder: Path, quick: bool) -> list[Row]:
    """Time what memories cost beside training."""
    from upkeep import seconds

    limits = {"reservoir": 2.0, "balanced": 4.0, "ring": 2.0}
    times = in_turn({kind: partial(seconds, kind) for kind in limits}, 3 if quick else 7)
    note = "10 members, 1000 slots each, 10 new samples and 10 drawn a step, blocks of 64; processor time"
    return [Row(f"10,000 steps of a memory: {kind}", times[kind], "s", limit, note) for kind, limit in limits.items()]


def tasks(folder: Path, quick: bool) -> list[Row]:
    """Time a step and a task's end when 10, 100 and 1000 tasks have been met."""
    from many import STRATEGIES, costs

    rows = []
    for strategy in STRATEGIES:
        found = {count: costs(strategy, count) for count in ((10, 100) if quick else (10, 100, 1000))}
        few = found[10]
        for count, cost in found.items():
            step, end, evaluation = (1e3 * each for each in (cost.step, cost.end, cost.evaluation))
            note = f"a step {step:.2f} ms, a task's end {end:.2f}, evaluating then {evaluation:.1f}"
            note += f"; checkpoint {cost.checkpoint / 1e6:.1f} MB"
            rows.append(Row(f"{strategy}, {count} tasks: a step / with 10 tasks", cost.step / few.step, "", 1.1, note))
    return rows


def co_schedules(folder: Path, quick: bool) -> list[Row]:
    """Time a step in which data are in order and weights are averaged."""
    from co_schedules import CONTENDERS, seconds

    times = in_turn({name: partial(seconds, name, folder) for name in CONTENDERS}, 2 if quick else 5)
    plain, *others = times
    note = "one pass over graded MNIST, 10 members, batches of 32, MLP of two layers of 100"
    return [Row(f"{name}: a step / {plain}", times[name] / times[plain], "", 1.05, note) for name in others]


def constraints(folder: Path, quick: bool) -> list[Row]:
    """Time what constraints add to a step of slot filling."""
    from constraints import AGAIN, CONTENDERS, seconds

    times = in_turn({name: partial(seconds, name, folder) for name in (*CONTENDERS, AGAIN)}, 2 if quick else 5)
    plain, *others = CONTENDERS
    step, again = (1e3 * times[name] for name in (plain, AGAIN))
    note = f"SNIPS, 10 members, experiment=slots; a step without takes {step:.1f} ms, a pass {again:.1f}"
    limits = {"ten samples, reinforce": 1.0, "ten samples, lagrangian": 1.0}
    added = {name: (times[name] - times[plain]) / times[AGAIN] for name in others}
    return [Row(f"{name}: what it adds to a step / a pass", added[name], "", limits.get(name), note) for name in others]


def pheromone(folder: Path, quick: bool) -> list[Row]:
    """Time a step of the pheromone pathway network, at the source's size, beside a plain transformer's of that size."""
    from pheromone import BARE, CONTENDERS, MEMBERS, PLAIN, WITH, bytes_a_member, seconds

    asked = {(name, members) for name in CONTENDERS for members in (1, MEMBERS) if members == 1 or name != BARE}
    contenders = {pair: partial(seconds, *pair, folder) for pair in sorted(asked)}
    times = in_turn(contenders, 1 if quick else 5)
    bare, plain = times[BARE, 1], times[PLAIN, MEMBERS]
    rows = [
        Row(f"{BARE} of that size: a step", 1e3 * bare, "ms", note=f"processor time, one thread; {1 / bare:.1f} steps a second")
    ]
    for (name, members), time in times.items():
        if name != BARE:
            note = f"{1 / time:.2f} members' steps a second, one thread"
            rows.append(Row(f"{name}, {members} members: a member's step / bare transformer", time / bare, "", note=note))
    rows.append(Row("a field's upkeep, of a step", times[WITH, MEMBERS] / plain - 1, "", 0.1, f"{MEMBERS} members"))
    each, room = bytes_a_member(folder), psutil.virtual_memory().total
    return [*rows, Row("memory of one more member", each / 1e9, "GB", note=f"{int(room / each)} in all {room / 1e9:.0f} GB")]


def sweeps(folder: Path, quick: bool) -> list[Row]:
    """Time a sweep's trials as one population, and one after the other."""
    from sweeps import SEEDS, TASKS, TRIALS, one_after_the_other, stacked

    rows = []
    for setting, steps in ((B, 300 if quick else 1000), (A, 60 if quick else 200)):
        values: dict = {}
        ways = {"stacked": stacked, "one after the other": one_after_the_other}
        times = in_turn({name: partial(way, setting, steps, folder, values) for name, way in ways.items()}, 1 if quick else 3)
        apart = abs(values["stacked"] - values["one after the other"]).max()
        what = f"({setting.name}) batch {setting.batch}, er: {TRIALS} trials x {len(SEEDS)} seeds"
        note = (
            f"{times['stacked']:.0f} s against {times['one after the other']:.0f}; {TASKS} tasks of {steps} steps; whole runs"
        )
        share = times["stacked"] / times["one after the other"]
        rows.append(Row(f"{what}, stacked / one after the other", share, "", 0.4 if setting is B else None, note))
        rows.append(Row(f"{what}: accuracies apart by at most", apart, "", 0.01))
    return rows


def memory(folder: Path, quick: bool) -> list[Row]:
    note = "10 members, 10 tasks of MNIST at (a), all processes (PSS)"
    return [Row("peak memory", whole.peak_bytes(folder) / 1e9, "GB", 2.0, note)]


def tracking(folder: Path, quick: bool) -> list[Row]:
    tasks = 2 if quick else 10
    spent, rest = whole.tracking_seconds(folder, tasks)
    note = f"10 seeds at (a), {tasks} tasks; {spent:.1f} s{', judged with 10 tasks' if quick else ''}"
    logged = whole.logging_seconds(members=20, tasks=10, points=10)
    size = "20 members x 10 tasks x curves of 100 points, a new store, the import of MLflow"
    return [
        Row("tracking / the run without it", spent / rest, "", None if quick else 0.03, note),
        Row("logging one large run", logged, "s", 10.0, size),
    ]


def end_to_end(folder: Path, quick: bool) -> list[Row]:
    """10 seeds of the lab against 10 of Avalanche: import, data, training, evaluation after every task, tracking."""
    tasks = 2 if quick else 10
    with tempfile.TemporaryDirectory() as root:
        write_idx(folder, Path(root))
        times = in_turn(
            {
                "lab": partial(whole.lab_seconds, folder, tasks),
                "rival": partial(whole.rival_seconds, Path(root), tasks),
                "lab untracked": partial(whole.lab_seconds, folder, tasks, "tracking=off"),
                "lab fixed": partial(whole.lab_seconds, folder, 1, "steps=1"),
            },
            1 if quick else 2,
        )
    rival = times["rival"] * whole.SEEDS / 2
    aim = "judged with 10 tasks: two are mostly fixed costs" if quick else "1/12 = 0.083 to aim for"
    note = f"{tasks} tasks of 60,000; Avalanche without logging, 2 seeds in 2 processes at once, times 5"
    return [
        Row("end to end, 10 seeds at (a): Avalanche / lab", rival / times["lab"], "times", None, note),
        Row("end to end, 10 seeds at (a): lab / Avalanche", times["lab"] / rival, "", None if quick else 1 / 8, aim),
        Row("the same, tracking off", times["lab untracked"] / rival, "", None),
        Row("lab, 10 seeds end to end", times["lab"], "s"),
        Row("of it fixed (import, data, one step, figures, tracking)", times["lab fixed"], "s"),
        Row("Avalanche, 2 seeds at once", times["rival"], "s"),
    ]


def in_turn(contenders: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of each contender's times, measured in turn: A B C A B C ..., so that a slow minute meets all."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            times[name].append(measure())
    return {name: median(taken) for name, taken in times.items()}


# --- how it is shown --------------------------------------------------------------------------------------------------


def _table(rows: list[Row]) -> str:
    lines = [("what", "value", "at most", "met", "note")]
    lines += [row.cells for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(4)] + [0]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _page(rows: list[Row], quick: bool) -> str:
    command = f"LAB_DATA=DIR .venv/bin/python tests/benchmarks/speed.py{' --quick' if quick else ''} --markdown FILE"
    machine = ", ".join(f"{name} {value}" for name, value in _machine().items())
    lines = [
        "# Speed and memory", "",
        f"Made by `{command}` (DIR holds `mnist.npz`; `make bench` prints the same table). {machine}.", "",
        "Permuted MNIST with real images. (a): batch 128, MLP 784-256-256-10. (b): batch 10, MLP 784-100-100-10. `er` keeps",
        "500 samples and replays as many as come in. Contenders take turns and figures are medians; the machine was shared, so",
        "read the ratios, not the milliseconds. The bare loop holds float images, permuted before its clock started.", "",
        "| what | value | at most | met | note |", "|---|---|---|---|---|",
    ]  # fmt: skip
    lines += [f"| {' | '.join(row.cells)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _machine() -> dict[str, str]:
    from importlib.metadata import version

    versions = {"torch": version("torch"), "Python": platform.python_version()}
    return {"cores": str(cores()), "processor": platform.machine()} | versions


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and tasks")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=PARTS,
    )
    parser.add_argument("--data", help="folder with mnist.npz; default: LAB_DATA")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--markdown", metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
