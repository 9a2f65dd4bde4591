"""Any strategy of Avalanche, by Avalanche's own loop.

Lomonaco et al. 2021, arXiv 2104.00405; Carta et al. 2023, arXiv 2302.01766.

A second engine for our environments. Members are trained one after the other; network, initialisation, data, order of samples,
optimiser and budget are those that our own loop would have, so that Avalanche's ``Naive`` and our ``naive`` agree to rounding.
What is measured is what the strategy answers in its evaluation mode, by our rules.

What differs from Avalanche run by itself: batches come in the member's order where the data are the phase's, and in an order
drawn from its seed where a strategy trains on other data (what comes from a memory keeps Avalanche's way). In the scenario
`task` the network is told the task and answers with its output units alone; elsewhere all task labels are 0. The optimiser is
never reset but by strategies that do so.
"""

from __future__ import annotations

import difflib
import inspect
import io
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar, get_args, get_origin

import torch
from torch import nn

from lab.protocols import (
    Data,
    Engine,
    Phase,
    Stream,
    UserError,
    invalid,
    number,
    one_of,
    require,
    strength,
    whole,
)
from strategies.avalanche_loop import Experience, Watch, classes_of, dataset_of, scores_of
from strategies.avalanche_ways import WAYS, Way

if TYPE_CHECKING:
    from lab.protocols import Member

OURS = (
    "self", "model", "slda_model", "feature_extractor", "classifier", "optimizer", "criterion", "train_mb_size", "train_epochs",
    "eval_mb_size", "device", "plugins", "evaluator", "eval_every", "peval_mode", "kwargs", "base_kwargs", "buffer_transform",
    "augmentations", "generator_strategy", "input_size", "num_classes", "n_classes", "p_size", "last_layer_name",
    "output_layer_name", "cwr_layer_name",
)  # fmt: skip
"""Arguments of constructors that are not options: what they say is known."""

WHOSE = ("avalanche", "lab", "strategies")
"""Packages whose mistake an error may be."""

REFUSED = {
    "AETraining": "it trains an autoencoder, which answers with no class",
    "AR1": "it trains a MobileNet of its own on images of 128x128",
    "ExpertGateStrategy": "its experts are pretrained AlexNets, not this network",
    "LearningToPrompt": "it prompts a pretrained vision transformer, not this network",
    "OnlineNaive": "Avalanche gave it up; it is name=Naive experiences=batch",
    "PNNStrategy": "it grows a network of its own, a column for each task",
    "VAETraining": "it trains an autoencoder, which answers with no class",
}


