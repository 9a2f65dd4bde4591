"""Everything a strategy or an environment may rely on; `strategies/` and `environments/` import this module alone.

Letters in shapes: M members, B batch, T tasks, C output units, N examples of a data set, K slots of a memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from lab.batch import Batch, Steps
from lab.errors import UserError, fraction, invalid, number, one_of, require, strength, whole
from lab.fisher import ESTIMATORS as FISHER_ESTIMATORS
from lab.flat import flatten, products, squares, unflatten
from lab.lags import Law, apportion, law
from lab.memory import Balanced, Reservoir, require_room
from lab.rules import LOGICS, WAYS, Groups, Layout, Looking, Output, Rule, unsatisfiable, violations_by_labels
from lab.seeding import derive, generator, integers, uniform
from lab.tracing import INTO

if TYPE_CHECKING:
    from lab.learner import ContinualLearner
    from lab.member import Member

__all__ = [
    "FISHER_ESTIMATORS", "INTO", "LOGICS", "WAYS", "Balanced", "Batch", "Data", "Engine", "Environment", "Examples", "Groups",
    "Law", "Layout", "Looking", "Output", "Phase", "Reservoir", "Rule", "Steps", "Strategy", "Stream", "Task",
    "UserError", "View", "apportion", "derive", "flatten", "fraction", "generator", "integers", "invalid", "law",
    "number", "one_of", "phase_per_task", "products", "require", "require_room", "squares", "strength", "unflatten",
    "uniform", "unsatisfiable", "violations_by_labels", "whole",
]  # fmt: skip

SCENARIOS = ("task", "domain", "class")
NO_LABEL = -100
"""The target that torch's cross-entropy ignores."""


# --- data -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Examples:
    """One split of a data set, whole and in memory."""

    inputs: Tensor
    """``[N, ...]``: uint8 images ``[N, channels, height, width]``, float features ``[N, D]`` or int64 tokens ``[N, L]``."""
    targets: Tensor
    """int64 ``[N]``, or ``[N, L]`` for a label per token, with -100 where there is none."""
    quality: Tensor | None = None
    """float ``[N]``: how good each example is, for curricula; higher is better."""
    genre: Tensor | None = None
    """int64 ``[N]``: which of :attr:`Data.genres` each example is of; -1 for none."""
    marks: Tensor | None = None
    """int64 ``[N, L]``: which of the parts that were planted in it each place of a sequence belongs to; -1 for none."""

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class Data:
    """What a source gives: named train and test examples of ``classes`` classes."""

    name: str
    train: Examples
    test: Examples
    classes: int
    digest: str
    """A hash of the arrays: two runs with equal digests saw equal data."""
    ordered: bool = False
    """Whether the rows are in order of time, ``test`` after ``train``."""
    layout: Layout | None = None
    """What the outputs are called, for rules over them; rows without labels may then be in both splits, in no task of their
    own, for groups (see :class:`Task`)."""
    genres: tuple[str, ...] = ()
    """What kinds of examples there are, by name, where examples say theirs (:attr:`Examples.genre`)."""


# --- streams ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """One thing to be learnt: which examples, seen how, answered by which output units."""

    train: Tensor
    """int64 ``[n]``: rows of ``data.train``."""
    test: Tensor
    """int64 ``[n]``: rows of ``data.test``."""
    labels: Tensor
    """int64 ``[classes]``: the output unit of each class of the data; -1 for a class that is not of this task."""
    validation: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    """int64 ``[n]``: rows of ``data.train`` held out of ``train``."""
    view: Tensor | None = None
    """What makes this task's inputs different, for the stream's :class:`View`: a permutation ``[D]``, an angle ``[]``."""
    groups: Mapping[str, Tensor] = field(default_factory=dict)
    """Rows of ``data.train`` ``[n, k]`` on which rules over this kind of group are imposed while the task is trained, labelled
    or not; rules over ``single`` examples without an entry: each of ``train`` by itself."""
    test_groups: Mapping[str, Tensor] = field(default_factory=dict)
    """Likewise rows of ``data.test`` ``[n, k]`` on which rules are measured; ``single``: each of ``test``."""
    validation_groups: Mapping[str, Tensor] = field(default_factory=dict)
    """Likewise rows of ``data.train`` that none of ``groups`` are, where validation data are what is measured on."""
    rules: tuple[str, ...] | None = None
    """Names of the stream's rules that are imposed while this task is trained; None: all."""


