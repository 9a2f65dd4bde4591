"""A sweep as one page for a browser: what was chosen, what fresh seeds say of it, how trials went, how to have it again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from lab.comparison.protocol import SECTIONS
from lab.report.page.facts import Table, duration
from lab.report.page.frame import Section, write
from lab.report.page.stills import embedded
from lab.report.sheets import decimals, within, written_p
from lab.sweep import charts, figures, landscape
from lab.sweep.axes import words
from lab.sweep.found import ENDED, Found
from lab.sweep.winning import DEFAULT, Standing, standings

HERE = Path(__file__).parent


OVER_ARMS = (
    ("Optimism", charts.optimism, figures.optimism),
    ("History", charts.history, figures.history),
    ("Importances", charts.importances, figures.importances),
)
"""Sections with one chart for all arms: title, chart, and the figure in its place where there is no script."""


def write_page(found: Found, path: Path) -> Path:
    """Write one HTML file with all that is to be known about a sweep; its path."""
    main = next(iter(found.objectives))
    content = {
        "title": found.title,
        "name": found.name,
        "state": state(found),
        "protocol": found.protocol,
        "forced": found.forced,
        "answers": list(answers(found, main)),
        "names": [arm.name for arm in found.arms],
        "winners": [_winners(found, objective) for objective in found.objectives],
        "compared": _compared(found),
        "front": _front(found),
        "sections": _sections(found),
        "trials": _trials(found),
        "counts": _counts(found),
        "question": found.question,
        "commands": commands(found),
    }
    return write("sweep.html", content, path, HERE)


def state(found: Found) -> str:
    """``finished``, or how far it is."""
    if found.record:
        return "finished"
    done = sum(trial.state in ENDED for _, trial in found.trials)
    return f"under way, {done} trials done"


def answers(found: Found, objective: str) -> Iterator[tuple[str, str]]:
    """What was found about each arm, in a sentence, with the name of the arm."""
    rows = standings(found, objective)
    for row in rows:
        if row.what != DEFAULT:
            default = next((one for one in rows if (one.arm, one.what) == (row.arm, DEFAULT)), None)
            yield row.arm, _answer(row, default, words(objective))


def _answer(row: Standing, default: Standing | None, name: str) -> str:
    if row.fresh is None:
        return f"{row.arm}: {name} {row.tuning} on tuning streams alone, the best so far, at {row.chosen}"
    said = f"{row.arm}: {name} {row.fresh} on {len(row.fresh.values)} fresh seeds, at {row.chosen}"
    if row.optimism is not None:
        said += f"; tuning streams said {row.tuning.mean:.3f} (optimism {row.optimism:+.3f})"
    return f"{said}; the default configuration has {default.fresh}" if default and default.fresh else said


def _winners(found: Found, objective: str) -> Table:
    rows = []
    for row in standings(found, objective):
        tuning, fresh = (str(one).replace(", ", ",\u00a0") if one else "-" for one in (row.tuning, row.fresh))
        seeds = str(len(row.fresh.values)) if row.fresh else "-"
        gap = "-" if row.optimism is None else f"{row.optimism:+.3g}"
        rows.append((row.arm, [f"{row.arm} {row.what}", row.chosen, tuning, fresh, seeds, gap]))
    header = ["configuration", "settings", "on tuning streams [95 %]", "on fresh seeds [95 %]", "fresh seeds", "optimism"]
    return Table(f"Winners and defaults: {words(objective)}", header, rows)


def _compared(found: Found) -> Table | None:
    """What `lab compare` says of the winners, where it was asked."""
    rows = (found.record.get("comparison") or {}).get("differences") or []
    known = [row for row in rows if row.get("difference") is not None]
    if not known:
        return None
    places = decimals([row["difference"] for row in known])
    lines = [
        (
            row["cell"],
            [
                row["cell"], row["baseline"], words(row["metric"]),
                within(row["difference"], row["low"], row["high"], places).replace(", ", ",\u00a0"),
                written_p(row["p_holm"]), str(len(row["seeds"])),
            ],
        )
        for row in known
    ]  # fmt: skip
    title = "Winners against each other" if len(found.arms) > 1 else "The winner against the default configuration"
    return Table(f"{title}, paired by fresh seed", COMPARED, lines)


COMPARED = ["configuration", "against", "measure", "difference [95 %]", "p (Holm)", "seeds"]


def _front(found: Found) -> Table | None:
    """The trials that none dominates, where there are several objectives."""
    if len(found.objectives) < 2:
        return None
    first = next(iter(found.objectives))
    held = sorted(found.front(), key=lambda one: one[1].values[first])
    header = ["arm", "trial", *map(words, found.objectives), "settings"]
    rows = []
    for arm, trial in held:
        values = [f"{value:.6g}" for value in trial.values.values()]
        rows.append((arm.name, [arm.name, str(trial.number), *values, charts.settings(trial)]))
    return Table("The Pareto front of all arms, on tuning streams", header, rows)


def _sections(found: Found) -> list[Section]:
    pairs = combinations(found.objectives, 2)
    made = [Section("Pareto front", charts.fronts(found), _drawn(figures.front(found, *pair) for pair in pairs))]
    for objective in found.objectives:
        arms = found.arms
        name = f": {words(objective)}" if len(found.objectives) > 1 else ""
        landscapes = [_drawn(draw(arm, objective) for arm in arms) for draw in (landscape.slices, landscape.parallel)]
        made += [
            *(
                Section(f"{title}{name}", chart(found, objective), _drawn([still(found, objective)]))
                for title, chart, still in OVER_ARMS
            ),
            Section(f"Each setting{name}", charts.slices(found, objective), landscapes[0], grid=True),
            Section(f"All settings{name}", charts.parallel(found, objective), landscapes[1]),
            Section(f"Two settings at a time{name}", [], pictures=list(_contours(found, objective))),
        ]
    return made


def _contours(found: Found, objective: str) -> Iterator[tuple[str, str]]:
    for arm in found.arms:
        figure = landscape.contours(arm, objective)
        if figure is not None:
            told = "between trials it is interpolated along triangles; what else varies is different from dot to dot."
            yield f"{arm.name}: {words(objective)} over pairs of settings, the most important ones; {told}", embedded(figure)


def _drawn(found: Any) -> list[str]:
    return [embedded(figure) for figure in found if figure is not None]


def _trials(found: Found) -> Table:
    """Every trial there has been."""
    several = len(found.objectives) > 1
    more = [] if several else ["by seed"]
    header = ["arm", "trial", "state", *map(words, found.objectives), *more, "settings", "time", "why"]
    rows = []
    for arm, trial in found.trials:
        values = ["-" if value != value else f"{value:.4g}" for value in trial.values.values()]
        seeds = trial.by_seed.get(next(iter(found.objectives)), [])
        by_seed = [] if several else [" ".join(f"{value:.3f}" if value is not None else "-" for value in seeds) or "-"]
        time = "-" if trial.seconds is None else duration(trial.seconds)
        why = str(trial.attributes.get("why") or "-")
        told = [arm.name, str(trial.number), trial.state, *values, *by_seed, charts.settings(trial), time, why]
        rows.append((arm.name, told))
    return Table("Every trial", header, rows)


def _counts(found: Found) -> Table:
    """What each arm was given."""
    rows = []
    for arm in found.arms:
        seconds = sum(trial.seconds or 0.0 for trial in arm.trials)
        rows.append((arm.name, [arm.name, str(len(arm.trials)), *map(str, arm.counts.values()), duration(seconds)]))
    return Table("Trials of each arm", ["arm", "trials", *ENDED, "time of trials"], rows)


def commands(found: Found) -> list[tuple[str, str]]:
    """What one may type next, each with what it is for."""
    made = [("The sweep; what is there is not run again:", found.command), ("This page:", f"lab report {found.name}")]
    if found.record:
        finals = list(dict.fromkeys(map(str, found.finals.values())))
        varied = sorted({axis.key for arm in found.arms for axis in arm.axes if axis.key.split(".")[0] in SECTIONS})
        options = "".join(f" --varies {key}" for key in varied)
        made.append(("The best configuration:", f"lab run experiment={found.home / 'best.yaml'}"))
        made.append(("The runs on fresh seeds, by every measure:", f"lab compare {' '.join(finals)}{options}"))
    return [*made, ("The trials in Optuna's own pages:", f"optuna-dashboard {found.storage}")]
