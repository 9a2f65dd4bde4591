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
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from lab.protocols import SCENARIOS, Data, Engine, Phase, Stream, UserError, invalid, one_of, require

if TYPE_CHECKING:
    from lab.protocols import Member

MASKED = -1000.0
"""The logit of units that take no part: what Avalanche's own multi-head layers give."""

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


@dataclass(frozen=True)
class Way:
    """How a strategy is put together, and what it can serve, where it is not as most are."""

    parts: Callable[[Member, dict[str, Any]], dict[str, Any]] = lambda member, options: {"model": _model(member)}
    """What its constructor is told beside the common arguments and its options."""
    plain: bool = True
    """Whether any model does; otherwise the network itself is taken apart."""
    scenarios: tuple[str, ...] = SCENARIOS
    experiences: tuple[str, ...] = ("phase",)
    own_data: bool = False
    """Whether it trains on other data than the phase's, so that an epoch has another number of steps."""
    curves: str = ""
    """Why it cannot be measured inside a phase."""
    answer: Callable[[Any], Tensor] = lambda strategy: strategy.mb_output
    """The scores of what it was just shown, ``[B, C]``."""


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

    def announcement(self, members: int, parameters: int) -> str | None:
        if self.name == "SynapticIntelligence" and not torch.cuda.is_available():
            return "Avalanche's SynapticIntelligence does nothing on a CPU: its copies of the weights are views of them"
        return None

    def refuse(self, config: dict[str, Any]) -> None:
        key = f"strategy.avalanche.name={self.name}"
        possible = ("all", "seen") if self.way.plain else ("all",)
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
            member.start(partial(_scores, strategy, self.way.answer, member.stream.outputs))
            number = 0
            for phase in range(len(member.stream.phases)):
                watch.begin(phase)
                for experience in self._experiences_of(member, phase, watch, number):
                    strategy.train(experience, eval_streams=[])
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
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if {*Path(frame.filename).parts} & {*WHOSE}]
            place = frames[-1]
            if isinstance(error, UserError) or "avalanche" not in Path(place.filename).parts:
                raise
            said = " ".join(str(error).split()) or "no more is said"
            where = f"{Path(place.filename).name}, line {place.lineno}"
            raise UserError(f"strategy.avalanche.name={self.name}: {type(error).__name__} in {where}: {said}") from error

    def _experiences_of(self, member: Member, phase: int, watch: Watch, number: int) -> Iterator[Experience]:
        """A phase as Avalanche takes it; ``number`` experiences were met before."""
        samples = member.samples(phase)
        dataset = _dataset(member, samples)
        watch.samples = samples
        if self.experiences == "phase":
            yield Experience(dataset, number, _classes(member.stream))
            return
        for epoch in range(member.epochs):
            for positions in member.batches(phase, epoch):
                watch.take(positions)
                yield Experience(dataset.subset(positions), number, _classes(member.stream))
                number += 1


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
    return {key: value for key, value in DEFAULTS.items() if key in possible} | options


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


# --- data -------------------------------------------------------------------------------------------------------------


class Told:
    """An experience of which nothing but the task is told: what is answered is never seen."""

    def __init__(self, task: int):
        self.task_labels, self.task_label = [task], task

    def logging(self) -> Told:
        """As Avalanche's loggers are to see it."""
        return self


@dataclass
class Experience(Told):
    """As Avalanche's strategies read and write them."""

    dataset: Any
    current_experience: int
    classes: list[list[int]] = field(repr=False)
    """Of each phase."""

    def __post_init__(self):
        self.task_labels = sorted(self.dataset.targets_task_labels.uniques)
        self.task_label = self.task_labels[0]
        self.classes_in_this_experience = sorted(self.dataset.targets.uniques)
        self.origin_stream = SimpleNamespace(name="train")
        flat = [unit for units in self.classes for unit in units]
        self.benchmark = SimpleNamespace(n_classes_per_exp=[len(units) for units in self.classes], classes_order=flat)


def _classes(stream: Stream) -> list[list[int]]:
    """The output units that each phase's samples are answered with."""
    return [
        sorted({int(unit) for task in phase.tasks.unique() for unit in stream.tasks[task].labels if unit >= 0})
        for phase in stream.phases
    ]