class Avalanche(Engine):
    """Avalanche's strategies on our environments.

    Args:
        name: the class in `avalanche.training.supervised`.
        options: of its constructor; model, optimiser, loss and budget are given by the rest of the configuration.
        experiences: ``phase``: a phase of the stream is an experience; ``batch``: every batch is one, Avalanche's online
            setting, which also serves streams that announce no boundaries.
    """

    packages: ClassVar[tuple[str, ...]] = ("avalanche-lib",)
    needs_classes = True

    def __init__(self, name: str = "Naive", options: dict[str, Any] | None = None, experiences: str = "phase"):
        self.name, self.kind = name, kind_of(name)
        self.way = WAYS.get(name, Way())
        self.options = _checked(name, self.kind, {} if options is None else options)
        one_of("strategy.avalanche.experiences", experiences, ("phase", "batch"))
        if experiences not in self.way.experiences:
            why = "trains on one batch of each" if experiences == "phase" else "is made for whole phases"
            raise invalid("strategy.avalanche.experiences", experiences, f"{self.way.experiences[0]}: {name} {why}")
        self.scenarios, self.experiences = self.way.scenarios, experiences

    @property
    def title(self) -> str:
        return f"Avalanche's {self.name}"

    def announcement(self, members: int, parameters: int, size: int = 4) -> str | None:
        if self.name == "SynapticIntelligence" and not torch.cuda.is_available():
            return "Avalanche's SynapticIntelligence does nothing on a CPU: its copies of the weights are views of them"
        return None

    def refuse(self, config: dict[str, Any]) -> None:
        key = f"strategy.avalanche.name={self.name}"
        possible = ("all", "seen") if self.way.masks else ("all",)
        require(config["outputs"] in possible, "outputs", config["outputs"], f"{' or '.join(possible)}: {key} serves no other")
        every, steps = config["evaluation"]["every"], config["steps"]
        if every and self.way.curves:
            raise invalid("evaluation.every", every, f"null: {key} {self.way.curves}")
        if every and self.way.own_data and (steps is None or self.experiences == "batch"):
            told = "trains on data of its own, with epochs of other lengths"
            raise invalid("evaluation.every", every, f"null, or steps=...: {key} {told}")

    def check(self, stream: Stream, data: Data) -> None:
        if self.experiences == "phase" and not all(phase.announced for phase in stream.phases):
            told = "Avalanche's strategies are told of every experience, and this environment announces no boundaries"
            remedy = "; expected batch" if "batch" in self.way.experiences else f"; {self.name} can do no other"
            raise UserError(f"strategy.avalanche.experiences=phase: {told}{remedy}")
        if self.rewrite(stream).prequential and self.way.own_data:
            told = "is tested on just before it is trained on, and this strategy trains on data of its own"
            raise UserError(f"strategy.avalanche.name={self.name}: this stream {told}")

    def rewrite(self, stream: Stream, data: Data | None = None, seed: int = 0) -> Stream:
        if self.name == "JointTraining":
            examples, tasks = (torch.cat([getattr(phase, what) for phase in stream.phases]) for what in ("examples", "tasks"))
            effort = sum(phase.effort for phase in stream.phases)
            stream = replace(stream, phases=(Phase(examples, tasks, stream.phases[-1].completes, effort=effort),))
        return replace(stream, prequential=False) if self.name in ("JointTraining", "Cumulative") else stream

    def try_out(self, member: Member) -> None:
        with _quiet(), self._in_words():
            self._strategy(member)

    def train(self, member: Member) -> None:
        with _quiet(), self._in_words():
            strategy = self._strategy(member)
            watch = Watch(member, in_order=self.experiences == "phase")
            strategy.plugins.insert(-1, watch)  # the last must be Avalanche's clock
            answer = partial(scores_of, strategy, self.way.answer, member.stream.outputs)
            member.start(answer, self.way.needs_task)
            classes, number = classes_of(member.stream), 0
            for phase in range(len(member.stream.phases)):
                watch.begin(phase)
                for dataset in self._datasets(member, phase, watch):
                    strategy.train(Experience(dataset, number, classes), eval_streams=[])
                    number += 1
                member.ended(strategy.model.parameters())

    def _strategy(self, member: Member) -> Any:
        """A new strategy of Avalanche's."""
        parts = self.way.parts(member, self.options)
        network = parts.get("model", member.network)
        common = {
            "optimizer": member.optimizer(network.parameters()),
            "criterion": nn.CrossEntropyLoss(),
            "train_mb_size": member.batch_size,
            "train_epochs": member.epochs if self.experiences == "phase" else 1,
            "eval_mb_size": member.batch_size,
            "device": member.device,
            "evaluator": None,
        }
        parameters = inspect.signature(self.kind.__init__).parameters
        if "criterion" in parameters and _has_default(parameters["criterion"]):
            del common["criterion"]
        return self.kind(**{key: value for key, value in common.items() if key in parameters} | parts | self.options)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """What Avalanche raises as an error that says whose it is; the lab's own mistakes as they are."""
        try:
            yield
        except Exception as error:
            place = _culprit(error)
            if isinstance(error, UserError) or not place:
                raise
            said = " ".join(str(error).split()) or "no more is said"
            where = f"{Path(place.filename).name}, line {place.lineno}"
            raise UserError(f"strategy.avalanche.name={self.name}: {type(error).__name__} in {where}: {said}") from error

    def _datasets(self, member: Member, phase: int, watch: Watch) -> Iterator[Any]:
        """What each experience of a phase holds."""
        watch.samples = member.samples(phase)
        dataset = dataset_of(member, watch.samples)
        if self.experiences == "phase":
            yield dataset
            return
        for epoch in range(member.epochs):
            for positions in member.batches(phase, epoch):
                watch.take(positions)
                yield dataset.subset(positions)


