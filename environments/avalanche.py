"""Any benchmark of Avalanche as an environment (Lomonaco et al. 2021, arXiv 2104.00405; Carta et al. 2023, arXiv 2302.01766).

A classic by its name, or your own factory (:mod:`environments.avalanche_benchmarks`). Samples are read once, for all members
(:mod:`environments.avalanche_samples`), with their transforms (:mod:`environments.avalanche_transforms`). An experience is a
task; labels are Avalanche's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from environments.avalanche_benchmarks import Experience, Factory, experiences
from environments.avalanche_samples import Names, Samples, answers
from environments.avalanche_transforms import Augment, Treatment, rearranged, seeded
from environments.sources.common import digest
from environments.tasks import SHARED, hold_out, switch
from lab.protocols import SCENARIOS, Data, Examples, Stream, Task, UserError, fraction, invalid, one_of, phase_per_task

SPLIT = {"train": "train", "validation": "train", "test": "test"}
"""The split of the data that rows of a use belong to."""


@dataclass(frozen=True)
class Met:
    """An experience as rows of the data, by their use (``train``, ``test``, perhaps ``validation``)."""

    rows: dict[str, Tensor]
    answers: dict[str, Tensor]
    """int64 ``[n]``: the label of each row in this experience."""
    label: int | None
    """The task label."""
    order: Tensor | None
    """int64 ``[D]``: where each pixel comes from, for the stream's view."""


