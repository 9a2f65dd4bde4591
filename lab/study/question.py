"""A study's file, checked: what is claimed, of which cells, by how many seeds, and how it will be decided."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from lab.config import seeds_of
from lab.errors import UserError, one_of, require, whole
from lab.questions import OWN, STUDIES, check_keys, overrides
from lab.questions import read as read_file
from lab.study.hypotheses import Hypothesis, hypotheses, is_number, measure_of, text
from lab.study.published import Published, published_of

__all__ = ["OWN", "Study", "find", "named", "names", "read"]

SPENDING = ("obrien_fleming", "pocock")
NEEDED = ("claim", "family", "cells", "seeds", "budget", "measure", "test", "minutes")
OPTIONAL = {
    "common": [],
    "environments": {},
    "varies": [],
    "looks": None,
    "spending": "obrien_fleming",
    "alpha": 0.05,
    "reserve": 0.01,
    "scale": None,
    "metrics": [],
    "at_once": None,
    "published": None,
}
STUDYS = ("seeds", "paths", "tracking")
"""Sections that a cell cannot set for itself."""

LONGEST = 120
"""Minutes that a study may cost on two cores at full scale."""

BUDGET = ("epochs", "steps", "batch_size")


@dataclass(frozen=True)
class Study:
    """A question as it stands in its file."""

    name: str
    path: Path
    claim: str
    family: str
    words: dict[str, list[str]]
    """The overrides of every cell, with those of its environment, by ``cell`` or ``cell @ environment``."""
    cells: dict[str, str]
    """The cell's own name of each of them."""
    places: dict[str, str]
    """The environment's name of each of them; empty where there is only one."""
    seeds: list[int]
    looks: list[int]
    """How many of the seeds each look is at; the last at all of them."""
    tests: list[Hypothesis]
    alpha: float
    reserve: float
    """The part of alpha that is kept for extensions not declared, which decide on fresh seeds only."""
    spending: str
    varies: tuple[str, ...]
    minutes: float
    scale: str | None
    metrics: list[str]
    """Measures to report beside those tested."""
    budget: list[str]
    at_once: int
    """Seeds that are trained together, in a run directory of their own; what is there is shown before the next are begun."""
    published: Published | None

    @cached_property
    def measures(self) -> list[str]:
        """All measures to show, those tested first."""
        return list(dict.fromkeys([*(test.measure for test in self.tests), *self.metrics]))


def names() -> list[str]:
    """The names of all studies: the user's own in `./sweeps`, then the lab's."""
    return list(STUDIES.files())


def find(name: str) -> Study:
    """The study of that name, or in that file.

    Raises:
        UserError: there is none, or its file is wrong.
    """
    return read(STUDIES.path(name))


def named(word: str) -> Study | None:
    """The study that a word of a command names where it may name folders too: its file, or its name if no path is called so.

    Raises:
        UserError: its file is wrong.
    """
    path = STUDIES.named(word)
    return read(path) if path else None


def read(path: Path) -> Study:
    """A study from its file.

    Raises:
        UserError: names the file, the key, what was given and what is possible.
    """
    try:
        return _study(path, read_file(path))
    except (UserError, yaml.YAMLError, UnicodeError, OSError) as error:
        raise UserError(f"{path}: {error}") from None


def _study(path: Path, given: dict[str, Any]) -> Study:
    check_keys(given, NEEDED, OPTIONAL, "a study")
    whole_ = OPTIONAL | given
    seeds = seeds_of(whole_["seeds"])
    cells = _cells(whole_)
    tests = list(hypotheses(whole_, cells["own"]))
    alpha, reserve = _levels(whole_)
    study = Study(
        path.stem, path, text("claim", whole_["claim"]), text("family", whole_["family"]), cells["words"], cells["names"],
        cells["places"], seeds,
        _looks(whole_["looks"], len(seeds)), tests, alpha, reserve, one_of("spending", whole_["spending"], SPENDING),
        tuple(overrides("varies", whole_["varies"])), _minutes(whole_["minutes"], whole_["scale"]), whole_["scale"],
        [measure_of("metrics", name) for name in overrides("metrics", whole_["metrics"])], _budget(whole_["budget"]),
        len(seeds) if whole_["at_once"] is None else whole("at_once", whole_["at_once"], 1),
        published_of(whole_["published"], whole_["measure"], cells["own"], list(whole_["environments"])),
    )  # fmt: skip
    _refuse_blind(study, len(whole_["environments"]) or 1)
    return study


