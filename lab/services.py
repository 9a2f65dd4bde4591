"""What strategies may ask of the learner, beside its parts: old samples, random numbers, gradients, old networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.batch import Batch
from lab.errors import UserError
from lab.fisher import information
from lab.lags import Law
from lab.memory import Balanced, Lagged, Memory, Reservoir, Ring
from lab.memory.base import require_bytes
from lab.per_sample import Objectives, summed_gradients
from lab.quadratic import QuadraticPenalty
from lab.seeding import generator, member_keys, uniform
from lab.snapshot import Snapshot

if TYPE_CHECKING:
    from lab.encounters import Encounters
    from lab.population import Population
    from lab.reader import Reader
    from lab.stream import Course


class Services:
    """A part of :class:`lab.learner.ContinualLearner`."""

    population: Population
    reader: Reader
    course: Course
    clock: Tensor
    seeds: list[int]
    members: int
    crowd: int
    places: tuple[list[int], int]
    passes: dict[str, int]
    phase: int
    encounters: Encounters
    _memories: int

    def reservoir(self, capacity: int) -> Reservoir:
        """An empty memory of ``capacity`` samples for each member; each that is asked for draws numbers of its own."""
        return Reservoir(self.seeds, self._room(capacity), self._purpose("reservoir"))

    def memory(self, kind: str, capacity: int, per_class: int = 0) -> Memory:
        """An empty memory for each member: a ``reservoir``, by output unit ``balanced`` or a ``ring``, each of ``capacity``
        samples; or ``task_end``, ``per_class`` of each class of each task, drawn from the task when it has ended."""
        if kind == "task_end":
            return self.of_each_class(per_class)
        if kind == "reservoir":
            return self.reservoir(capacity)
        grouped = {"balanced": Balanced, "ring": Ring}[kind]
        units, purpose = self.course.streams[0].outputs, self._purpose(kind)
        return grouped(self.seeds, self._room(capacity), units, self.reader.targets_of, purpose)

    def of_each_class(self, count: int) -> Balanced:
        """An empty memory for ``count`` samples of each class of each task, drawn from the task when it has ended."""
        streams, units = self.course.streams, self.course.streams[0].outputs
        pairs = max(sum(len(task.labels[task.labels >= 0].unique()) for task in stream.tasks) for stream in self.course.crowd)

        def pair(examples: Tensor, tasks: Tensor) -> Tensor:
            targets = self.reader.targets_of(examples, tasks)
            return torch.where(targets >= 0, tasks * units + targets, targets)

        groups = len(streams[0].tasks) * units
        memory = Balanced(self.seeds, self._room(count * pairs), groups, pair, self._purpose("of each class"), count)
        memory.at_end = True
        return memory

    def lagged(self, capacity: int, law: Law, quotas: str = "even") -> Lagged:
        """An empty memory of ``capacity`` samples for each member, filled when tasks end, whose draws follow a law of the time
        since each task was new."""
        tasks = len(self.course.streams[0].tasks)
        return Lagged(self.seeds, self._room(capacity), tasks, law, quotas, self._purpose("lagged"))

    def _room(self, capacity: int) -> int:
        """A memory's capacity, if there is room for it for all members of the run, however many of them are here."""
        require_bytes(capacity, self.places[1])
        return capacity

    def _purpose(self, kind: str) -> str:
        self._memories += 1
        return f"{kind}/{self._memories}"

    def keys(self, purpose: str) -> Tensor:
        """A key for each member to :meth:`draw` with, int64 ``[M]``; to be kept as a buffer."""
        return member_keys(self.seeds, purpose)

    def replay(self, examples: Tensor, tasks: Tensor, weights: Tensor) -> Batch:
        """Samples at addresses ``[M, B]`` as a batch of none but replayed columns."""
        augmented = self.reader.augment is not None
        noise = self.noise(self.clock.unsqueeze(1), examples.shape[1], 1).squeeze(1) if augmented else None
        inputs, targets = self.reader.read(examples, tasks, noise=noise)
        return Batch(inputs, targets, examples, tasks, 0, weights)

    def draw(self, keys: Tensor, count: int) -> Tensor:
        """Uniform numbers ``[M, count]`` for this step, from keys ``[M]`` (:func:`lab.seeding.member_keys`)."""
        return uniform(keys, self.clock, count)

    def count(self, forward: int = 0, backward: int = 0) -> None:
        """Count samples of one member that went through the network for a strategy's own ends."""
        self.passes["forward"] += forward
        self.passes["backward"] += backward

    def count_rehearsed(self, tasks: Tensor, taken: Tensor) -> None:
        """Count as rehearsed samples of these tasks ``[M, R]``, those that are ``taken`` (bool): for a method that joins
        columns of weight 0 and trains on them in a term of its own; others are counted by their weights."""
        self.encounters.count(self.phase, tasks, taken)

    def value(self, key: str, given: float | list[float]) -> Tensor:
        """A hyperparameter that may be one number for each member of the run, as float ``[M]``.

        Raises:
            UserError: for a list of another length.
        """
        places, count = self.places
        if isinstance(given, list) and len(given) != count:
            raise UserError(f"{key}={given}: expected one number, or a list of {count} (one a member)")
        own = [given[place] for place in places] if isinstance(given, list) else [given] * self.members
        return torch.tensor(own, dtype=self.population.precise)

    def snapshot(self) -> Snapshot:
        """The population as it is now, as a module for a strategy to keep: its tensors are buffers."""
        return Snapshot(self.population)

    def quadratic_penalty(self) -> QuadraticPenalty:
        """A pull back to old parameters, without strength yet, as a module for a strategy to keep."""
        return QuadraticPenalty(self.population)

    def fisher_information(
        self, phase: int, estimator: str, samples: int | None = None, width: int | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The diagonal of the Fisher information on a phase's training samples, summed over them, and their number ``[M]``: see
        :mod:`lab.fisher`."""
        return information(self, phase, estimator, samples, width)

    def squared_gradients(self, batch: Batch, objectives: Objectives) -> dict[str, Tensor]:
        """Sums of squared per-sample gradients on a batch's inputs, passes counted: :func:`lab.per_sample.summed_gradients`."""
        return self._summed(batch, objectives, torch.square)

    def absolute_gradients(self, batch: Batch, objectives: Objectives) -> dict[str, Tensor]:
        """The same of their magnitudes."""
        return self._summed(batch, objectives, torch.abs)

    def _summed(self, batch: Batch, objectives: Objectives, of: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        sums, passes = summed_gradients(self.population, batch.inputs, objectives, of, self.gates(batch.tasks))
        self.count(*(each * batch.width for each in passes))
        return sums

    def mean_gradient(self, batch: Batch) -> dict[str, Tensor]:
        """Of each member's mean loss on a batch, by parameter name, each ``[M, ...]``; ``grad`` and running statistics are left
        alone."""
        self.count(batch.width, batch.width)
        before = self.population.snapshot()
        with torch.enable_grad():
            losses = self.losses(batch, self.logits(batch.inputs, batch.tasks))
            total = torch.linalg.vecdot(losses, batch.shares(self.population.precise)).sum()
            leaves = self.population.leaves
            gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        self.population.restore(before, torch.zeros_like(self.clock, dtype=torch.bool))
        return {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(leaves.items(), gradients, strict=True)}

    def addresses(self, phase: int, at_most: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The training examples of a phase: examples, the tasks they are met as, and whether a column holds one (members may
        have fewer than others), each ``[M, N]``.

        All of them in the stream's order, or ``at_most`` so many, drawn from each member's seed.
        """
        phases = [stream.phases[phase] for stream in self.course.streams]
        longest, device = max(len(stream.phases[phase].examples) for stream in self.course.crowd), self.clock.device
        count = torch.tensor([len(p.examples) for p in phases], device=device).unsqueeze(1)
        examples, tasks = (
            torch.stack([F.pad(getattr(p, what), (0, longest - len(p.examples))) for p in phases]).to(device)
            for what in ("examples", "tasks")
        )
        there = torch.arange(longest, device=device) < count
        if at_most is None:
            return examples, tasks, there
        chosen = self._drawn(phase, there.sum(1).tolist(), longest, at_most).to(device)
        return examples.gather(1, chosen), tasks.gather(1, chosen), there.gather(1, chosen)

    @torch.no_grad()
    def features(self, examples: Tensor, tasks: Tensor) -> Tensor:
        """The last hidden layer's activations ``[M, N, D]``, as in evaluation, for training examples ``[M, N]``."""
        several = max(32, self.reader.at_once(2 * self.crowd))
        parts = zip(examples.split(several, 1), tasks.split(several, 1), strict=True)
        self.count(examples.shape[1])
        with self.population.evaluating():
            return torch.cat([self.population.features(self.reader.read(*part)[0]) for part in parts], 1)

    @torch.no_grad()
    def feature_size(self) -> int:
        """D: how many activations the last hidden layer has.

        Raises:
            UserError: for a network that does not tell features from head.
        """
        nothing = torch.zeros(self.members, 1, dtype=torch.int64, device=self.clock.device)
        with self.population.evaluating():
            return self.population.features(self.reader.read(nothing, nothing)[0]).shape[2]

    def samples(self, phase: int, width: int | None = None, at_most: int | None = None) -> Iterator[Batch]:
        """The training examples of a phase, each once and as they are (not augmented), ``width`` of a member at a time.

        Members with fewer of them have weight 0 in the columns behind. None of them is ``current``: a reading does not count as
        meeting them. ``at_most`` as in :meth:`addresses`.
        """
        examples, tasks, there = self.addresses(phase, at_most)
        longest = examples.shape[1]
        several = width or max(32, self.reader.at_once(2 * self.crowd))
        for first in range(0, longest, several):
            columns = slice(first, first + several)
            inputs, targets = self.reader.read(examples[:, columns], tasks[:, columns])
            yield Batch(inputs, targets, examples[:, columns], tasks[:, columns], 0, there[:, columns].float())

    def _drawn(self, phase: int, counts: list[int], longest: int, at_most: int) -> Tensor:
        """``at_most`` columns of each member without repeats: of its own, then of those behind where these are fewer."""
        orders = [
            torch.cat([torch.randperm(count, generator=generator(seed, "samples", phase)), torch.arange(count, longest)])
            for seed, count in zip(self.seeds, counts, strict=True)
        ]
        return torch.stack(orders)[:, :at_most]
