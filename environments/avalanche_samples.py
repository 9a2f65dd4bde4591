"""An Avalanche dataset as rows of tensors: where each of its samples lies, what is done to it, reading every sample once.

An Avalanche dataset is a tree of subsets and concatenations with transforms at its nodes, over datasets that hold samples. The
same sample may be reached by many ways, in other experiences and in the benchmarks of other seeds: it is one row as long as it
comes from the same place in an equal dataset through equal transforms.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from environments.avalanche_transforms import (
    Step,
    Treatment,
    draws,
    flattened,
    fresh,
    named,
    require_tensor,
    through,
    treatment,
)
from lab.protocols import UserError

PROBED = 4
"""Samples on which it is found out what transforms do."""


@dataclass(frozen=True)
class Origin:
    """A dataset that holds samples, and what is done to the inputs and labels that come from it."""

    dataset: Any
    inputs: tuple[Step, ...]
    labels: tuple[Step, ...]


@dataclass(frozen=True)
class Addresses:
    """Where the samples of an Avalanche dataset lie, in its order."""

    origins: tuple[Origin, ...]
    number: np.ndarray
    """``[n]``: which origin."""
    index: np.ndarray
    """``[n]``: where in its dataset."""

    def parts(self) -> list[tuple[Origin, np.ndarray]]:
        """Origins in use, and the places ``[n]`` (bool) that are theirs."""
        chosen = [(origin, self.number == k) for k, origin in enumerate(self.origins)]
        return [(origin, here) for origin, here in chosen if here.any()]


def addresses(dataset: Any, group: str, key: str) -> Addresses:
    """Where the samples of an Avalanche dataset lie, seen through its transform group ``train`` or ``eval``."""
    places, number, index = _walk(dataset._flat_data, group, ())
    origins = [Origin(leaf, *(tuple(_all(chain, which, key)) for which in (0, 1))) for leaf, chain in places]
    return Addresses(tuple(origins), number, index)


def _all(chain: Sequence[Any], position: int, key: str) -> list[Step]:
    return [step for transform in chain for step in flattened(transform, position, key)]


def _walk(node: Any, group: str, later: tuple) -> tuple[list[tuple[Any, tuple]], np.ndarray, np.ndarray]:
    """The datasets below a node, each with the transforms on its way up; and of all the node's samples which and where."""
    from avalanche.benchmarks.utils.flat_data import FlatData

    if not isinstance(node, FlatData):
        return [(node, later)], np.zeros(len(node), np.int64), np.arange(len(node))
    own = [getattr(node, name, {group: None})[group] for name in ("_frozen_transform_groups", "_transform_groups")]
    chain = (*(transform for transform in own if transform is not None), *later)
    places, numbers, indices = [], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for child in node._datasets:
        below, number, index = _walk(child, group, chain)
        numbers.append(number + len(places))
        indices.append(index)
        places += below
    number, index = np.concatenate(numbers), np.concatenate(indices)
    if node._indices is not None:
        chosen = np.fromiter((int(i) for i in node._indices), np.int64, len(node._indices))
        number, index = number[chosen], index[chosen]
    return places, number, index


class Names:
    """Names of datasets and transforms: equal for equal content, in whatever objects; its own for what cannot be pickled."""

    def __init__(self):
        self.known: dict[int, tuple[Any, str]] = {}  # holds the objects too, so that no other one gets their identity

    def __call__(self, thing: Any) -> str:
        if id(thing) not in self.known:
            self.known[id(thing)] = (thing, _content(thing))
        return self.known[id(thing)][1]

    @contextmanager
    def borrowed(self) -> Iterator[None]:
        """Within it things are named that are let go of afterwards."""
        before = dict(self.known)
        yield
        self.known = before