def _cells(given: dict[str, Any]) -> dict[str, Any]:
    """The overrides of each cell in each environment, and the cell's own name of each."""
    require(isinstance(given["cells"], dict) and len(given["cells"]) > 1, "cells", given["cells"], "two cells or more, by name")
    require(isinstance(given["environments"], dict), "environments", given["environments"], "lists of overrides, by name")
    shared = [*overrides("common", given["common"]), *_budget(given["budget"])]
    words, own_names, places = {}, {}, {}
    for place, more in (given["environments"] or {"": []}).items():
        for cell, own in given["cells"].items():
            key = f"{cell} @ {place}" if place else str(cell)
            words[key] = [*shared, *overrides(f"environments.{place}", more), *overrides(f"cells.{cell}", own)]
            own_names[key], places[key] = str(cell), str(place)
            twin = next((other for other, known in words.items() if other != key and known == words[key]), None)
            require(twin is None, f"cells.{cell}", words[key], f"something else than {twin}")
            for word in words[key]:
                section = word.lstrip("+~").split("=")[0].split(".")[0]
                require(
                    section not in STUDYS, f"cells.{cell}", word, "an override of the cell; seeds and paths are the study's"
                )
    return {"words": words, "names": own_names, "places": places, "own": [str(cell) for cell in given["cells"]]}


def _looks(given: Any, seeds: int) -> list[int]:
    if given is None:
        return [seeds]
    sound = isinstance(given, list) and given and all(isinstance(n, int) and n > 1 for n in given)
    require(
        sound and given == sorted(set(given)) and given[-1] == seeds, "looks", given,
        f"rising numbers of seeds, the last all of them ({seeds})",
    )  # fmt: skip
    return given


def _levels(given: dict[str, Any]) -> tuple[float, float]:
    alpha, reserve = given["alpha"], given["reserve"]
    require(is_number(alpha) and 0 < alpha < 0.5, "alpha", alpha, "a number between 0 and .5 (1e-2 is a text to YAML: 0.01)")
    sound = is_number(reserve) and 0 <= reserve < alpha
    require(sound, "reserve", reserve, f"the part of alpha kept for looks not declared, from 0 to below {alpha}")
    return alpha, float(reserve)


def _refuse_blind(study: Study, places: int) -> None:
    """Refuse a study with a look that could not reach its level, whatever is measured."""
    from lab.statistics import levels, smallest_p

    parts = len(study.tests) * places
    for seeds, level in zip(study.looks, levels(study.looks, study.alpha - study.reserve, study.spending), strict=True):
        least = smallest_p(seeds, parts)
        if least > level:
            enough = next((n for n in range(2, 64) if smallest_p(n, parts) <= level), None)
            remedy = f"{enough} seeds could reach it" if enough else "no number of seeds could reach it"
            raise UserError(
                f"seeds={seeds}: too few to decide anything: with {parts} test{'s' * (parts > 1)} the smallest "
                f"possible p is {least:.2g}, above the look's level of {level:.2g}; {remedy}"
            )


def _minutes(given: Any, scale: Any) -> float:
    """The declared cost. What costs too much is made smaller, and says so, before it has fewer seeds."""
    require(is_number(given) and given > 0, "minutes", given, "what it will cost on two CPU cores, above 0")
    require(scale is None or isinstance(scale, str), "scale", scale, "a text: at which scale the verdict will hold")
    if given > LONGEST and not scale:
        raise UserError(
            f"minutes={given:g}: over {LONGEST}; make the tasks, the data or the network smaller before the seeds, and say in "
            "`scale` at which scale the verdict will hold"
        )
    return float(given)


def _budget(given: Any) -> list[str]:
    words = overrides("budget", given)
    for word in words:
        require(word.split("=")[0] in BUDGET, "budget", word, f"overrides of {', '.join(BUDGET)}, alike for all cells")
    return words