def _dataset(member: Member, samples: Any) -> Any:
    """A phase's samples as Avalanche's; task labels are all 0 where the task is not told."""
    from avalanche.benchmarks.utils.classification_dataset import _make_taskaware_tensor_classification_dataset as make

    groups = None
    if member.stream.augment:
        groups = {"train": (member.shown, None), "eval": (partial(member.shown, augment=False), None)}
    told = samples.tasks.tolist() if member.stream.scenario == "task" else 0
    return make(samples.inputs, samples.targets, task_labels=told, transform_groups=groups)


class Batches:
    """A sampler of Avalanche's loaders: every time it is gone through, the member's next epoch."""

    def __init__(self, member: Member, phase: int, count: int, width: int, note: Callable[[list[int]], None]):
        self.batches, self.note, self.epoch = partial(member.batches, phase, count=count, width=width), note, 0

    def __len__(self) -> int:
        return len(self.batches(0))

    def __iter__(self) -> Iterator[list[int]]:
        self.epoch += 1
        for positions in self.batches(self.epoch - 1):
            self.note(positions)
            yield positions


class Watch:
    """A plugin of Avalanche's strategies: has samples come in the member's order, and tells the member of each step."""

    def __init__(self, member: Member, in_order: bool):
        self.member, self.in_order = member, in_order
        self.samples: Any = None
        self.positions: list[int] = []

    def begin(self, phase: int) -> None:
        self.phase = phase

    def before_training_exp(self, strategy: Any, **_options: Any) -> None:
        """Behind all plugins that put loaders of their own in place."""
        from avalanche.benchmarks.utils.data_loader import ReplayDataLoader

        loader = strategy.dataloader
        if not self.in_order:
            return
        theirs, made = loader._create_samplers, {}
        current = 1 if isinstance(loader, ReplayDataLoader) else len(loader.datasets)

        def samplers(datasets: list[Any], widths: list[int], *rest: Any) -> list[Any]:
            for number in range(current):
                if number not in made:
                    made[number] = Batches(self.member, self.phase, len(datasets[number]), widths[number], self.take)
            return [made.get(number, sampler) for number, sampler in enumerate(theirs(datasets, widths, *rest))]

        loader._create_samplers = samplers

    def before_training_iteration(self, strategy: Any, **_options: Any) -> None:
        self.member.meet(self.phase, self.positions, self.samples)

    def after_training_iteration(self, strategy: Any, **_options: Any) -> None:
        self.member.stepped(strategy.loss.detach())

    def take(self, positions: list[int]) -> None:
        """These are the next batch."""
        self.positions = positions
        self.member.sampled += len(positions)


def _scores(strategy: Any, answer: Callable[[Any], Tensor], outputs: int, inputs: Tensor, task: int | None) -> Tensor:
    """What a strategy answers in its evaluation mode, ``[B, C]``; the strategy is left as it was."""
    label = 0 if task is None else task
    kept = {name: getattr(strategy, name) for name in ("is_training", "experience", "mbatch", "mb_output")}
    modes = [(module, module.training) for module in strategy.model.modules()]
    labels = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
    try:
        strategy.model.eval()
        strategy.model.open = True
        strategy.is_training, strategy.experience = False, Told(label)
        strategy.mbatch = [inputs, labels, labels + label]
        strategy._before_eval_forward()
        strategy.mb_output = strategy.forward()
        strategy._after_eval_forward()
        scores = answer(strategy)
    finally:
        strategy.model.open = False
        for module, mode in modes:
            module.training = mode
        for name, value in kept.items():
            setattr(strategy, name, value)
    missing = outputs - scores.shape[1]
    return nn.functional.pad(scores, (0, missing), value=-torch.inf) if missing else scores


# --- models -----------------------------------------------------------------------------------------------------------


def _model(member: Member) -> nn.Module:
    """The network; masked, where not all units take part in training."""
    scenario = member.stream.scenario
    if scenario == "task":
        return _heads(member.network, torch.stack([member.units(task) for task in range(len(member.stream.tasks))]))
    return _seen(member.network, member.stream.outputs) if scenario == "class" and member.outputs == "seen" else member.network


