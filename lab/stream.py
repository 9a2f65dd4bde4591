"""A stream as blocks of index batches: what every member trains on at each step, worked out ahead on the host.

Everything here is a function of (streams, seeds, budget): a block's content depends on its number alone, so the position of
the loader is all the state that a resume needs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from lab.errors import require
from lab.order import Uniform
from lab.protocols import Phase, Stream
from lab.schedules import Curve, Rates


@dataclass(frozen=True)
class Budget:
    """How long a task is trained: ``steps`` for each task, or ``epochs`` over its examples, in batches of ``batch_size``."""

    batch_size: int
    epochs: int | None = 1
    steps: int | None = None

    def steps_for(self, phase: Phase) -> int:
        """Steps that a member's phase lasts."""
        if self.steps is not None:
            return max(1, round(self.steps * phase.effort))
        return self.epochs * -(-len(phase.examples) // self.batch_size)


@dataclass(frozen=True)
class Block:
    """Several steps' work, stacked ``[steps, M, ...]``, and what happens before and after."""

    start: int
    phase: int
    examples: Tensor
    tasks: Tensor
    weights: Tensor | None
    active: Tensor | None
    everyone: tuple[bool, ...]
    """For each step, whether all members take it (known on the host, so that the step need not look)."""
    full: tuple[bool, ...]
    """For each step, whether every sample of every member counts: such a step has no weights, whatever block it is in."""
    begins: bool
    ends: bool
    evaluate: bool
    checkpoint: bool
    rates: Tensor | None = None
    """float64 ``[steps, M]``: what each member's learning rate is multiplied by, where members differ."""
    rate: tuple[float, ...] | None = None
    """The same for each step, where all members are alike; without either it is 1."""
    progress: Tensor | None = None
    """``[steps, M]``: which part of the phase's own steps each member has behind it before each step, from 0 to 1."""

    def __len__(self) -> int:
        return len(self.everyone)

    @property
    def stop(self) -> int:
        return self.start + len(self)

    def rate_of(self, step: int) -> float | Tensor:
        """What learning rates are multiplied by in one of its steps: a number, or float64 ``[M]``."""
        if self.rate is not None:
            return self.rate[step]
        return 1.0 if self.rates is None else self.rates[step]

    def to(self, device: torch.device) -> Block:
        return self.through(lambda tensor: tensor.to(device, non_blocking=True))

    def through(self, convert: Callable[[Tensor], Tensor]) -> Block:
        """The block with its tensors put through ``convert``."""
        tensors = {name: getattr(self, name) for name in ("examples", "tasks", "weights", "active", "rates", "progress")}
        return replace(self, **{name: None if tensor is None else convert(tensor) for name, tensor in tensors.items()})


@dataclass(frozen=True)
class Span:
    """A block's place in the run, before its content is worked out; ``first`` counts steps within the phase."""

    start: int
    length: int
    phase: int
    first: int
    begins: bool
    ends: bool
    evaluate: bool
    checkpoint: bool


class Course:
    """The run's plan of steps: phases, their lengths for each member, and where blocks are cut.

    A block ends at a task's end, an evaluation, a checkpoint and at ``max_steps``.

    Args:
        company: the streams of all members of the run, where some are in other processes: all keep the same steps.
        schedule: what learning rates are multiplied by over time; None for 1.
        orders: in which each member meets the examples of a phase; None for at random.
        crowd: the streams of all who began together here, where some of them were cut since (:mod:`lab.compacting`): what is
            padded to the longest stays as wide as it was.
    Raises:
        UserError: the schedule does not fit these steps.
    """

    def __init__(
        self,
        streams: list[Stream],
        seeds: list[int],
        budget: Budget,
        block: int = 8,
        evaluate_every: int | None = None,
        checkpoint_every: int | None = None,
        max_steps: int | None = None,
        company: list[Stream] | None = None,
        schedule: Curve | None = None,
        orders: list[Uniform] | None = None,
        crowd: list[Stream] | None = None,
    ):
        self.streams, self.seeds, self.budget, self.block = streams, seeds, budget, block
        self.crowd = crowd or streams
        self.orders = orders or [Uniform()] * len(streams)
        self.every = {"evaluate": evaluate_every, "checkpoint": checkpoint_every, "stop": max_steps}
        # [phase][member]: steps of that member; the phase lasts until the longest is done.
        count = range(len(streams[0].phases))
        self.lengths = [[budget.steps_for(s.phases[k]) for s in streams] for k in count]
        self.rates = Rates(schedule, self.lengths) if schedule else None
        lasting = [max(budget.steps_for(s.phases[k]) for s in company or streams) for k in count]
        self.ends = torch.tensor(lasting).cumsum(0).tolist()
        self.spans = list(self.cut())

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        return self.ends[-1]

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The first member's phases; what they complete and announce is the same for all."""
        return self.streams[0].phases

    @property
    def stop(self) -> int:
        """Where the run stops: its end, or ``max_steps``."""
        return min(self.total, self.every["stop"] or self.total)

    def evaluations(self) -> list[int]:
        """The steps after which curves are recorded, ascending; 0 is before training."""
        every = self.every["evaluate"]
        return sorted({0, *self.ends, *range(every, self.total, every)}) if every else []

    def phase_at(self, step: int) -> int:
        """The phase whose training includes step ``step`` (1 is the first step); -1 for 0."""
        return bisect_right(self.ends, step - 1) if step else -1

    def samples(self, member: int) -> int:
        """How many samples of the stream one member is trained on in the whole run."""
        return sum(self._samples_of(member, number) for number in range(len(self.phases)))

    def _samples_of(self, member: int, number: int) -> int:
        if self.budget.steps is None and not self.orders[member].draws(self.streams[member], number):
            return self.budget.epochs * len(self.streams[member].phases[number].examples)
        return self.lengths[number][member] * self.budget.batch_size

    def cut(self, start: int = 0) -> Iterator[Span]:
        """The blocks from step ``start`` on."""
        for phase in range(self.phase_at(start + 1), len(self.ends)):
            opening, end = self.ends[phase - 1] if phase else 0, self.ends[phase]
            while start < end:
                stop = min(start + self.block, end, self._next_cut(start))
                yield Span(
                    start, stop - start, phase, start - opening, start == opening, stop == end,
                    evaluate=self._due("evaluate", stop) or (stop == end and bool(self.every["evaluate"])),
                    checkpoint=self._due("checkpoint", stop) or stop == end or stop == self.every["stop"],
                )  # fmt: skip
                start = stop

    def _due(self, what: str, step: int) -> bool:
        return bool(self.every[what]) and step % self.every[what] == 0

    def _next_cut(self, start: int) -> int:
        nexts = [(start // every + 1) * every for every in (self.every["evaluate"], self.every["checkpoint"]) if every]
        return min([*nexts, self.stop if start < self.stop else self.total])


class Order:
    """The samples of one member's steps, in the order in which they are met."""

    def __init__(self, stream: Stream, seed: int, budget: Budget, by: Uniform):
        self.stream, self.seed, self.budget, self.by = stream, seed, budget, by
        self._epoch: tuple[int, int] | None = None

    def take(self, phase: int, first: int, count: int) -> tuple[Tensor, Tensor]:
        """The samples of ``count`` steps from step ``first`` of a phase on: positions into the phase's examples
        ``[count * B]`` and whether each is a sample of its own (False: padding of an epoch's last batch).

        A budget in steps runs through one order after the other; in epochs, each epoch's last batch is filled up with samples
        of the same epoch, so that batches keep their width whatever the company.
        """
        width, n = self.budget.batch_size, len(self.stream.phases[phase].examples)
        length = n if self.budget.steps is not None else -(-n // width) * width
        position, stop = first * width, (first + count) * width
        if self.by.draws(self.stream, phase):
            of = self.budget.steps_for(self.stream.phases[phase]) * width
            drawn = self.by.drawn(self.stream, phase, torch.arange(position, stop), of, self.seed)
            return drawn, torch.ones_like(drawn, dtype=torch.bool)
        chosen, valid = [], []
        while position < stop:
            epoch, offset = divmod(position, length)
            places = torch.arange(offset, min(length, offset + stop - position))
            chosen.append(self._pass(phase, epoch)[places % n])
            valid.append(places < n)
            position += len(places)
        return torch.cat(chosen), torch.cat(valid)

    def _pass(self, phase: int, epoch: int) -> Tensor:
        if self._epoch != (phase, epoch):
            self._places, self._epoch = self.by.places(self.stream, phase, epoch, self.seed), (phase, epoch)
        return self._places


class Blocks:
    """The loader: yields :class:`Block`; sized, since Lightning prefetches from loaders without a length."""

    def __init__(self, course: Course):
        self.course, self.spans = course, course.spans
        self.position, self.earlier = 0, 0
        of_members = zip(course.streams, course.seeds, course.orders, strict=True)
        self.orders = [Order(stream, seed, course.budget, by) for stream, seed, by in of_members]
        self.one_task = [
            all(bool((s.phases[k].tasks == s.phases[k].tasks[0]).all()) for s in course.streams)
            for k in range(len(course.phases))
        ]

    def __len__(self) -> int:
        return self.earlier + len(self.spans)

    def __iter__(self) -> Iterator[Block]:
        while self.position < len(self.spans):
            block = self.block(self.position)
            self.position += 1  # before the yield: the Trainer never asks for one more
            yield block
        self.position = 0

    def state_dict(self) -> dict[str, int]:
        """The step reached, and in how many blocks; another sitting may cut blocks elsewhere (``max_steps``)."""
        step = self.spans[self.position].start if self.position < len(self.spans) else self.course.total
        return {"step": step, "blocks": self.earlier + self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.spans, self.position, self.earlier = list(self.course.cut(state["step"])), 0, state["blocks"]

    def block(self, number: int) -> Block:
        """The block with this number."""
        span = self.spans[number]
        taken = [order.take(span.phase, span.first, span.length) for order in self.orders]
        phases = [s.phases[span.phase] for s in self.course.streams]
        shape = (len(phases), span.length, self.course.budget.batch_size)

        def blocked(rows: list[Tensor]) -> Tensor:
            return torch.stack(rows).view(shape).transpose(0, 1).contiguous()

        examples = blocked([p.examples[chosen] for p, (chosen, _) in zip(phases, taken, strict=True)])
        if self.one_task[span.phase]:
            tasks = torch.stack([p.tasks[0] for p in phases]).view(1, -1, 1).expand(span.length, -1, 1).contiguous()
        else:
            tasks = blocked([p.tasks[chosen] for p, (chosen, _) in zip(phases, taken, strict=True)])
        steps = torch.arange(span.first, span.first + span.length).unsqueeze(1)
        lengths = torch.tensor(self.course.lengths[span.phase])
        active = steps < lengths
        valid = blocked([valid for _, valid in taken]) & active.unsqueeze(2)
        return Block(
            span.start, span.phase, examples, tasks, None if valid.all() else valid.float(), active,
            tuple(active.all(1).tolist()), tuple(valid.flatten(1).all(1).tolist()),
            span.begins, span.ends, span.evaluate, span.checkpoint, *self._rates(span), (steps / lengths).clamp(max=1),
        )  # fmt: skip

    def _rates(self, span: Span) -> tuple[Tensor | None, tuple[float, ...] | None]:
        """A block's ``rates``, or its ``rate`` where all members are alike."""
        rates = self.course.rates.at(span.phase, span.first, span.length) if self.course.rates else None
        if rates is None or not bool((rates == rates[:, :1]).all()):
            return rates, None
        return None, tuple(rates[:, 0].tolist())


def first_of(stream: Stream, count: int | None) -> Stream:
    """The stream as far as the end of its first ``count`` tasks, with as many output units as the whole has; None for all.

    Raises:
        UserError: there are not so many, or what they are trained on holds samples of later ones.
    """
    if count is None:
        return stream
    tasks = len(stream.tasks)
    require(count <= tasks, "first_tasks", count, f"at most {tasks}, the tasks of this environment, or null")
    phases = tuple(phase for phase in stream.phases if phase.completes < count)
    own = all(bool((phase.tasks < count).all()) for phase in phases)
    ends = bool(phases) and phases[-1].completes == count - 1
    mixed = "null: this environment trains on samples of later tasks before that one ends"
    require(own and ends, "first_tasks", count, mixed)
    baseline = None if stream.baseline is None else stream.baseline[:count]
    return replace(stream, tasks=stream.tasks[:count], phases=phases, baseline=baseline)


class StreamDataModule(LightningDataModule):
    """The stream of all members for a Trainer; its state is the position in it."""

    def __init__(self, course: Course):
        super().__init__()
        self.blocks = Blocks(course)

    def state_dict(self) -> dict[str, int]:
        """The loader's: a data module is restored before the Trainer asks the loader for its length."""
        return self.blocks.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.blocks.load_state_dict(state)

    def train_dataloader(self) -> Blocks:
        return self.blocks

    def transfer_batch_to_device(self, batch: Block, device: torch.device, dataloader_idx: int) -> Block:
        return batch.to(device)
