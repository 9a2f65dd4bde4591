"""`lab sweep`: tune the arms of a question of sweeps/, run their winners on fresh seeds, hold these against each other."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.errors import UserError, whole

if TYPE_CHECKING:
    from lab.sweep.question import Sweep

HARMLESS = ("tracking", "data", "plan", "trainer", "checkpoint")
"""Sections that a command may set beside a sweep, since they change neither its cells nor what they mean."""

CHANGING = ("trainer.precision", "trainer.callbacks")
"""But for these."""


def main(arguments: list[str]) -> int:
    """List the sweeps, or run one; 0 done, 1 unfinished, 2 the user's mistake."""
    from lab.run import answered

    given, words = _parse(arguments)
    return answered(lambda: _run(given, words) if given.name else _list(given, words))


def _list(given: argparse.Namespace, words: list[str]) -> None:
    if words:
        raise UserError("lab sweep: name the sweep that is meant; without a name it lists them all")
    rows = list(_rows(Path(given.runs).expanduser()))
    if given.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        print(f"{row['name']:<{width}}  {_came_to(row)}")


def _rows(runs: Path) -> Iterator[dict[str, Any]]:
    """A line for each sweep; a file that cannot be read does not hide the others."""
    from lab.sweep import question

    for name in question.names():
        try:
            sweep = question.find(name)
        except UserError as error:
            print(f"lab: {error}", file=sys.stderr)
            continue
        content = read_found(home(sweep, runs)) or {"arms": {}, "forced": False}
        # Its file may have got another arm or objective since.
        arms = {arm: content["arms"][arm]["final"]["mean"] if arm in content["arms"] else None for arm in sweep.arms}
        told = {"objectives": sweep.objectives, "minutes": sweep.minutes, "arms": arms, "forced": content["forced"]}
        yield {"name": name, "claim": sweep.claim} | told


def _came_to(row: dict[str, Any]) -> str:
    objective = next(iter(row["objectives"]))
    run = all(row["arms"].values())
    arms = ", ".join(f"{arm} {_figure(means.get(objective))}" if run else arm for arm, means in row["arms"].items())
    return f"{'done' if run else 'not run':<8}{objective} of {arms}{' (chosen on test data)' if row['forced'] else ''}"


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4g}"


def home(sweep: Sweep, runs: Path) -> Path:
    """Where a sweep keeps its trials, its findings and its report."""
    return runs / "sweeps" / sweep.name


