"""Making Avalanche's benchmarks: finding a factory, giving it its arguments, taking a benchmark apart into experiences."""

from __future__ import annotations

import difflib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from environments.avalanche_samples import Addresses, addresses
from environments.avalanche_transforms import seeded
from environments.sources.common import folder, wanted
from environments.sources.digits import digits
from environments.tasks import source_of
from lab.protocols import Data, Examples, UserError, invalid, require, whole

KEY = "environment.benchmark"
GENERATORS = ("nc_benchmark", "ni_benchmark", "class_incremental_benchmark", "new_instances_benchmark")
"""Avalanche's functions that make a benchmark of data sets; the data are those of `environment.source`."""
COUNT = 5
"""Experiences, where the factory must be told and the user does not say."""


def new_classes(train_dataset: Any, test_dataset: Any, n_experiences: int = COUNT, seed: int | None = None, **options: Any):
    """Avalanche's `nc_benchmark`: each experience brings some of the classes, in an order drawn from ``seed``."""
    from avalanche.benchmarks import nc_benchmark

    return nc_benchmark(train_dataset, test_dataset, n_experiences, options.pop("task_labels", False), seed=seed, **options)


class Factory:
    """What makes the benchmark of a seed; arguments as in :class:`environments.avalanche.Avalanche`."""

    def __init__(
        self,
        benchmark: str | Callable[..., Any],
        source: Data | None,
        tasks: int | None,
        options: dict[str, Any],
        dir: str | None,
        download: bool,
    ):
        library()
        self.make = _by_name(benchmark) if isinstance(benchmark, str) else benchmark
        require(callable(self.make), KEY, benchmark, "the name of a classic, or _target_, your own factory")
        self.name = getattr(getattr(self.make, "func", self.make), "__name__", type(self.make).__name__)
        self.key, self.root, self.download = f"{KEY}={self.name}", folder("data.dir", dir), wanted(download)
        self.parameters = inspect.signature(self.make).parameters
        self.given = getattr(self.make, "keywords", {}) | options
        self.arguments = {**self._datasets(source), **self._count(tasks), **self._places(), **options}
        self.data_name = (source.name if source else "digits") if self._free("train_dataset", "datasets_dict") else self.name
        self.seeded = bool(self._free("seed")) and "class_order" not in self.given
        try:
            inspect.signature(self.make).bind(**self.arguments, **self._seeds(0))
        except TypeError as error:
            raise UserError(f"{self.key}: {error}; it takes {', '.join(self.parameters)} (environment.options)") from None

    def __call__(self, seed: int) -> Any:
        """The benchmark of a seed, which is drawn from for whatever else is random in its making too."""
        with seeded(seed), redirect_stdout(sys.stderr), self._downloads():
            made = self._made(self._seeds(seed))
        if not hasattr(made, "streams"):
            raise invalid(
                KEY, self.name, f"a function that makes an Avalanche CLScenario; this one gives {type(made).__name__}"
            )
        return made

    def _made(self, seeds: dict[str, int]) -> Any:
        function = getattr(self.make, "func", self.make)
        theirs = getattr(function, "__module__", "").split(".")[0] not in ("avalanche", "environments")
        try:
            return self.make(**self.arguments, **seeds)
        except UserError:
            raise
        except Exception as error:
            said = (str(error) or type(error).__name__).splitlines()[0]
            if theirs:
                named = f"{KEY}._target_={function.__module__}.{self.name}"
                raise UserError(f"{named}: {type(error).__name__} in {_place(error, function)}: {said}") from error
            if isinstance(error, (ValueError, TypeError, AssertionError, RuntimeError, LookupError)):
                raise UserError(f"{self.key}: {said}") from None
            raise

    def _seeds(self, seed: int) -> dict[str, int]:
        return {"seed": seed % 2**32} if self.seeded else {}

    def _free(self, *names: str) -> list[str]:
        """Those of the parameters' names that the factory has and the user does not set."""
        return [name for name in names if name in self.parameters and name not in self.given]

    def _datasets(self, source: Data | None) -> dict[str, Any]:
        pair, both = self._free("train_dataset", "test_dataset"), self._free("datasets_dict")
        if not pair and not both:
            if source is not None:
                raise UserError(f"environment.source={source.name}: {self.name} brings its own data; leave the source out")
            return {}
        data = source_of(source or digits())
        require(data.train.targets.dim() == 1, "environment.source", data.name, "a source with one label an example")
        made = {split: _as_dataset(getattr(data, split)) for split in ("train", "test")}
        return {name: made[name.removesuffix("_dataset")] for name in pair} | {name: dict(made) for name in both}

    def _count(self, tasks: int | None) -> dict[str, int]:
        """How many experiences are to be made."""
        names = self._free("n_experiences", "num_experiences")
        if tasks is not None:
            expected = f"null, since {self.name} does not take a number of experiences (or options set it)"
            require(bool(names), "environment.tasks", tasks, expected)
            return {names[0]: whole("environment.tasks", tasks, 1)}
        return {name: COUNT for name in names if self.parameters[name].default is inspect.Parameter.empty}

    def _places(self) -> dict[str, str]:
        roots = [name for name in self.parameters if name.startswith("dataset_root")]
        return {name: str(self.root) for name in self._free(*roots)} if self.root else {}

    @contextmanager
    def _downloads(self) -> Iterator[None]:
        """Within it nothing is fetched unless the user says so; classics of Avalanche would do it unasked."""
        with ExitStack() as stack:
            if not self.download:
                names = ["urllib.request.urlopen", "urllib.request.urlretrieve"]
                for name in [*names, *(["gdown.download"] if "gdown" in sys.modules else [])]:
                    stack.enter_context(patch(name, self._missing))
            yield

    def _missing(self, *_: Any, **__: Any) -> None:
        place = self.root or "the folder where Avalanche keeps data (data.dir is not set)"
        raise UserError(
            f"{self.key}: its data are not in {place}, as torchvision or Avalanche lay them out; set data.dir (or LAB_DATA) to "
            "a folder that holds them so, or data.download=true; environment.benchmark=nc_benchmark takes the lab's sources"
        )