def _heads(network: nn.Module, units: Tensor) -> nn.Module:
    """A network that is told the task and answers with its units ``[T, C]``; when ``open``, with all."""
    from avalanche.models import MultiTaskModule

    class Heads(MultiTaskModule):
        def __init__(self):
            super().__init__()
            self.network, self.open = network, False
            self.register_buffer("units", units)

        def forward(self, x: Tensor, task_labels: Tensor | int | None) -> Tensor | dict[int, Tensor]:
            if task_labels is None:
                return self.forward_all_tasks(x)
            logits = self.network(x)
            return logits if self.open else logits.masked_fill(~self.units[task_labels], MASKED)

        def forward_single_task(self, x: Tensor, task_label: int) -> Tensor:
            return self.forward(x, task_label)

    return Heads()


def _wrapped(network: nn.Module) -> nn.Module:
    """A network as a module of a class of its own."""

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Tensor:
            return self.network(x)

    return Wrapped()


def _seen(network: nn.Module, outputs: int) -> nn.Module:
    """A network that answers with the units of the experiences so far; when ``open``, with all."""
    from avalanche.models import DynamicModule

    class Seen(DynamicModule):
        def __init__(self):
            super().__init__()
            self.network, self.open = network, False
            self.register_buffer("units", torch.zeros(outputs, dtype=torch.bool))

        def adaptation(self, experience: Experience) -> None:
            self.units[experience.classes_in_this_experience] = True

        def forward(self, x: Tensor) -> Tensor:
            logits = self.network(x)
            return logits if self.open else logits.masked_fill(~self.units, MASKED)

    return Seen()


# --- strategies that are not put together as most are -----------------------------------------------------------------


def _bic(member: Member, options: dict[str, Any]) -> dict[str, Any]:
    """Avalanche 0.6 tells torch's scheduler whether to be verbose, which newer ones do not take."""
    from avalanche.training.plugins import bic
    from torch.optim.lr_scheduler import MultiStepLR

    bic.MultiStepLR = lambda *given, verbose=False, **rest: MultiStepLR(*given, **rest)
    return {"model": member.network}


def _er_aml(member: Member, options: dict[str, Any]) -> dict[str, Any]:
    """A class of which there is no whole batch in memory would have it wait forever."""
    most = min(options.get("mem_size", 200) // member.stream.outputs, _rarest(member))
    wanted = f"at most {most}: ER_AML draws whole batches of each class from memory (mem_size / classes), and from its samples"
    require(member.batch_size <= most, "batch_size", member.batch_size, wanted)
    return {"model": member.network, "feature_extractor": member.features()}


def _rarest(member: Member) -> int:
    """Samples of the class that a phase has fewest of."""
    targets = [member.samples(phase).targets for phase in range(len(member.stream.phases))]
    return min(int(torch.unique(each, return_counts=True)[1].min()) for each in targets)


def _icarl(member: Member, options: dict[str, Any]) -> dict[str, Any]:
    return {"feature_extractor": member.features(), "classifier": member.network.head, "buffer_transform": None}


def _slda(member: Member, options: dict[str, Any]) -> dict[str, Any]:
    return {"slda_model": member.features(), "input_size": _width(member), "num_classes": member.stream.outputs}


def _scr(member: Member, options: dict[str, Any]) -> dict[str, Any]:
    """The projection of the paper: a hidden layer of the features' width, and 128 outputs."""
    from avalanche.models import SCRModel

    width = _width(member)
    projection = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 128))
    return {"model": SCRModel(member.features(), projection).to(member.device)}


def _cope(member: Member, options: dict[str, Any]) -> dict[str, Any]:
    """The output layer gives the embedding, a number for each output unit."""
    return {"model": member.network, "n_classes": member.stream.outputs, "p_size": member.stream.outputs}


def _nearest_prototype(strategy: Any) -> Tensor:
    """How alike an embedding is to each class's prototype; before there are any, the logits."""
    (plugin,) = (plugin for plugin in strategy.plugins if hasattr(plugin, "p_mem"))
    prototypes = [plugin.p_mem[unit] for unit in range(plugin.n_classes)] if plugin.p_mem else None
    return strategy.mb_output @ torch.cat(prototypes).T if prototypes else strategy.mb_output