@dataclass(frozen=True)
class Phase:
    """What is trained on between two task ends: examples, each met as of some task."""

    examples: Tensor
    """int64 ``[n]``: rows of ``data.train``."""
    tasks: Tensor
    """int64 ``[n]``: the task that each example is met as (its labels and its view)."""
    completes: int
    """The task after which this phase's end is counted: row ``completes + 1`` of the accuracy tensor."""
    announced: bool = True
    """Whether strategies are told of the boundary; without it neither ``begin_task`` nor ``end_task`` is called."""
    ordered: bool = False
    """Keep the order of ``examples`` instead of shuffling it from the member's seed."""
    effort: float = 1.0
    """How many tasks' worth of steps this phase has, where the budget is ``steps`` (a joint phase has one for each)."""
    fresh: bool = False
    """Whether the weights begin anew here, from the member's seed, and the optimiser with them; what strategies keep stays.
    It is done before ``begin_task``."""


View = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``view(inputs, table, tasks)``: inputs ``[M, B, ...]`` as the tasks ``[M, B]`` or ``[M, 1]`` show them; ``table``
``[M, T, ...]`` holds each task's ``view``. Inputs keep their dtype (uint8 stays uint8). A module-level function."""


@dataclass(frozen=True)
class Stream:
    """The ordered tasks that one member meets."""

    tasks: tuple[Task, ...]
    phases: tuple[Phase, ...]
    scenario: str
    """``task``, ``domain`` or ``class`` incremental (van de Ven & Tolias 2019)."""
    outputs: int
    """C: how many output units the network needs."""
    view: View | None = None
    augment: Callable[[Tensor, Tensor], Tensor] | None = None
    """``augment(inputs, noise)``: training inputs ``[M, B, ...]`` changed at random by uniform numbers ``[M, B, 4]``."""
    prequential: bool = False
    """Whether to also test on every example just before training on it; asks for one pass over the data."""
    baseline: Tensor | None = None
    """float ``[T]``: the accuracy on each task's training examples of predicting that a label is the one met before it,
    to be reported beside the accuracy just before training."""
    rules: tuple[Rule, ...] = ()
    """What is known of the outputs: measured after every task, on every task; imposed by strategies that do so."""
    one_pass: bool = False
    """Whether the order of its phases is the point; asks for one pass over the data, as ``prequential`` does."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What is known of this member's stream, by name: kept in the results as diagnostics of the environment."""


def phase_per_task(tasks: tuple[Task, ...], **options) -> tuple[Phase, ...]:
    """The ordinary course: one phase for each task, holding its training examples."""
    return tuple(Phase(task.train, torch.tensor(t).expand(len(task.train)), t, **options) for t, task in enumerate(tasks))


class Environment(Protocol):
    """A recipe that makes a stream from a seed.

    It may have a method ``announcement()``: what a user should know of the data before training, in a sentence, or None.
    """

    data: Data

    def stream(self, seed: int) -> Stream:
        """The stream of the member with this seed; equal seeds give equal streams."""
        ...


# --- training ---------------------------------------------------------------------------------------------------------


class Method:
    """What `strategy=` names: a :class:`Strategy`, which composes, or an :class:`Engine`, alone. Both are asked this before
    training."""

    scenarios: ClassVar[tuple[str, ...]] = SCENARIOS
    """Where the method makes sense; elsewhere it is refused before training."""
    needs_boundaries: ClassVar[bool] = False
    """Whether it must be told when a task ends."""
    needs_classes: ClassVar[bool] = False
    """Whether every example must have one class label (and not a label for each token)."""
    needs_rules: ClassVar[bool] = False
    """Whether the environment must know something of the outputs (``Stream.rules``)."""

    @property
    def title(self) -> str:
        """What errors call it."""
        return type(self).__name__

    def check(self, stream: Stream, data: Data) -> None:
        """Refuse a stream that the method cannot serve: a :class:`~lab.errors.UserError` that names the key."""

    def announcement(self, members: int, parameters: int, size: int = 4) -> str | None:
        """What a user should know before training, in a sentence (large memories, in bytes); ``parameters`` of one network,
        ``size`` of a number in bytes."""
        return None

    def file_digests(self) -> dict[str, str]:
        """Of options that name files, by the option, hashes of what is in them: in a cell they stand for the names."""
        return {}

    def rewrite(self, stream: Stream, data: Data, seed: int) -> Stream:
        """Change what a member will be trained on, before training (joint training, held out samples). ``seed``: the stream's.
        Of all strategies one may have it."""
        return stream