def _place(error: Exception, function: Callable[..., Any]) -> str:
    """Where in a function's own file it failed, or else where in what it called."""
    frames = traceback.extract_tb(error.__traceback__)
    own = getattr(getattr(function, "__code__", None), "co_filename", None)
    place = ([frame for frame in frames if frame.filename == own] or frames)[-1]
    return f"{Path(place.filename).name}, line {place.lineno}"


def library() -> ModuleType:
    """`avalanche.benchmarks`, imported when first asked for: it takes seconds."""
    try:
        import avalanche.benchmarks as benchmarks
    except ImportError as error:
        raise UserError(
            f"environment=avalanche: Avalanche cannot be imported ({error}); pip install avalanche-lib, which is the extra "
            "`avalanche` of this package"
        ) from None
    return benchmarks


def _by_name(name: str) -> Callable[..., Any]:
    benchmarks = library()
    classics = [
        key
        for key, value in vars(benchmarks).items()
        if inspect.isfunction(value) and value.__module__.startswith("avalanche.benchmarks.classic") and key[0].isupper()
    ]
    possible = {key.lower(): key for key in [*sorted(classics), *GENERATORS]}
    if name not in possible.values():
        close = difflib.get_close_matches(name.lower(), possible, 1)
        near = f"Did you mean {possible[close[0]]}? " if close else ""
        there = ", ".join(possible.values())
        raise UserError(f"{KEY}={name}: there is none. {near}Possible: {there}, or your own factory by {KEY}._target_")
    return partial(getattr(benchmarks, name), **({"task_labels": False} if name == "nc_benchmark" else {}))


class _Rows:
    """Examples of a source as a dataset that Avalanche takes: images as floats in [0, 1]."""

    def __init__(self, examples: Examples):
        self.inputs, self.targets = examples.inputs, examples.targets.tolist()

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        row = self.inputs[index]
        return (row / 255 if row.dtype == torch.uint8 else row), self.targets[index]


def _as_dataset(examples: Examples) -> Any:
    from avalanche.benchmarks.utils import as_classification_dataset

    return as_classification_dataset(_Rows(examples))


# --- taking apart -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Experience:
    """Where the samples of one task lie."""

    train: Addresses
    test: Addresses
    validation: Addresses | None
    label: int | None
    """The task label of its training samples, where there are such."""
    whole_test: bool
    """Whether the test samples are those of all tasks."""

    def places(self) -> dict[str, Addresses]:
        """By their use."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {use: place for use, place in named.items() if place is not None}


def experiences(benchmark: Any, key: str) -> list[Experience]:
    """A benchmark's experiences.

    Raises:
        UserError: for benchmarks that are no ordered tasks of samples with labels.
    """
    streams = {name: list(stream) for name, stream in benchmark.streams.items() if name in ("train", "valid", "test")}
    online = [name for name in benchmark.streams if name.endswith("_online")]
    if online or any(hasattr(experience, "subexp_size") for experience in streams.get("train", [])):
        raise UserError(
            f"{key}: its training stream is cut into pieces of an online stream; give the benchmark that it was made of, with "
            "environment=online environment.base=avalanche, and environment=blurry where tasks are to overlap"
        )
    for name in ("train", "test"):
        if not streams.get(name):
            there = ", ".join(benchmark.streams) or "none"
            raise UserError(f"{key}: has no experiences in a stream named {name}; its streams are {there}")
    count = len(streams["train"])
    for name in ("valid", "test"):
        if name in streams and len(streams[name]) not in ({count, 1} if name == "test" else {count}):
            given = f"{count} training experiences and {len(streams[name])} in the stream {name}"
            raise UserError(f"{key}: has {given}; expected one for each" + (", or one for all" if name == "test" else ""))
    parts = {name: [_addresses(e, name, key) for e in stream] for name, stream in streams.items()}
    common = len(parts["test"]) < count
    return [
        Experience(
            parts["train"][t],
            parts["test"][0 if common else t],
            parts["valid"][t] if "valid" in parts else None,
            _task_label(streams["train"][t].dataset, f"{key}: training experience {t}"),
            common,
        )
        for t in range(count)
    ]


def _addresses(experience: Any, name: str, key: str) -> Addresses:
    dataset = getattr(experience, "dataset", None)
    if not hasattr(dataset, "_flat_data"):
        raise UserError(f"{key}: an experience of the stream {name} has no dataset of samples; expected an AvalancheDataset")
    require(len(dataset) > 0, KEY, key.partition("=")[2], f"samples in every experience; one of the stream {name} has none")
    return addresses(dataset, "train" if name == "train" else "eval", key)


def _task_label(dataset: Any, what: str) -> int | None:
    labels = getattr(dataset, "targets_task_labels", None)
    if labels is None:
        return None
    found = sorted(map(int, labels.uniques))
    if len(found) > 1:
        raise UserError(f"{what} has samples of several task labels ({', '.join(map(str, found))}); expected one an experience")
    return found[0]