def _culprit(error: Exception) -> traceback.FrameSummary | None:
    """Where Avalanche, or what it called, failed; None where it was the lab, or what it called."""
    frames = traceback.extract_tb(error.__traceback__)
    roots = {name: str(Path(sys.modules[name].__file__).parent) for name in WHOSE if name in sys.modules}
    whose = [(name, frame) for frame in frames for name, root in roots.items() if frame.filename.startswith(root)]
    name, frame = whose[-1]
    return frame if name == "avalanche" else None


def kind_of(name: str) -> type:
    """The class of a strategy by its name.

    Raises:
        UserError: Avalanche is not there, it has no such strategy, or the lab cannot run it.
    """
    known = supervised()
    if name in REFUSED:
        raise UserError(f"strategy.avalanche.name={name}: cannot be run here: {REFUSED[name]}")
    if name not in known:
        raise UserError(
            f"strategy.avalanche.name={name}: Avalanche has no such strategy. {_nearest(name, list(known))}"
            f"It has {', '.join(known)}"
        )
    return known[name]


def supervised() -> dict[str, type]:
    """Avalanche's strategies that can be run, by name."""
    try:
        with _quiet():
            from avalanche.training import supervised as module
            from avalanche.training.templates.base import BaseTemplate
    except ImportError as error:
        raise UserError(
            f"strategy=avalanche: Avalanche cannot be imported ({error}); pip install avalanche-lib, and the torchvision that "
            "belongs to this torch"
        ) from None
    found = {name: value for name, value in vars(module).items() if inspect.isclass(value) and issubclass(value, BaseTemplate)}
    return {name: found[name] for name in sorted(found) if name not in REFUSED and not name.startswith("_")}


def _checked(name: str, kind: type, options: Any) -> dict[str, Any]:
    require(isinstance(options, dict), "strategy.avalanche.options", options, "a mapping, {mem_size: 500}")
    possible = {k: p for k, p in inspect.signature(kind.__init__).parameters.items() if k not in OURS}
    takes = f"it takes {', '.join(possible)}" if possible else "it takes none"
    for key in options:
        if key not in possible:
            near = _nearest(key, list(possible))
            told = f"Avalanche's {name} has no such option. {near}{takes.capitalize()}"
            raise UserError(f"strategy.avalanche.options.{key}: {told}")
    missing = [key for key, p in possible.items() if not _has_default(p) and key not in (*options, *DEFAULTS)]
    if missing:
        raise UserError(f"strategy.avalanche.options: Avalanche's {name} needs {', '.join(missing)}; {takes}")
    for key, given in options.items():
        _check_number(f"strategy.avalanche.options.{key}", given, possible[key])
    return {key: value for key, value in DEFAULTS.items() if key in possible} | options


def _check_number(key: str, given: Any, option: inspect.Parameter) -> None:
    """Refuse for an option that is a number, by its annotation or its default, what Avalanche would fail at in training, or
    train with: texts, numbers that are not finite, and negative ones, unless it has a negative default."""
    kinds = {option.annotation, *get_args(option.annotation)}
    default = option.default if type(option.default) in (int, float) else None
    if not kinds & {int, float} and default is None:
        return
    if given is None and (option.default is None or NoneType in kinds):
        return
    least = min(0, default or 0)
    if int in kinds and float not in kinds and not isinstance(default, float):
        whole(key, given, least)
    elif any(get_origin(kind) is Sequence for kind in kinds):
        strength(key, given, least)
    else:
        number(key, given, least)


DEFAULTS = {"fixed_memory": True}
"""Of options that Avalanche gives none: iCaRL's memory is divided by the classes seen, as in its paper."""


def _has_default(parameter: inspect.Parameter) -> bool:
    return parameter.default is not inspect.Parameter.empty


def _nearest(word: str, words: list[str]) -> str:
    close = difflib.get_close_matches(word, words, 1)
    return f"Did you mean {close[0]}? " if close else ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what Avalanche prints, and its own warnings."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.showwarning = lambda *_, **__: None  # its deprecations set filters of their own
        yield
