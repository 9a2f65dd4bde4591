"""A sweep's file, checked: what varies, in which arms, what is to be reached, at which cost, and by which protocol.

    claim: ...                          # optional: what one expects
    family: baselines                   # optional
    common: [experiment=digits_split]   # words of `lab run`, for all arms
    vary:                               # for all arms, by dotted key; see lab.sweep.space for the spellings
      optimizer.lr: tag(log, interval(0.001, 1))
    arms:                               # one or several, with equal budgets; without, there is one, of the sweep's name
      naive: {words: [strategy=naive]}
      er: {words: [strategy=er], vary: {strategy.er.memory: "choice(200, 500)"}}
    objectives: {accuracy: maximize}    # measures of a run, and cost.state_bytes, cost.passes, cost.steps of a member
    trials: 24                          # for each arm, the default configuration first; a grid has all combinations unless
                                        # it says fewer
    at_once: 8                          # trials in one population
    sampler: tpe                        # tpe gp cmaes qmc random grid nsga2; with options {name: tpe, seed: 1, ...}
    pruner: null                        # median hyperband wilcoxon percentile halving; {name: ..., ...}
    seed_batch: null                    # seeds of a trial that are trained at once; null: all
    tuning:
      seeds: 3                          # how many (1000, 1001, ...), or a list
      first_tasks: null                 # only the first so many tasks of each stream; null: all
      validation: 0.1                   # of each task's training data held out, where `common` or an arm holds none out
    final: {seeds: 10}                  # how many (0, 1, ...), or a list: none of those of tuning
    force: false                        # let an objective read test data, marked everywhere
    minutes: 5                          # what it costs on two CPU cores

Its objectives tell a sweep from a study (:mod:`lab.questions`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from optuna.distributions import BaseDistribution

from lab.config import nearest, seeds_of
from lab.errors import UserError, fraction, one_of, require, whole
from lab.metrics import MEASURES, is_measure, lower_is_better
from lab.questions import SWEEPS, check_keys, overrides
from lab.questions import read as read_file
from lab.sweep.space import distribution

NEEDED = ("objectives", "minutes")
OPTIONAL = {
    "claim": "",
    "family": "",
    "common": [],
    "vary": {},
    "arms": None,
    "trials": None,
    "at_once": 8,
    "sampler": "tpe",
    "pruner": None,
    "seed_batch": None,
    "tuning": {},
    "final": {},
    "force": False,
}
TUNING = {"seeds": 3, "first_tasks": None, "validation": 0.1}
FINAL = {"seeds": 10}
FIRST_TUNING_SEED = 1000

SAMPLERS = ("tpe", "gp", "cmaes", "qmc", "random", "grid", "nsga2")
PRUNERS = ("median", "percentile", "hyperband", "halving", "wilcoxon")
COSTS = ("cost.state_bytes", "cost.passes", "cost.steps")
DIRECTIONS = ("maximize", "minimize")
SWEEPS_OWN = ("seeds", "paths", "tracking", "hydra")
"""Sections that an arm cannot set."""
ASKED_WITHIN = ("environment", "evaluation", "seed_for", "data", "plan", "trainer", "checkpoint", "experiment", "first_tasks")
"""Sections that an arm cannot vary besides."""


@dataclass(frozen=True)
class Asked:
    """One arm as it stands in the file: words of `lab run`, and what varies."""

    name: str
    words: list[str]
    vary: dict[str, BaseDistribution]


@dataclass(frozen=True)
class Sweep:
    """A sweep as it stands in its file."""

    name: str
    path: Path
    claim: str
    family: str
    arms: dict[str, Asked]
    objectives: dict[str, str]
    """``maximize`` or ``minimize`` by name; the first decides who wins."""
    trials: int | None
    at_once: int
    sampler: dict[str, Any]
    pruner: dict[str, Any] | None
    seed_batch: int | None
    seeds: list[int]
    """Of tuning."""
    first_tasks: int | None
    validation: float
    final_seeds: list[int]
    force: bool
    minutes: float

    @property
    def objective(self) -> str:
        """The first one."""
        return next(iter(self.objectives))

    @property
    def directions(self) -> list[str]:
        return list(self.objectives.values())


def names() -> list[str]:
    """The names of all sweeps: the user's own in `./sweeps`, then the lab's."""
    return list(SWEEPS.files())


def find(name: str) -> Sweep:
    """The sweep of that name, or in that file.

    Raises:
        UserError: there is none, or its file is wrong.
    """
    return read(SWEEPS.path(name))


def named(word: str) -> Sweep | None:
    """The sweep that a word of a command names where it may name folders too: its file, or its name if no path is called so."""
    path = SWEEPS.named(word)
    return read(path) if path else None


def read(path: Path) -> Sweep:
    """A sweep from its file.

    Raises:
        UserError: names the file, the key, what was given and what is possible.
    """
    try:
        return _sweep(path, read_file(path))
    except (UserError, yaml.YAMLError, UnicodeError, OSError) as error:
        raise UserError(f"{path}: {error}") from None


def _sweep(path: Path, given: dict[str, Any]) -> Sweep:
    check_keys(given, NEEDED, OPTIONAL, "a sweep")
    whole_ = OPTIONAL | given
    tuning, final = _section("tuning", whole_["tuning"], TUNING), _section("final", whole_["final"], FINAL)
    seeds, final_seeds = _tuning_seeds(tuning["seeds"]), _seeds("final.seeds", final["seeds"])
    both = sorted(set(seeds) & set(final_seeds))
    require(not both, "final.seeds", final["seeds"], f"seeds that tuning does not have, and not {both}")
    require(isinstance(whole_["force"], bool), "force", whole_["force"], "true or false")
    first_tasks = tuning["first_tasks"]
    sweep = Sweep(
        path.stem, path, _text("claim", whole_["claim"]), _text("family", whole_["family"]), _arms(path.stem, whole_),
        _objectives(whole_["objectives"]), None if whole_["trials"] is None else whole("trials", whole_["trials"], 1),
        whole("at_once", whole_["at_once"], 1), _part("sampler", whole_["sampler"], SAMPLERS),
        None if whole_["pruner"] is None else _part("pruner", whole_["pruner"], PRUNERS),
        None if whole_["seed_batch"] is None else whole("seed_batch", whole_["seed_batch"], 1), seeds,
        None if first_tasks is None else whole("tuning.first_tasks", first_tasks, 1),
        fraction("tuning.validation", tuning["validation"]), final_seeds, whole_["force"], _minutes(whole_["minutes"]),
    )  # fmt: skip
    _refuse_contradictions(sweep)
    return sweep


def _refuse_contradictions(sweep: Sweep) -> None:
    if sweep.trials is None and sweep.sampler["name"] != "grid":
        raise UserError("trials: missing; a sweep says how many for each arm, unless its sampler is a grid")
    if sweep.pruner and len(sweep.objectives) > 1:
        raise UserError(f"pruner={sweep.pruner['name']}: serves one objective, and these are {', '.join(sweep.objectives)}")
    _refuse_batches(sweep)
    if len(sweep.objectives) > 1 and sweep.sampler["name"] == "cmaes":
        raise UserError(f"sampler=cmaes: serves one objective, and these are {', '.join(sweep.objectives)}")


def _refuse_batches(sweep: Sweep) -> None:
    """Refuse seeds in batches of which nothing comes: pruned across seeds is by the Wilcoxon test, and by enough of them."""
    across_seeds, count = bool(sweep.pruner) and sweep.pruner["name"] == "wilcoxon", len(sweep.seeds)
    if sweep.seed_batch and not across_seeds:
        raise UserError(f"seed_batch={sweep.seed_batch}: is for pruner: wilcoxon, which compares seed by seed; expected null")
    if not across_seeds:
        return
    if not (sweep.seed_batch and sweep.seed_batch < count):
        expected = f"a number below {count}, the seeds of tuning: where all are trained at once, none are saved"
        raise UserError(f"pruner=wilcoxon, seed_batch={sweep.seed_batch}: expected seed_batch to be {expected}")
    before_last = (count - 1) // sweep.seed_batch * sweep.seed_batch
    threshold = sweep.pruner.get("p_threshold", 0.1)
    if isinstance(threshold, float) and 0.5**before_last >= threshold:
        told = f"before the last batch there are {before_last} seeds, whose smallest p is {0.5**before_last:.3g}"
        raise UserError(f"pruner=wilcoxon: would never prune at p_threshold={threshold:g}: {told}; set more tuning.seeds")


def _section(key: str, given: Any, defaults: dict[str, Any]) -> dict[str, Any]:
    require(isinstance(given, dict), key, given, "keys and values")
    check_keys(given, (), defaults, "a sweep", f"{key}.")
    return defaults | given


def _arms(name: str, given: dict[str, Any]) -> dict[str, Asked]:
    common, shared = overrides("common", given["common"]), _vary("vary", given["vary"])
    arms = {name: {}} if given["arms"] is None else given["arms"]
    require(isinstance(arms, dict) and arms, "arms", arms, "words and what varies, by name")
    made: dict[str, Asked] = {}
    for arm, own in arms.items():
        sound = re.fullmatch(r"[^/.][^/]*", str(arm)) and str(arm) not in made
        require(bool(sound), "arms", arm, "a name that a file may have, and each once: no slash, no dot in front")
        own = _section(f"arms.{arm}", own or {}, {"words": [], "vary": {}})
        words = [*common, *overrides(f"arms.{arm}.words", own["words"])]
        vary = shared | _vary(f"arms.{arm}.vary", own["vary"])
        require(bool(vary), f"arms.{arm}", own, "something that varies, there or in `vary` for all arms")
        for word in words:
            require(_section_of(word) not in SWEEPS_OWN, f"arms.{arm}", word, "a setting; seeds and paths are the sweep's")
            require(not word.startswith("~"), f"arms.{arm}", word, "a setting: best.yaml could not say that one is left out")
        for key in vary:
            expected = "a setting of the method: what else varies would make trials incomparable"
            require(_section_of(key) not in (*SWEEPS_OWN, *ASKED_WITHIN), f"arms.{arm}", key, expected)
        made[str(arm)] = Asked(str(arm), words, vary)
    return made


def _section_of(word: str) -> str:
    return re.split("[.=@/]", word.lstrip("+~"))[0]


def _vary(key: str, given: Any) -> dict[str, BaseDistribution]:
    require(isinstance(given, dict), key, given, "distributions by dotted key")
    return {str(name): distribution(str(name), text) for name, text in given.items()}


def _objectives(given: Any) -> dict[str, str]:
    given = {given: "minimize" if lower_is_better(given) else "maximize"} if isinstance(given, str) else given
    require(isinstance(given, dict) and given, "objectives", given, "maximize or minimize by measure")
    for name, direction in given.items():
        if not (is_measure(str(name)) or name in COSTS):
            known = [*MEASURES, *COSTS]
            raise UserError(
                f"objectives.{name}: no run reports it. {nearest(str(name), known)}`docs/reference.md` has all of them"
            )
        one_of(f"objectives.{name}", direction, DIRECTIONS)
    return given


def _part(key: str, given: Any, possible: tuple[str, ...]) -> dict[str, Any]:
    """A sampler or pruner and its options, which Optuna's class checks."""
    part = {"name": given} if isinstance(given, str) else given
    require(isinstance(part, dict) and "name" in part, key, given, f"one of {', '.join(possible)}, or {{name: ..., options}}")
    one_of(key, part["name"], possible)
    return part


def _tuning_seeds(given: Any) -> list[int]:
    seeds = _seeds("tuning.seeds", given)
    return seeds if isinstance(given, list) else [FIRST_TUNING_SEED + seed for seed in seeds]


def _seeds(key: str, given: Any) -> list[int]:
    try:
        return seeds_of(given)
    except UserError as error:
        raise UserError(str(error).replace("seeds", key, 1)) from None


def _minutes(given: Any) -> float:
    sound = isinstance(given, (int, float)) and not isinstance(given, bool) and given > 0
    require(sound, "minutes", given, "what it costs on two CPU cores, above 0")
    return float(given)


def _text(key: str, given: Any) -> str:
    require(isinstance(given, str), key, given, "a text")
    return given.strip()