def read_found(folder: Path) -> dict[str, Any] | None:
    """What a sweep came to; None before it has."""
    from lab.sweep.best import FOUND

    try:
        return json.loads((folder / FOUND).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _run(given: argparse.Namespace, words: list[str]) -> None:
    from lab.sweep import best, question, reporting
    from lab.sweep.asking import ask
    from lab.sweep.launching import is_ours
    from lab.sweep.rounds import share
    from lab.workers import locked

    sweep, runs, begun = question.find(given.name), Path(given.runs).expanduser(), time.time()
    launchers = [word for word in words if is_ours(word)]
    words = [word for word in words if word not in launchers]
    _check_words(words)
    asking = ask(sweep, words, home(sweep, runs), given.storage)  # whatever is wrong is told before anything is trained
    if launchers or given.workers is not None:
        _launch(given, words, launchers, runs)
    share(asking.claims, {key: job for tuning in asking.tunings for key, job in tuning.jobs().items()})
    for tuning in asking.tunings:
        tuning.refuse_valueless()
    last = {own.arm.name: partial(best.run_final, sweep, own.arm, own.study, runs) for own in asking.tunings}
    share(asking.claims, {f"{arm}.final": job for arm, job in last.items()})
    with locked(asking.home, ".found.lock", wait=True):  # of several workers the first one writes it all down
        finals = [job() for job in last.values()]
        content = best.found(sweep, finals, asking.protocol, asking.forced, runs)
        if not _is_written_since(asking.home, begun):
            best.save(sweep, finals, content, asking.home)
            reporting.report(sweep, asking.home, given.storage)
            reporting.track(sweep, asking.home, words, given.storage)
    print(json.dumps(content, indent=1, ensure_ascii=False) if given.json else summary(content))
    for name in (reporting.PAGE, best.BEST):
        print(asking.home / name, file=sys.stderr if given.json else sys.stdout)


def _is_written_since(folder: Path, begun: float) -> bool:
    """Whether another worker has written what was found since this command began."""
    from lab.sweep.best import FOUND
    from lab.sweep.reporting import PAGE

    files = [folder / FOUND, folder / PAGE]
    return all(file.exists() and file.stat().st_mtime > begun for file in files)


def _launch(given: argparse.Namespace, words: list[str], launchers: list[str], runs: Path) -> None:
    """Have workers elsewhere do all there is to do; this command waits for them, and shows what they found."""
    from lab.sweep.launching import launch

    workers = whole("--workers", 1 if given.workers is None else given.workers, 1)
    storage = [f"--storage={given.storage}"] if given.storage else []
    launch(["sweep", given.name, f"--runs={given.runs}", *storage, *words], workers, launchers, runs)


def summary(content: dict[str, Any]) -> str:
    """Protocol, and of each arm the winner, what it has on fresh seeds, its optimism and the default beside it."""
    lines = [f"protocol  {content['protocol']}"]
    lines += ["FORCED    trials were judged by test data: these figures flatter"] if content["forced"] else []
    for arm, of in content["arms"].items():
        best = ", ".join(
            f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in of["best"].items()
        )
        counts = ", ".join(f"{number} {what}" for what, number in of["counts"].items() if number)
        lines.append(f"{arm}: {best} (trial {of['trial']}; {counts})")
        lines += [f"  {_figures(of, name)}" for name in content["objectives"]]
        lost = {name: of[what]["diverged"] for name, what in (("winner", "final"), ("default", "default"))}
        lines += [f"  {name}: {len(seeds)} fresh seeds diverged, and are in no mean" for name, seeds in lost.items() if seeds]
    cost = content["cost"]
    return "\n".join([*lines, f"cost      {cost['minutes']:.1f} minutes of training, {cost['declared']:g} declared"])


def _figures(of: dict[str, Any], name: str) -> str:
    tuning, final, usual = (of[what]["mean"][name] for what in ("tuning", "final", "default"))
    told = {"tuning": tuning, "final": final, "optimism": of["optimism"][name], "default": usual}
    low, high = of["final"]["interval"][name]
    figures = {what: _figure(value) for what, value in told.items()}
    figures["final"] += "" if low is None else f" [{low:.4g}, {high:.4g}]"
    return f"{name}: " + ", ".join(f"{what} {value}" for what, value in figures.items())


def _check_words(words: list[str]) -> None:
    for word in words:
        key = word.lstrip("+~").split("=")[0]
        if key.split(".")[0] not in HARMLESS or key == "trainer" or key.startswith(CHANGING):
            possible = ", ".join(HARMLESS)
            raise UserError(
                f"{word}: would change the declared sweep; beside it one sets where and how: {possible}, --runs, --storage"
            )


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        "lab sweep",
        description="Tune on tuning streams, run the winners on fresh ones; without a name, list the sweeps.",
        epilog="Overrides of where and how may follow (data.dir=DIR, tracking=off); the sweep itself stands as declared.",
    )
    parser.add_argument("name", nargs="?", help="a file of sweeps/, without .yaml")
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--runs", default="runs", help="folder of run directories (runs)")
    parser.add_argument("--storage", metavar="URL", help="a database for the trials (a file beside the runs)")
    parser.add_argument("--workers", type=int, metavar="N", help="started by a launcher: hydra/launcher=submitit_slurm")
    parser.add_argument("--json", action="store_true", help="for programs")
    given = parser.parse_intermixed_args(arguments)
    if given.name and "=" in given.name:
        given.words, given.name = [given.name, *given.words], None
    return given, given.words
