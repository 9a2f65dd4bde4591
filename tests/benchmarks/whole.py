"""Whole commands from outside, as a user times them: end to end, answers of the command line, memory, tracking."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
from settings import LAB, PYTHON, A, words

HERE = Path(__file__).parent
SEEDS = 10


def lab_seconds(folder: Path, tasks: int, *more: str) -> float:
    """`lab run` of 10 seeds at (a), tracked in a fresh MLflow store."""
    with tempfile.TemporaryDirectory() as place:
        return _seconds(_command(folder, tasks, place, *more), place)


def rival_seconds(root: Path, tasks: int) -> float:
    """Two seeds of Avalanche at once in two processes of one thread each; both must end."""
    begin = time.perf_counter()
    commands = [[PYTHON, str(HERE / "rival.py"), str(root), str(tasks), str(seed)] for seed in range(2)]
    running = [subprocess.Popen(c, env=_one_thread(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) for c in commands]
    for process in running:
        _, errors = process.communicate()
        _refuse_failure(process.returncode, process.args, errors)
    return time.perf_counter() - begin


def answer_seconds(*arguments: str) -> float:
    """How long the `lab` command takes to answer."""
    with tempfile.TemporaryDirectory() as place:
        return _seconds([LAB, *arguments], place)


def peak_bytes(folder: Path) -> int:
    """The largest memory of `lab run` with 10 members and 10 tasks, all processes: proportional set sizes, added up."""
    with tempfile.TemporaryDirectory() as place:
        command = [*_command(folder, 10, place, "tracking=off"), "steps=40", "evaluation.tasks=log_lags"]
        process = subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        peak = 0
        while process.poll() is None:
            peak = max(peak, _proportional(process.pid))
            time.sleep(0.1)
        _refuse_failure(process.returncode, command, b"")
    return peak


def tracking_seconds(folder: Path, tasks: int) -> tuple[float, float]:
    """What publishing a finished run costs in the process that trained it, and how long that took to run without it."""
    with tempfile.TemporaryDirectory() as place:
        run = _command(folder, tasks, place)[2:]
        code = (
            "import sys, time\n"
            "from lab import run\n"
            "spent = [0.0]\n"
            "def timed(*arguments, track=run.track):\n"
            "    begin = time.perf_counter()\n"
            "    track(*arguments)\n"
            "    spent[0] += time.perf_counter() - begin\n"
            "run.track = timed\n"
            "begin = time.perf_counter()\n"
            "status = run.main(sys.argv[1:])\n"
            "print('spent', spent[0], time.perf_counter() - begin - spent[0])\n"
            "sys.exit(status)\n"
        )
        done = subprocess.run([PYTHON, "-c", code, *run], cwd=place, capture_output=True, text=True)
        _refuse_failure(done.returncode, done.args, done.stderr.encode())
        spent, rest = done.stdout.strip().splitlines()[-1].split()[1:]
        return float(spent), float(rest)


def logging_seconds(members: int, tasks: int, points: int) -> float:
    """Sending one finished run, made up, with ``points`` a task, into a store that is not there yet, the import of MLflow and
    all, in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        code = (
            "import sys, time\n"
            "from pathlib import Path\n"
            "import numpy as np\n"
            "from lab.results import Results, save\n"
            "from lab.tracking import publish\n"
            "members, tasks, points = map(int, sys.argv[1:])\n"
            "draw = np.random.default_rng(0).random\n"
            "steps = list(range(points * tasks + 1))\n"
            "curves = {'steps': steps, 'task': [0, *np.repeat(np.arange(1, tasks + 1), points).tolist()]}\n"
            "curves['accuracy'] = draw((members, len(steps), tasks))\n"
            "config = {'strategy': {'er': {}}, 'environment': {'_target_': 'environments.split.Split', 'tasks': tasks}}\n"
            "lost, cost = [None] * members, {'wall_seconds': 1.0}\n"
            "made = Results(config, list(range(members)), draw((members, tasks + 1, tasks)), curves, lost, cost)\n"
            "folder = Path('runs/cell/seeds')\n"
            "folder.mkdir(parents=True)\n"
            "(folder / 'config.yaml').write_text('{}')\n"
            "save(made, folder)\n"
            "begin = time.perf_counter()\n"
            "store = {'uri': 'sqlite:///mlflow.db', 'experiment': 'bench', 'timeout': 60, 'system_metrics': False}\n"
            "warning = publish(folder, store)\n"
            "print(time.perf_counter() - begin)\n"
            "sys.exit(warning)\n"
        )
        numbers = map(str, (members, tasks, points))
        done = subprocess.run([PYTHON, "-c", code, *numbers], cwd=place, capture_output=True, text=True)
        _refuse_failure(done.returncode, done.args, done.stderr.encode())
        return float(done.stdout.strip().splitlines()[-1])


def _command(folder: Path, tasks: int, place: str, *more: str) -> list[str]:
    store = f"tracking.uri=sqlite:///{place}/mlflow.db"
    tracked = [] if "tracking=off" in more else [store]
    return [LAB, "run", *words(A, "naive", SEEDS, tasks, folder), f"paths.runs={place}/runs", *tracked, *more]


def _seconds(command: list[str], place: str) -> float:
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=place, capture_output=True)
    passed = time.perf_counter() - begin
    _refuse_failure(done.returncode, command, done.stderr)
    return passed


def _refuse_failure(status: int, command: list[str], errors: bytes) -> None:
    if status:
        raise RuntimeError(f"{' '.join(command)}: exit status {status}\n{errors.decode()[-2000:]}")


def _proportional(pid: int) -> int:
    """Bytes of a process and its descendants; memory that several share counts once in all."""
    total = 0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return 0
    for process in family:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:  # it ended meanwhile
            continue
    return total


def _one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
