"""Avalanche's strategies on the steps that a member of ours took: same first weights, same batches in the same order."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial

import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.scenarios.supervised import with_classes_timeline
from avalanche.benchmarks.scenarios.task_aware import with_task_labels
from avalanche.benchmarks.utils.classification_dataset import _make_taskaware_tensor_classification_dataset
from avalanche.benchmarks.utils.data_loader import ReplayDataLoader
from avalanche.models import MultiHeadClassifier, MultiTaskModule
from avalanche.training.plugins import (
    AGEMPlugin,
    EWCPlugin,
    GEMPlugin,
    LwFPlugin,
    MIRPlugin,
    ReplayPlugin,
    SupervisedPlugin,
    SynapticIntelligencePlugin,
)
from avalanche.training.regularization import cross_entropy_with_oh_targets
from avalanche.training.storage_policy import ExemplarsBuffer
from avalanche.training.supervised import DER, ER_ACE, Naive
from torch import Tensor, nn

from .ours import BATCH, RATE, TASKS, Member, Samples, joined, network

__all__ = [
    "DER", "ER_ACE", "EWCPlugin", "GEMPlugin", "LwFPlugin", "MIRPlugin", "ReplayDataLoader",
    "SynapticIntelligencePlugin", "cross_entropy_with_oh_targets",
]  # fmt: skip

plain_sgd = partial(torch.optim.SGD, lr=RATE)
MASKED = -1000.0
"""What Avalanche's own multi-head layers give for units of other tasks."""


def played(
    member: Member,
    *plugins: SupervisedPlugin,
    strategy: type = Naive,
    optimizer: Callable = plain_sgd,
    **options,
) -> list[dict[str, Tensor]]:
    """The parameters behind every step of an Avalanche strategy that is shown what the member was shown."""
    model = network(member.scenario)
    model.load_state_dict(member.first)
    watch = Watch(model)
    model = Heads(model, member.units) if member.scenario == "task" else model
    trained(member, model, *plugins, watch, strategy=strategy, optimizer=optimizer(model.parameters()), **options)
    return watch.parameters


def trained(
    member: Member,
    model: nn.Module,
    *plugins: SupervisedPlugin,
    strategy: type = Naive,
    optimizer: torch.optim.Optimizer | None = None,
    phases: int = TASKS,
    **options,
) -> Naive:
    """An Avalanche strategy that was shown what the member was shown in its first ``phases``."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda *_, **__: None  # of its own deprecated parts, whatever the filters
        new = strategy(
            model=model, optimizer=optimizer or plain_sgd(model.parameters()), criterion=nn.CrossEntropyLoss(),
            train_mb_size=BATCH, train_epochs=1, plugins=[*plugins], evaluator=None, **options,
        )  # fmt: skip
        for experience in experiences(member)[:phases]:
            new.train(experience, eval_streams=[], shuffle=False)
    return new


def experiences(member: Member) -> list:
    """The member's phases, each with its samples in the order that the member met them."""
    phases = [joined([step.current for step in member.of_phase(phase)]) for phase in range(TASKS)]
    benchmark = benchmark_from_datasets(train=[dataset(member, samples) for samples in phases])
    return list(with_task_labels(with_classes_timeline(benchmark)).streams["train"])


def dataset(member: Member, samples: Samples):
    """With task labels where the learner is told them."""
    labels = samples.tasks.tolist() if member.scenario == "task" else [0] * len(samples)
    return _make_taskaware_tensor_classification_dataset(samples.inputs, samples.targets, task_labels=labels)


def batch(member: Member, samples: Samples) -> tuple[Tensor, Tensor, Tensor]:
    """As Avalanche's loaders give it."""
    return samples.inputs, samples.targets, samples.tasks if member.scenario == "task" else torch.zeros_like(samples.tasks)


class Heads(MultiTaskModule):
    """A network that is told the task and answers with its units alone."""

    def __init__(self, network: nn.Module, units: Tensor):
        super().__init__()
        self.network, self.units = network, units

    def forward(self, x: Tensor, task_labels: Tensor | None) -> Tensor:
        if task_labels is None:
            return self.forward_all_tasks(x)
        return self.network(x).masked_fill(~self.units[task_labels], MASKED)

    def forward_single_task(self, x: Tensor, task_label: int) -> Tensor:
        return self.forward(x, task_label)


class SeparateHeads(MultiTaskModule):
    """The same with Avalanche's own heads, a layer for each task: those of other tasks have no gradient, not one of zeros."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network, self.heads = network, MultiHeadClassifier(network.head.in_features, masking=False)

    def forward(self, x: Tensor, task_labels: Tensor) -> Tensor:
        return self.heads(self.network.features(x), task_labels)


class Watch(SupervisedPlugin):
    """Takes down the network's parameters behind every step."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network, self.parameters = network, []

    def after_training_iteration(self, strategy, **_options) -> None:
        self.parameters.append({name: value.detach().clone() for name, value in self.network.named_parameters()})


