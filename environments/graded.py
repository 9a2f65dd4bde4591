"""Training examples of known quality: a share of them made worse, at known strength (for curricula: Luo et al. 2025, arXiv
2511.18903, order data by scores of quality; here the scores are true by construction)."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace

import torch
from torch import Tensor

from environments.degradation import INPUTS, answers, labels_replaced, left
from environments.tasks import SHARED, base_of, numbers
from lab.protocols import Data, Environment, Examples, Stream, Task, generator, invalid, one_of, require, whole
from lab.protocols import number as finite

PARTS = {"label": "targets"} | dict.fromkeys(INPUTS, "inputs")
"""What each kind changes."""
MOST = {"label": 1.0} | {kind: made.most for kind, made in INPUTS.items()}
"""The largest strength of each: 1 of a probability."""


class Graded:
    """The stream of ``base``, a ``share`` of its training examples degraded; test examples and validation stay as they are.

    Degraded examples are dealt out evenly over ``levels``: at level l = 1..L of L the strength of each kind is l / L of its
    largest. Every example's quality is known (``Examples.quality``): the product over kinds of 1 - strength where that is a
    probability, else of 1 / (1 + strength); 1 for clean ones. It tells what was risked, not what came of it: a label that
    happened to stay right has the quality of the wrong ones at its level. Where data have a quality of their own, in [0, 1],
    the two are multiplied.

    Data lie in memory once, so that what is degraded, and how, is the same for all members and in all tasks: it is drawn from
    ``draw`` and not from the member's seed. With the same ``draw``, a larger share degrades the same examples and more. Held
    out examples are clean copies, behind the training examples in memory.

    Args:
        kinds: ``label``: wrong with that probability, another output unit of the example's task, each alike (each token's
            label by itself). ``blur``: images under a Gaussian, in pixels. ``pixel``: each number of an image of bytes replaced
            with that probability, uniformly. ``feature``: float inputs plus Gaussian noise, in standard deviations of each
            input. ``token``: each replaced with that probability by another one of the data, uniformly. One, or a list: all of
            them in turn on the same examples, at the same level.
        share: of the training examples, in [0, 1].
        strength: the largest one; a list: one for each kind.
        levels: how many; None: strengths drawn uniformly from (0, ``strength``].
        draw: a seed.
    """

    def __init__(
        self,
        base: Environment,
        kinds: str | list[str] = "label",
        share: float = 0.8,
        strength: float | list[float] = 0.8,
        levels: int | None = 5,
        draw: int = 0,
    ):
        self.base = base_of(base)
        clean, first = self.base.data, self.base.stream(SHARED)
        self.kinds = _strengths(_kinds(kinds, clean), strength)
        self.share = finite("environment.share", share, 0, 1)
        self.levels = None if levels is None else whole("environment.levels", levels, 1)
        self.draw = whole("environment.draw", draw, 0)
        self.slots = _slots(first) if "label" in self.kinds else 0
        copies = any(len(task.validation) for task in first.tasks)
        self.data = self._graded(clean, copies)

    def stream(self, seed: int) -> Stream:
        stream = self.base.stream(seed)
        # Where labels are wrong, what the base says about predicting them from one another no longer holds.
        baseline = None if self.slots else stream.baseline
        return replace(stream, tasks=tuple(map(self._task, stream.tasks)), baseline=baseline)

    def _task(self, task: Task) -> Task:
        labels = task.labels
        if self.slots:
            require(len(labels[labels >= 0].unique()) > 1, "environment.kinds", "label", "another: a task has one class alone")
            labels = answers(labels, self.slots)
        held = self.clean[task.validation] if len(task.validation) else task.validation
        return replace(task, labels=labels, validation=held)

    # --- the data -----------------------------------------------------------------------------------------------------

    def _graded(self, clean: Data, copies: bool) -> Data:
        """The data with degraded training examples; behind them, where examples are held out, clean copies of these."""
        rows, height = self._chosen(len(clean.train))
        before = {"inputs": clean.train.inputs, "targets": clean.train.targets, "quality": _quality(clean)}
        worse = self._worse(before, rows, height, clean.classes) if len(rows) else {}
        made = before | {name: before[name].index_copy(0, rows, part) for name, part in worse.items()}
        if copies:
            made = {name: torch.cat([tensor, before[name][rows]]) for name, tensor in made.items()}
        self.clean = torch.arange(len(clean.train)).index_copy(0, rows, len(clean.train) + torch.arange(len(rows)))
        settings = (self.kinds, self.share, self.levels, self.draw, self.slots, copies)
        told = hashlib.sha256(repr(settings).encode()).hexdigest()[:16]
        classes = clean.classes * (1 + self.slots)
        return replace(clean, train=Examples(**made), classes=classes, digest=f"{clean.digest}-graded-{told}")

    def _chosen(self, examples: int) -> tuple[Tensor, Tensor]:
        """Rows to degrade ``[n]``, and how far each goes as a part of the largest strength, in (0, 1]: float64 ``[n]``."""
        draw = generator(self.draw, "graded")
        rows = torch.randperm(examples, generator=draw)[: round(self.share * examples)]
        if self.levels is None:
            return rows, 1 - torch.rand(len(rows), dtype=torch.float64, generator=draw)
        return rows, (1 + torch.arange(len(rows)) % self.levels).double() / self.levels

    def _worse(self, before: dict[str, Tensor], rows: Tensor, height: Tensor, classes: int) -> dict[str, Tensor]:
        """What becomes of these rows: of inputs, targets and quality those that change."""
        worse = {"quality": before["quality"][rows]}
        for kind, most in self.kinds.items():
            name, strength, draw = PARTS[kind], most * height, generator(self.draw, "graded", kind)
            part = worse.get(name, before[name][rows])
            if kind == "label":
                worse[name] = labels_replaced(part, strength, classes, self.slots, draw)
            else:
                worse[name] = INPUTS[kind].way(part, strength, before[name], draw)
            worse["quality"] = worse["quality"] * left(strength, MOST[kind]).float()
        return worse


def _kinds(given: object, data: Data) -> list[str]:
    """``given`` as a list of kinds that can be done to the data."""
    kinds = [given] if isinstance(given, str) else given
    words = isinstance(kinds, list) and kinds and all(isinstance(kind, str) for kind in kinds)
    require(words and len(set(kinds)) == len(kinds), "environment.kinds", given, f"different ones of {', '.join(MOST)}")
    inputs = data.train.inputs
    for kind in kinds:
        one_of("environment.kinds", kind, tuple(MOST))
        if kind != "label" and not INPUTS[kind].serves(inputs):
            there = f"examples of {data.name} are {inputs.dtype} of shape {list(inputs.shape[1:])}"
            raise invalid("environment.kinds", kind, f"{_serving(inputs)}: it is for {INPUTS[kind].needs}, and {there}")
    return kinds


def _serving(inputs: Tensor) -> str:
    return " or ".join(["label", *(kind for kind, made in INPUTS.items() if made.serves(inputs))])


def _strengths(kinds: list[str], given: object) -> dict[str, float]:
    """The largest strength of each kind."""
    listed = numbers(given if isinstance(given, list) else [given] * len(kinds))
    if listed is None or len(listed) != len(kinds):
        raise invalid("environment.strength", given, f"a number from 0 on, or a list of one for each of {', '.join(kinds)}")
    return {kind: finite("environment.strength", n, 0, MOST[kind]) for kind, n in zip(kinds, listed, strict=True)}


def _slots(stream: Stream) -> int:
    """How many wrong labels a class needs, so that each of them can be another answer of its task, all alike."""
    return math.lcm(*(max(1, len(task.labels[task.labels >= 0].unique()) - 1) for task in stream.tasks))


def _quality(data: Data) -> Tensor:
    """float ``[N]``: the training examples' own, or 1."""
    own = data.train.quality
    if own is None:
        return torch.ones(len(data.train))
    if not ((own >= 0) & (own <= 1)).all():
        given = f"{data.name} (quality {own.min():g} to {own.max():g})"
        raise invalid("environment.base", given, "quality in [0, 1]: it is multiplied by what degradation leaves of it")
    return own