def _lfl(member: Member, options: dict[str, Any]) -> dict[str, Any]:
    from avalanche.models import BaseModel

    model = _model(member)
    model = _wrapped(model) if model is member.network else model
    model.featured = member.features()
    BaseModel.register(type(model))
    type(model).get_features = lambda self, x: self.featured(x)
    return {"model": model}


def _packed(member: Member, options: dict[str, Any]) -> dict[str, Any]:
    """The network as PackNet prunes it, answering with the output units of the task; when ``open``, with all."""
    from avalanche.models.packnet import PackNetModel

    units = torch.stack([member.units(task) for task in range(len(member.stream.tasks))]).to(member.device)

    class Packed(PackNetModel):
        open = False

        def forward(self, input: Tensor, task_id: Tensor) -> Tensor:
            logits = super().forward(input, task_id)
            return logits if self.open else logits.masked_fill(~units[task_id], MASKED)

    packed = Packed(member.network).to(member.device)
    member.counted(packed)  # which does not call the network, but what it is made of
    return {"model": packed}


def _feature_replay(member: Member, options: dict[str, Any]) -> dict[str, Any]:
    """With a loss of its own, since it keeps the classes met: Avalanche's default is one for all strategies."""
    from avalanche.training.losses import MaskedCrossEntropy

    most = min(options.get("mem_size", 200), len(member.stream.phases[0].examples))
    key, width = "strategy.avalanche.options.batch_size_mem", options.get("batch_size_mem", 10)
    require(width <= most, key, width, f"at most {most}, what there is in memory: it would wait forever for more")

    member.features()
    return {"model": member.network, "last_layer_name": "head", "criterion": MaskedCrossEntropy()}


def _generative(member: Member, options: dict[str, Any]) -> dict[str, Any]:
    shape = list(member.data.train.inputs.shape[1:])
    wanted = f"images [1, 28, 28], not {shape}: Avalanche's generator knows no others"
    require(shape == [1, 28, 28], "environment.source", member.data.name, wanted)
    return {"model": member.network}


def _width(member: Member) -> int:
    """Of the features."""
    member.features()
    return member.network.head.in_features


def _gss(member: Member, options: dict[str, Any]) -> dict[str, Any]:
    return {"model": _model(member), "input_size": list(member.data.train.inputs.shape[1:])}


_MEANS = "knows its class means at the end of a phase alone"
_UNTOLD = ("domain", "class")
"""The scenarios in which a network is not told the task."""
_NETWORK = {"plain": False, "scenarios": _UNTOLD}
"""Of strategies that take the network apart."""

_ONLINE = ("phase", "batch")

WAYS = {
    "BiC": Way(_bic, plain=False, scenarios=("class",), own_data=True),
    "CWRStar": Way(lambda member, options: {"model": _model(member), "cwr_layer_name": None}),
    "CoPE": Way(_cope, **_NETWORK, experiences=("batch",), answer=_nearest_prototype),
    "Cumulative": Way(own_data=True),
    "DER": Way(scenarios=_UNTOLD, experiences=_ONLINE),
    "ER_ACE": Way(experiences=_ONLINE),
    "ER_AML": Way(_er_aml, **_NETWORK),
    "FeatureReplay": Way(_feature_replay, **_NETWORK),
    "GDumb": Way(own_data=True),
    "GSS_greedy": Way(_gss, scenarios=_UNTOLD, experiences=_ONLINE),
    "GenerativeReplay": Way(_generative, **_NETWORK),
    "ICaRL": Way(_icarl, plain=False, scenarios=("class",), own_data=True, curves=_MEANS),
    "JointTraining": Way(own_data=True),
    "LFL": Way(_lfl),
    "MER": Way(experiences=_ONLINE),
    "MIR": Way(experiences=_ONLINE),
    "Naive": Way(experiences=_ONLINE),
    "PackNet": Way(_packed, plain=False, scenarios=("task",), curves="prunes inside a phase, and must not be looked at there"),
    "Replay": Way(experiences=_ONLINE),
    "SCR": Way(_scr, **_NETWORK, curves=_MEANS),
    "StreamingLDA": Way(_slda, **_NETWORK, experiences=_ONLINE),
}