class Avalanche:
    """The experiences of an Avalanche benchmark as tasks.

    Args:
        benchmark: the name of a classic of `avalanche.benchmarks`, or a factory: a function that makes a benchmark.
        source: data for factories that take ``train_dataset`` and ``test_dataset``; null: scikit-learn's digits.
        tasks: what the factory is told as ``n_experiences``; null: its default, 5 where it has none.
        options: further arguments of the factory. With ``seed`` among them all members meet one stream.
        scenario: ``class``, ``task`` or ``domain``; null: ``task`` where experiences have different task labels, ``domain``
            where all have the same classes, otherwise ``class``.
        validation: the share of each experience's training samples that is held out. A stream `valid` of the benchmark's own
            is held out anyway.
        shared: the benchmark of seed 0 for all members; otherwise a factory that takes ``seed`` is given each member's.
        dir: where classics find their data (``dataset_root``).
        download: whether they may fetch them.
    """

    factories: ClassVar[tuple[str, ...]] = ("benchmark",)

    def __init__(
        self,
        benchmark: str | Callable[..., Any],
        source: Data | None = None,
        tasks: int | None = None,
        options: dict[str, Any] | None = None,
        scenario: str | None = None,
        validation: float = 0.0,
        shared: bool = False,
        dir: str | None = None,
        download: bool = False,
    ):
        self.validation, self.shared = fraction("environment.validation", validation), switch("environment.shared", shared)
        if scenario is not None:
            one_of("environment.scenario", scenario, SCENARIOS)
        self.factory = Factory(benchmark, source, tasks, options or {}, dir, download)
        self.key, self.names = self.factory.key, Names()
        self.samples = {split: Samples(self.key, split == "train", self.names) for split in ("train", "test")}
        with seeded(SHARED):
            first = experiences(self.factory(SHARED), self.key)
            if validation and first[0].validation is not None:
                raise invalid("environment.validation", validation, f"0, since {self.factory.name} has a stream `valid` for it")
            self._settle_transforms(first)
            inputs, labels = self._read(first)
        self._met = {SHARED: [self._as_rows(experience, labels) for experience in first]}
        self._labels = labels
        self.data = self._as_data(inputs)
        self.scenario = scenario or found_scenario(self._met[SHARED])

    def stream(self, seed: int) -> Stream:
        met = self._of_seed(SHARED if self.shared or not self.factory.seeded else seed)
        classes = [self._answers_by_class(m) for m in met]
        units, outputs = units_of(classes, [m.label for m in met], self.scenario, self.key)
        tasks = tuple(self._task(t, m, own, seed) for t, (m, own) in enumerate(zip(met, units, strict=True)))
        return Stream(tasks, phase_per_task(tasks), self.scenario, outputs, self.view, self.augment)

    def _task(self, number: int, met: Met, units: dict[int, int], seed: int) -> Task:
        labels = torch.full((self.data.classes,), -1)
        labels[list(units)] = torch.tensor(list(units.values()))
        train, held = met.rows["train"], met.rows.get("validation", torch.empty(0, dtype=torch.int64))
        if self.validation:
            kept, held = hold_out(train.unique(), self.validation, seed, number)
            train = train[torch.isin(train, kept)]
        still = torch.arange(self.data.train.inputs[0].numel())
        order = None if self.view is None else still if met.order is None else met.order
        return Task(train, met.rows["test"], labels, held, order)

    # --- reading ------------------------------------------------------------------------------------------------------

    def _treatments(self, experience: Experience) -> list[Treatment]:
        places = experience.places().items()
        return [self.samples[SPLIT[use]].treatment(origin) for use, place in places for origin, _ in place.parts()]

    def _settle_transforms(self, first: list[Experience]) -> None:
        """Find the augmentation, and whether moved pixels can be left to a view: each task moves them in one way."""
        found = [self._treatments(experience) for experience in first]
        self._augment = one_augment([t for task in found for t in task], self.key)
        gaps = {t.fill for task in found for t in task if t.gaps}
        views = len(gaps) <= 1 and all(alike([t.order for t in task]) for task in found)
        for samples in self.samples.values():
            samples.views = views and any(t.order is not None for task in found for t in task)
        self._gap = min(gaps, default=0.0)

    def _read(self, first: list[Experience]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Inputs and labels of both splits; images of 256 steps in [0, 1] are kept as bytes."""
        for experience in first:
            for use, place in experience.places().items():
                self.samples[SPLIT[use]].want(place)
        read = {split: samples.read() for split, samples in self.samples.items()}
        inputs, labels = ({split: pair[part] for split, pair in read.items()} for part in (0, 1))
        kinds = [f"{x.dtype} of shape {list(x.shape[1:])}" for x in inputs.values()]
        if kinds[0] != kinds[1]:
            raise UserError(f"{self.key}: training samples are {kinds[0]}, test samples {kinds[1]}; they must agree")
        bytes_ = all(map(are_bytes, inputs.values()))
        if bytes_:
            inputs = {split: (x * 255).round_().to(torch.uint8) for split, x in inputs.items()}
        self.view = partial(rearranged, fill=round(self._gap * 255) if bytes_ else self._gap) if self._views else None
        self.augment = self._augment.function(255 if bytes_ else 1) if self._augment else None
        return inputs, labels

    @property
    def _views(self) -> bool:
        return self.samples["train"].views

    def _as_rows(self, experience: Experience, labels: dict[str, Tensor]) -> Met:
        """An experience as rows; of the test samples of all tasks, those whose labels it trains on."""
        rows = {use: self.samples[SPLIT[use]].rows(place) for use, place in experience.places().items()}
        given = {use: answers(place, labels[SPLIT[use]][rows[use]], self.key) for use, place in experience.places().items()}
        if experience.whole_test:
            own = torch.isin(given["test"], torch.cat([part for use, part in given.items() if use != "test"]))
            rows["test"], given["test"] = rows["test"][own], given["test"][own]
        return Met(rows, given, experience.label, self._order(experience))

    def _order(self, experience: Experience) -> Tensor | None:
        """How an experience moves its pixels, where that is left to the view."""
        found = self._treatments(experience)
        fits = alike([t.order for t in found]) and all(t.fill == self._gap for t in found if t.gaps)
        if one_augment(found, self.key) != self._augment or (self._views and not fits):
            raise self.samples["train"].other_seed()
        return found[0].order if self._views else None

    def _of_seed(self, seed: int) -> list[Met]:
        """The benchmark of a seed, as rows of the data."""
        if seed not in self._met:
            with seeded(seed), self.names.borrowed():
                made = experiences(self.factory(seed), self.key)
                self._met[seed] = [self._as_rows(experience, self._labels) for experience in made]
        return self._met[seed]

    def _as_data(self, inputs: dict[str, Tensor]) -> Data:
        names = class_names(self._met[SHARED], self._labels, self.key)
        known = torch.cat([*names.values()]).unique()
        targets = {split: torch.searchsorted(known, own) for split, own in names.items()}
        arrays = {f"{part}_{split}": x[split].numpy() for part, x in (("x", inputs), ("y", targets)) for split in x}
        made = {split: Examples(inputs[split], targets[split]) for split in inputs}
        return Data(self.factory.data_name, made["train"], made["test"], len(known), digest(arrays))

    def _answers_by_class(self, met: Met) -> dict[int, int]:
        """The label that each class of the data has in an experience."""
        classes = {use: getattr(self.data, SPLIT[use]).targets[rows] for use, rows in met.rows.items()}
        pairs = _pairs(classes, met.answers)
        if len(pairs[:, 0].unique()) < len(pairs):
            raise self.samples["train"].other_seed()
        return dict(pairs.tolist())


def found_scenario(met: list[Met]) -> str:
    """What the task labels and the labels of the experiences make of a benchmark."""
    if len({experience.label for experience in met}) > 1:
        return "task"
    return "domain" if len(met) > 1 and _same(_labels_of(met)) else "class"


def _labels_of(met: list[Met]) -> list[set[int]]:
    return [set(torch.cat([*experience.answers.values()]).unique().tolist()) for experience in met]


def units_of(
    answers: list[dict[int, int]], labels: list[int | None], scenario: str, key: str
) -> tuple[list[dict[int, int]], int]:
    """Each experience's output unit for each class, and how many units there are.

    A label is the number of its unit, except: ``domain``, where experiences have different labels: its place among them.
    ``task``, where labels occur in several experiences, and ``class``, where all experiences have all of them: units of their
    own for each task label or experience.

    Args:
        answers: the label of each class, for each experience.
        labels: their task labels.
    """
    found = [set(own.values()) for own in answers]
    repeated = sum(map(len, found)) > len(set().union(*found))
    if scenario == "domain" and not _same(found):
        sizes = sorted({len(own) for own in found})
        if len(sizes) > 1:
            given = f"experiences have from {sizes[0]} to {sizes[-1]} classes"
            raise UserError(f"environment.scenario=domain: {given} in {key}; expected equally many, or class or task")
        numbers = [{label: place for place, label in enumerate(sorted(own))} for own in found]
    elif (scenario == "task" and repeated) or (scenario == "class" and _same(found) and len(found) > 1):
        blocks = [t if label is None or scenario == "class" else label for t, label in enumerate(labels)]
        blocks = list(range(len(found))) if len(set(blocks)) == 1 else blocks
        numbers = _blocks(found, blocks)
    else:
        numbers = [{label: label for label in own} for own in found]
    units = [{c: number[label] for c, label in own.items()} for own, number in zip(answers, numbers, strict=True)]
    return units, 1 + max(max(own.values()) for own in units)


def _blocks(found: list[set[int]], blocks: list[int]) -> list[dict[int, int]]:
    """For each experience the units of its labels: those of one block share them, another block's come after."""
    numbers: dict[tuple[int, int], int] = {}
    for block in dict.fromkeys(blocks):
        for label in sorted(set().union(*(own for own, of in zip(found, blocks, strict=True) if of == block))):
            numbers[block, label] = len(numbers)
    return [{label: numbers[block, label] for label in own} for own, block in zip(found, blocks, strict=True)]


def class_names(met: list[Met], labels: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    """What tells the classes of the data apart, ``[N]`` by split: the labels that datasets hold. Where an experience mixes
    datasets that use the same labels for different things, the labels that it gives."""
    held = [{use: labels[SPLIT[use]][rows] for use, rows in experience.rows.items()} for experience in met]
    pairs = [_pairs(own, experience.answers) for own, experience in zip(held, met, strict=True)]
    if all(len(pair[:, 0].unique()) == len(pair) for pair in pairs):
        return labels
    names = {split: torch.full_like(own, -1) for split, own in labels.items()}
    for experience in met:
        for use, rows in experience.rows.items():
            before, given = names[SPLIT[use]][rows], experience.answers[use]
            if ((before >= 0) & (before != given)).any():
                raise UserError(f"{key}: experiences label the same sample differently, and not class by class")
            names[SPLIT[use]][rows] = given
    return {split: own.clamp(min=0) for split, own in names.items()}


def _pairs(one: dict[str, Tensor], other: dict[str, Tensor]) -> Tensor:
    """The pairs ``[n, 2]`` of values that there are at the same places."""
    return torch.stack([torch.cat([*part.values()]) for part in (one, other)], 1).unique(dim=0)


def one_augment(found: list[Treatment], key: str) -> Augment | None:
    """The augmentation that all training samples have."""
    augments = list(dict.fromkeys(t.augment for t in found if t.training))
    if len(augments) > 1:
        raise UserError(f"{key}: experiences differ in their random transforms; expected the same for all training samples")
    return augments[0]


def alike(orders: list[Tensor | None]) -> bool:
    """Whether pixels are moved in one way."""
    first = orders[0]
    return all(order is first or (order is not None and first is not None and torch.equal(order, first)) for order in orders)


def are_bytes(inputs: Tensor) -> bool:
    """Whether these are images of 256 steps in [0, 1], as ToTensor makes them."""
    if inputs.dim() != 4 or not inputs.is_floating_point():
        return False
    bytes_ = (inputs * 255).round()
    return bool((bytes_ / 255 == inputs).all() and (bytes_ >= 0).all() and (bytes_ <= 255).all())


def _same(sets: list[set[int]]) -> bool:
    return all(own == sets[0] for own in sets)
