"""How each of Avalanche's strategies is put together around one of our networks, and what it can serve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lab.protocols import SCENARIOS, require
from strategies.avalanche_loop import Experience

if TYPE_CHECKING:
    from lab.protocols import Member

MASKED = -1000.0
"""The logit of units that take no part: what Avalanche's own multi-head layers give."""


@dataclass(frozen=True)
class Way:
    """How a strategy is put together, and what it can serve, where it is not as most are."""

    parts: Callable[[Member, dict[str, Any]], dict[str, Any]] = lambda member, options: {"model": _model(member)}
    """What its constructor is told beside the common arguments and its options."""
    masks: bool = True
    """Whether output units may be masked (`outputs=seen`): any model serves, and no logits are remembered."""
    scenarios: tuple[str, ...] = SCENARIOS
    experiences: tuple[str, ...] = ("phase",)
    own_data: bool = False
    """Whether it trains on other data than the phase's, so that an epoch has another number of steps."""
    curves: str = ""
    """Why it cannot be measured inside a phase."""
    needs_task: bool = False
    """Whether it answers in another way for each task, whatever the output units."""
    answer: Callable[[Any], Tensor] = lambda strategy: strategy.mb_output
    """The scores of what it was just shown, ``[B, C]``."""


# --- models ------------------------------------------------------------------------------------------------------------


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


# --- strategies that are not put together as most are ------------------------------------------------------------------


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
    """It fails where there is less in memory than in a batch with what is replayed, which is 32."""
    first = sum(map(len, member.batches(0, 0))) * member.epochs
    most = min(options.get("mem_size", 200), first) - 32
    wanted = f"at most {most}: GSS_greedy must remember batch_size + 32 samples from the first phase"
    require(member.batch_size <= most, "batch_size", member.batch_size, wanted)
    return {"model": _model(member), "input_size": list(member.data.train.inputs.shape[1:])}


_MEANS = "knows its class means at the end of a phase alone"
_UNTOLD = ("domain", "class")
"""The scenarios in which a network is not told the task."""
_NETWORK = {"masks": False, "scenarios": _UNTOLD}
"""Of strategies that take the network apart."""

_ONLINE = ("phase", "batch")

WAYS = {
    "BiC": Way(_bic, masks=False, scenarios=("class",), own_data=True),
    "CWRStar": Way(lambda member, options: {"model": _model(member), "cwr_layer_name": None}),
    "CoPE": Way(_cope, **_NETWORK, experiences=("batch",), answer=_nearest_prototype),
    "Cumulative": Way(own_data=True),
    "DER": Way(masks=False, scenarios=_UNTOLD, experiences=_ONLINE),
    "ER_ACE": Way(experiences=_ONLINE),
    "ER_AML": Way(_er_aml, **_NETWORK),
    "FeatureReplay": Way(_feature_replay, **_NETWORK),
    "GDumb": Way(own_data=True),
    "GSS_greedy": Way(_gss, scenarios=_UNTOLD),
    "GenerativeReplay": Way(_generative, **_NETWORK),
    "ICaRL": Way(_icarl, masks=False, scenarios=("class",), own_data=True, curves=_MEANS),
    "JointTraining": Way(own_data=True),
    "LFL": Way(_lfl),
    "MER": Way(experiences=_ONLINE),
    "MIR": Way(experiences=_ONLINE),
    "Naive": Way(experiences=_ONLINE),
    "PackNet": Way(
        _packed, masks=False, scenarios=("task",), needs_task=True, curves="prunes inside a phase, and must rest then"
    ),
    "Replay": Way(experiences=_ONLINE),
    "SCR": Way(_scr, masks=False, scenarios=("class",), curves=_MEANS),
    "StreamingLDA": Way(_slda, **_NETWORK, experiences=_ONLINE),
}
