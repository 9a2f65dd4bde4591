"""What a sweep leaves for readers: figures and one page in its home, at any time; and the same in MLflow."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.errors import UserError
from lab.sweep import question
from lab.sweep.command import read_found
from lab.sweep.found import Arm, Found
from lab.sweep.question import Sweep
from lab.sweep.storage import JOURNAL, in_words, open_storage

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

PAGE, FIGURES = "report.html", "figures"


def found(sweep: Sweep, home: Path, url: str | None = None) -> Found:
    """A sweep as it stands in its storage, finished or not.

    Args:
        home: its folder; it may lack all but the trials.
        url: the storage, if it is not the file in its home.

    Raises:
        UserError: it has not been begun here.
    """
    if url is None and not (home / JOURNAL).exists():
        elsewhere = "; --storage URL names a database that has its trials"
        raise UserError(f"{sweep.name}: has not been run into {home} yet; lab sweep {sweep.name} runs it{elsewhere}")
    record, arms = read_found(home) or {}, _arms(sweep, open_storage(home, url))
    if not arms:
        raise UserError(f"{sweep.name}: {in_words(url, home)} has none of its trials; lab sweep {sweep.name} makes them")
    known = arms[0].study.user_attrs
    return Found(
        sweep.name, sweep.claim or sweep.name, sweep.path.read_text(encoding="utf-8-sig"), sweep.objectives,
        [Arm(arm.name, arm.objectives, arm.study, record.get("arms", {}).get(arm.name, {})) for arm in arms], record,
        in_words(url, home), again(sweep), home, known.get("protocol", ""), bool(known.get("forced")),
    )  # fmt: skip


def _arms(sweep: Sweep, storage: BaseStorage) -> list[Arm]:
    """The arms whose studies have been begun."""
    import optuna

    there = set(optuna.get_all_study_names(storage))
    names = {arm: f"{sweep.name}.{arm}" for arm in sweep.arms}
    return [
        Arm(arm, sweep.objectives, optuna.load_study(study_name=name, storage=storage))
        for arm, name in names.items()
        if name in there
    ]


def again(sweep: Sweep) -> str:
    """The command that runs the sweep."""
    return f"lab sweep {sweep.name if sweep.name in question.names() else os.path.relpath(sweep.path)}"


def report(sweep: Sweep, home: Path, url: str | None = None) -> Path:
    """Write a sweep's figures and its page into its home; the page's path."""
    from lab.sweep.figures import write_figures
    from lab.sweep.page import write_page

    now = found(sweep, home, url)
    write_figures(now, home / FIGURES)
    return write_page(now, home / PAGE)


def track(sweep: Sweep, home: Path, words: list[str], url: str | None = None) -> None:
    """Have trials and report in MLflow where tracking is on; a store that does not answer costs a warning."""
    from lab.run import composed
    from lab.sweep.tracked import send

    settings: dict[str, Any] = composed(*next(iter(sweep.arms.values())).words, *words)["tracking"]
    if settings["enabled"]:
        warning = send(found(sweep, home, url), home, settings | {"experiment": sweep.name})
        if warning:
            print(f"lab: {warning}", file=sys.stderr)