class Samples:
    """The samples of one split, as rows: noted by :meth:`want`, read once by :meth:`read`, looked up by :meth:`rows`.

    Args:
        key: the configuration key and its value, for errors.
        training: whether random transforms may become the stream's augmentation.
    """

    def __init__(self, key: str, training: bool, names: Names):
        self.key, self.training, self.names = key, training, names
        self.views = True
        """Whether moved pixels are left to a view."""
        self.wanted: dict[tuple, tuple[Origin, list[np.ndarray]]] = {}
        self.found: dict[tuple, Treatment] = {}
        self.row: dict[tuple, np.ndarray] = {}

    def treatment(self, origin: Origin) -> Treatment:
        """What becomes of an origin's transforms."""
        key = (self.names(origin.dataset), *map(self.names, origin.inputs))
        if key not in self.found:
            count = len(origin.dataset)
            samples = [self._input(origin.dataset, i) for i in range(0, count, -(-count // PROBED))]
            self.found[key] = treatment(origin.inputs, samples, self.key, self.training)
        return self.found[key]

    def _input(self, dataset: Any, index: int) -> Any:
        """A sample's input as the dataset gives it, which must be always the same."""
        if draws(lambda i: dataset[i][0], index):
            own = getattr(dataset, "transform", None)
            what = f"its own transform {named(own)} is random" if own is not None else "it is random"
            raise UserError(
                f"{self.key}: {type(dataset).__name__} gives another input each time ({what}), and samples are read once; "
                "give random transforms to the benchmark, as its train_transform, instead"
            )
        return fresh(dataset[index][0])

    def want(self, place: Addresses) -> None:
        """Note that these are to be read."""
        for origin, here in place.parts():
            self.wanted.setdefault(self._part(origin), (origin, []))[1].append(place.index[here])

    def _part(self, origin: Origin) -> tuple:
        return (self.names(origin.dataset), *map(self.names, self._steps(origin)))

    def _steps(self, origin: Origin) -> tuple[Step, ...]:
        found = self.treatment(origin)
        return found.steps if self.views else found.baked

    def read(self) -> tuple[Tensor, Tensor]:
        """Inputs ``[N, ...]`` (float32, uint8 or int64) and labels ``[N]`` as the datasets hold them, of all wanted samples."""
        todo = []
        for part, (origin, indices) in self.wanted.items():
            index = np.unique(np.concatenate(indices))
            self.row[part] = np.full(len(origin.dataset), -1)
            self.row[part][index] = np.arange(len(todo), len(todo) + len(index))
            todo += [(origin.dataset, self._steps(origin), int(i)) for i in index]
        inputs, labels = None, torch.empty(len(todo), dtype=torch.int64)
        for row, (dataset, steps, i) in enumerate(todo):
            sample = dataset[i]
            image = self._tensor(through(steps, sample[0]))
            if inputs is None:
                inputs = torch.empty(len(todo), *image.shape, dtype=image.dtype)
            if (image.shape, image.dtype) != (inputs.shape[1:], inputs.dtype):
                kinds = [f"{x.dtype} of shape {list(x.shape)}" for x in (inputs[0], image)]
                raise UserError(f"{self.key}: samples are {kinds[0]} and {kinds[1]}; expected all alike, e.g. by a Resize")
            inputs[row], labels[row] = image, whole_label(sample[1], self.key)
        if inputs.is_floating_point() and not inputs.isfinite().all():
            raise UserError(f"{self.key}: samples hold NaN or infinite values")
        return inputs, labels

    def _tensor(self, image: Any) -> Tensor:
        if isinstance(image, np.ndarray):
            image = torch.from_numpy(image)
        require_tensor(image, self.key)
        if image.dtype == torch.uint8 or not (image.is_floating_point() or image.dtype == torch.bool):
            return image if image.dtype == torch.uint8 else image.long()
        return image.float()

    def rows(self, place: Addresses) -> Tensor:
        """Rows ``[n]`` of what was read.

        Raises:
            UserError: some were not wanted before reading.
        """
        rows = np.full(len(place.index), -1)
        for origin, here in place.parts():
            known = self.row.get(self._part(origin))
            if known is not None and len(known) == len(origin.dataset):
                rows[here] = known[place.index[here]]
        if (rows < 0).any():
            raise self.other_seed()
        return torch.from_numpy(rows)

    def other_seed(self) -> UserError:
        """The error for the benchmark of another seed than 0 that has other samples."""
        return UserError(
            f"{self.key}: the benchmark of another seed has samples, transforms or labels that seed 0's does not have, and "
            "samples are read once, for all members; environment.shared=true gives all of them the benchmark of seed 0"
        )


def answers(place: Addresses, labels: Tensor, key: str) -> Tensor:
    """The labels ``[n]`` that an experience gives samples whose datasets hold ``labels`` ``[n]`` for them."""
    given = labels.clone()
    for origin, here in place.parts():
        here = torch.from_numpy(here)
        for label in labels[here].unique():
            given[here & (labels == label)] = whole_label(through(origin.labels, int(label)), key)
    if (given < 0).any():
        raise UserError(f"{key}: a sample's label is {int(given.min())}; expected 0 or above")
    return given


def whole_label(label: Any, key: str) -> int:
    """A label as a whole number."""
    number = np.asarray(label)
    if number.ndim or number.dtype.kind not in "iub":
        raise UserError(f"{key}: a sample's label is {label!r}; expected one whole number")
    return int(number)


def _content(thing: Any) -> str:
    total = _Hash()
    try:
        _Pickler(total).dump(thing)
    except (pickle.PicklingError, TypeError, AttributeError):
        return f"{type(thing).__qualname__} {id(thing)}"
    return total.hash.hexdigest()


class _Hash:
    """A file that remembers the hash of what is written alone."""

    def __init__(self):
        self.hash = hashlib.blake2b(digest_size=16)

    def write(self, piece: Any) -> None:
        self.hash.update(piece)


class _Pickler(pickle.Pickler):
    """Tensors by their content: as torch pickles them, equal ones differ."""

    def persistent_id(self, thing: Any) -> tuple | None:
        if not isinstance(thing, Tensor):
            return None
        content = thing.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return str(thing.dtype), tuple(thing.shape), hashlib.blake2b(content.data).hexdigest()