class Given(ExemplarsBuffer):
    """A memory whose content is, in each phase, what the member replayed in it, in that order; empty before there is any."""

    def __init__(self, member: Member):
        super().__init__(1)
        self.member, self.phase = member, 0

    @property
    def buffer(self):
        replayed = [step.joined for step in self.member.of_phase(self.phase)] if self.phase < TASKS else []
        return dataset(self.member, joined(replayed)) if sum(map(len, replayed)) else []

    def post_adapt(self, agent, exp) -> None:
        self.phase += 1

    def resize(self, strategy, new_size: int) -> None:
        raise NotImplementedError


def replay_of(member: Member, count: int) -> ReplayPlugin:
    """Replay of the ``count`` samples a step that the member replayed: unshuffled, their loader goes once through them."""
    return ReplayPlugin(mem_size=1, batch_size_mem=count, storage_policy=Given(member))


class GivenDraws(SupervisedPlugin):
    """Has DER replay in each step what the member drew in it, with the logits that it kept."""

    def __init__(self, member: Member):
        super().__init__()
        self.member, self.steps = member, iter(member.steps)
        self.count = len(member.steps[0].noted[0]["logits"])
        """Samples in a draw; a second one behind it, for the labels, is not told of."""

    def before_training_iteration(self, strategy, **_options) -> None:
        step = next(self.steps)
        (noted,), (drawn,) = step.noted, step.drawn
        first = Samples(*(part[: self.count] for part in (drawn.inputs, drawn.targets, drawn.tasks)))
        strategy.replay_loader = iter([(*batch(self.member, first), noted["logits"])]) if noted["filled"] else None


class AGEM(AGEMPlugin):
    """A-GEM whose reference batches are the member's; notes in which steps it projected."""

    def __init__(self, member: Member):
        super().__init__(patterns_per_experience=TASKS, sample_size=TASKS)
        self.references: Iterator = (batch(member, step.drawn[0]) for step in member.steps if step.drawn)
        self.projected: list[bool] = []

    def sample_from_memory(self):
        return next(self.references)

    def after_backward(self, strategy, **options) -> None:
        noting(self, super().after_backward, strategy, options)


class GEM(GEMPlugin):
    """GEM whose memory is the member's; notes in which steps it projected."""

    def __init__(self, member: Member, margin: float):
        super().__init__(patterns_per_experience=1, memory_strength=margin)
        self.member, self.projected = member, []

    def update_memory(self, dataset, t: int, batch_size: int) -> None:
        if t + 1 < TASKS:
            self.memory_x[t], self.memory_y[t], self.memory_tid[t] = batch(self.member, self.member.of_phase(t + 1)[0].drawn[t])

    def after_backward(self, strategy, **options) -> None:
        noting(self, super().after_backward, strategy, options)


class Against(SupervisedPlugin):
    """Behind a projecting plugin: the least cosine of a projected gradient with those of old tasks, where it is below 0."""

    def __init__(self, plugin: AGEM | GEM):
        super().__init__()
        self.plugin, self.cosines = plugin, []

    def after_backward(self, strategy, **_options) -> None:
        if self.plugin.projected and self.plugin.projected[-1]:
            parameters = [torch.zeros_like(p) if p.grad is None else p.grad for p in strategy.model.parameters()]
            gradient = torch.cat([value.flatten() for value in parameters])
            old = self.plugin.G if isinstance(self.plugin, GEM) else self.plugin.reference_gradients.unsqueeze(0)
            self.cosines.append(float(nn.functional.cosine_similarity(old, gradient.unsqueeze(0)).min()))


def noting(plugin, project: Callable, strategy, options: dict) -> None:
    """Whether ``project`` changes gradients, in steps that have any old task."""
    there = [p for p in strategy.model.parameters() if p.grad is not None]
    before = [p.grad.clone() for p in there]
    project(strategy, **options)
    if strategy.clock.train_exp_counter > 0:
        after = [p.grad for p in there]
        plugin.projected.append(any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)))


class SI(SynapticIntelligencePlugin):
    """Synaptic intelligence as it is meant: what is kept of the weights are copies (theirs, on a CPU, are views of the live
    weights), and importances have no cap unless ``cap`` is theirs, 1e-3."""

    def __init__(self, strength: float, xi: float, cap: float = torch.inf):
        super().__init__(si_lambda=strength, eps=xi)
        self.cap = cap

    def before_training_exp(self, strategy, **options) -> None:
        super().before_training_exp(strategy, **options)
        self._own(self.ewc_data[0])

    def before_training_iteration(self, strategy, **options) -> None:
        super().before_training_iteration(strategy, **options)
        self._own(self.syn_data["old_theta"])

    @staticmethod
    def _own(kept: dict) -> None:
        for value in kept.values():
            value.data = value.data.clone()

    def after_training_exp(self, strategy, **options) -> None:
        rest = (self.ewc_data, self.syn_data, self.cap, self.excluded_parameters, 1)
        self.update_ewc_data(strategy.model, *rest, eps=self.eps)


def importances(plugin: SynapticIntelligencePlugin) -> Tensor:
    return torch.cat([value.data for value in plugin.ewc_data[1].values()])