class Strategy(Method, nn.Module):
    """What a learner does beyond plain gradient descent. Override what the method needs; strategies compose by listing.

    State that must outlive a step lives in buffers (so that checkpoints hold it), leads with the member axis ``[M, ...]``,
    and is changed by tensor operations alone: no Python branch on a tensor's value, no ``.item()``.
    """

    moves: ClassVar[bool] = False
    """Whether it sets parameters itself (new networks, new units, noise), or holds them: of all strategies one may. One with
    both a :meth:`rewrite` and a :meth:`begin_task` is taken for such."""
    predicts_logits: ClassVar[bool] = False
    """Whether its own :meth:`predict` gives logits, whose cross-entropy is a loss (`evaluation.loss`), and no other scores."""

    def setup(self, learner: ContinualLearner) -> None:
        """Make the buffers; called once, before a checkpoint is loaded."""

    def begin_task(self, learner: ContinualLearner, task: int) -> None:
        """An announced phase begins."""

    def rehearse(self, learner: ContinualLearner, steps: Steps) -> Steps:
        """Add old samples to all steps of a block before the first of them is taken (:meth:`Steps.join`).

        For memories whose content does not depend on the network: a step's samples are then read with the stream's, at a
        fraction of what :meth:`extend` costs. The memory is to be left as it is after the last of the steps.
        """
        return steps

    def extend(self, learner: ContinualLearner, batch: Batch) -> Batch:
        """Add samples to the batch, or change it, before the forward pass."""
        return batch

    def gates(self, learner: ContinualLearner, tasks: Tensor) -> dict[str, Tensor] | None:
        """Factors on hidden activations in training and evaluation, by the layer's path (``population.hidden``), each
        ``[M, B, units]`` or ``[M, 1, units]``, for samples met as ``tasks`` ``[M, B]`` or ``[M, 1]``."""
        return None

    def units(self, learner: ContinualLearner, batch: Batch) -> Tensor | None:
        """In place of what ``outputs=`` says: the output units that each sample's loss runs over, bool ``[M, B, C]``. Of all
        strategies one may have it, and none beside another's ``criterion``."""
        return None

    def criterion(self, learner: ContinualLearner, batch: Batch, logits: Tensor) -> Tensor | None:
        """In place of the cross-entropy: the loss of every sample, ``[M, B]``. Of all strategies one may have it."""
        return None

    def loss(self, learner: ContinualLearner, batch: Batch, logits: Tensor) -> Tensor | None:
        """A term ``[M]`` to be added to each member's loss; ``logits`` ``[M, B, ..., C]``."""
        return None

    def gradient(self, learner: ContinualLearner, batch: Batch) -> None:
        """Change ``parameter.grad`` ``[M, ...]`` after the backward pass."""

    def update_scale(self, learner: ContinualLearner, batch: Batch) -> dict[str, Tensor] | None:
        """Factors on the update that the optimiser makes of this batch, by parameter name, broadcastable to the parameter
        ``[M, ...]``."""
        return None

    def after_step(self, learner: ContinualLearner, batch: Batch) -> None:
        """The parameters have been updated."""

    def end_task(self, learner: ContinualLearner, task: int) -> None:
        """An announced phase has ended."""

    def predict(self, learner: ContinualLearner, inputs: Tensor, tasks: Tensor | None) -> Tensor | None:
        """In place of logits: what is evaluated, ``[M, B, C]``, the largest being the answer. One strategy alone may have it.

        ``tasks`` ``[M, 1]``, or None where the learner is not told (in all but the task-incremental scenario; there, a second
        time, for the accuracy without the task's identity, which is undefined where this gives None).
        """
        return None

    def diagnostics(self) -> dict[str, Tensor]:
        """What is worth knowing of how it worked, at the end of a run: named figures, each ``[M]``; NaN is undefined."""
        return {}

    def recorded(self) -> dict[str, Tensor]:
        """What is worth seeing over time: named tensors ``[M, ...]``, of the same names and shapes at any time, kept at every
        point of the curves and every task end in `recorded.npz`."""
        return {}

    def state_bytes(self) -> int:
        """Bytes of state held for all members together."""
        return sum(buffer.numel() * buffer.element_size() for buffer in self.buffers())


class Engine(Method):
    """Another library's way to train, in place of our loop: one member after the other.

    What it trains is measured by our rules, and kept as a run of ours is. It cannot go on inside a member: a killed run repeats
    the member that was not finished.
    """

    packages: ClassVar[tuple[str, ...]] = ()
    """Distributions that its numbers depend on; their versions are kept with the results."""

    def refuse(self, config: dict[str, Any]) -> None:
        """Refuse settings of the run that it cannot serve: a :class:`~lab.errors.UserError` that names the key."""

    def try_out(self, member: Member) -> None:
        """Put together what the first member would be trained with; refuse what only then turns out not to fit."""

    def train(self, member: Member) -> None:
        """Train a member over its whole stream: :meth:`Member.start`, then for each phase :meth:`Member.stepped` after each
        step and :meth:`Member.ended`."""
        raise NotImplementedError
