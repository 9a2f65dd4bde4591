"""What is measured where outputs have names: whole answers, spans, and how many of them break the rules.

An answer is final: of each place the most probable class among those that may be said there and were met; or, of data that are
answered one place after the other, what the network decodes by itself, greedily (`accuracy` is there that of each place given
the right answers before it). All measures are shares: of examples, of labels, of groups of examples that a rule is over.

Under constrained decoding the answer is the most probable of the K best that breaks no rule, and else the most probable. Places
that are independent of each other have their K best exactly, those of a group of examples together; decoded ones by beams. An
example that is in groups is answered as in the first group of the largest kind that it is in.

Letters in shapes: M members, n examples, G groups, k examples in a group, L tokens, P places, C classes, K answers, T tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lab.errors import UserError
from lab.protocols import NO_LABEL, Layout, Rule, Stream
from lab.rows import Rows, some
from lab.rules import UNSAYABLE
from lab.rules.exploring import best
from lab.spans import OUTSIDE, counted, kinds_of, marks_spans
from lab.violated import Worst

if TYPE_CHECKING:
    from lab.learner import ContinualLearner

SINGLE = "single"
TESTED = "tested"
"""The examples that accuracy is measured on, each by itself."""

TAKEN = ("forgetting",)
"""Names that no rule can have, since measures have them: `violation_forgetting`."""

Shares = dict[str, tuple[Tensor, Tensor]]
"""What is counted by name: so many ``[M]`` of so many ``[M]``."""


@dataclass(frozen=True)
class Chunk:
    """Some examples of each member, and what is answered to them."""

    inputs: Tensor
    """``[M, n, ...]``."""
    targets: Tensor
    """``[M, n]`` or ``[M, n, P]``."""
    there: Tensor
    """Whether there is an example, bool ``[M, n]``: members may have fewer than others."""
    logits: Tensor
    """``[M, n, C]`` or ``[M, n, P, C]``, minus infinity at units that may not be answered."""


@dataclass(frozen=True)
class Answered:
    """Answers to groups of one kind, or some of them."""

    answers: Tensor
    """Classes ``[M, G, k, P]``."""
    better: Tensor
    """Those under constrained decoding."""
    targets: Tensor
    """``[M, G, k, P]``."""
    there: Tensor
    """Whether there is a group, bool ``[M, G]``."""
    broken: Tensor
    """Whether it breaks each of the rules over its kind, bool ``[R, M, G]``."""
    found: Tensor
    """Whether an answer that breaks none was found, bool ``[M, G]``."""


class Ruled(nn.Module):
    """Measures of answers to the members' tasks by a layout and rules over it.

    Args:
        tests: the rows that accuracy is measured on, of each task, of each member.
        constrained: K; 0 leaves constrained decoding out.
    """

    def __init__(
        self, layout: Layout, streams: Sequence[Stream], seeds: list[int], tests: list[list[Tensor]], split: str = "test",
        at_most: int | None = None, constrained: int = 16,
    ):  # fmt: skip
        super().__init__()
        self.layout, self.rules, self.seeds = layout, streams[0].rules, seeds
        self.constrained = constrained if self.rules else 0
        self.over = {rule.over: [other for other in self.rules if other.over == rule.over] for rule in self.rules}
        _refuse_names(self.rules)
        outputs = [output for output in layout.outputs if output.sequence and marks_spans(output.classes)]
        self.spans = [slice(output.start, output.stop) for output in outputs]
        types, begins = torch.full(layout.sayable.shape[1:], OUTSIDE), torch.zeros(layout.sayable.shape[1:], dtype=torch.bool)
        for output in outputs:
            own = slice(output.first, output.first + len(output.classes))
            types[own], begins[own] = kinds_of(output.classes)
        self.register_buffer("types", types, persistent=False)
        self.register_buffer("begins", begins, persistent=False)
        self.names = tuple(self._names())
        self.groups, self.deciding = nn.ModuleDict(), nn.ModuleDict()
        for kind, held in self._groups(streams) if split == "test" else ():
            chosen = some(held, seeds, at_most)
            self.groups[kind] = Rows(_flat(chosen))
            if kind != SINGLE:
                self.deciding[kind] = Places(chosen, tests)

    def _names(self) -> Iterator[str]:
        """Of the measures, in order."""
        if self.layout.places > 1:
            yield "sequence_accuracy"
        if len(self.layout.outputs) > 1:
            yield from (f"accuracy_{output.name}" for output in self.layout.outputs)
        if self.spans:
            yield "span_f1"
        if self.rules:
            yield from ("violation", *(f"violation_{rule.name}" for rule in self.rules))
        if self.constrained:
            yield from (f"constrained_{self.layout.metric}", "constrained_found")

    def _groups(self, streams: Sequence[Stream]) -> Iterator[tuple[str, list[list[Tensor]]]]:
        """Kinds of groups, the smallest first, and their rows ``[n, k]`` of each task, of each member; ``single`` only where
        these are not just the test examples."""
        for kind, rules in sorted(self.over.items(), key=lambda item: item[1][0].arity):
            own = [[stream.tasks[t].test_groups.get(kind) for stream in streams] for t in range(len(streams[0].tasks))]
            if kind == SINGLE and all(rows is None for task in own for rows in task):
                continue
            if kind == SINGLE:
                none = [[stream.tasks[t].test.unsqueeze(1) for stream in streams] for t in range(len(own))]
            else:
                nothing = torch.zeros(0, rules[0].arity, dtype=torch.int64)
                none = [[nothing] * len(streams)] * len(own)
            yield kind, [[b if a is None else a for a, b in zip(*each, strict=True)] for each in zip(own, none, strict=True)]

    def count(self, task: int) -> int:
        """Examples of one member that groups of a task are made of."""
        return sum(rows.count(task) for rows in self.groups.values())

    # --- what is answered ---------------------------------------------------------------------------------------------

    def answered(self, learner: ContinualLearner, chunk: Chunk, kind: str, task: int, worst: Worst | None) -> Answered:
        """Final answers to groups of a kind, one after the other in ``chunk``; violations are told to ``worst``."""
        rules = self.over.get(SINGLE if kind == TESTED else kind, [])
        size = rules[0].arity if rules else 1
        inputs = chunk.inputs.unflatten(1, (-1, size))
        if self.layout.decoded:
            answers = learner.population.decode(chunk.inputs)[:, :, 0]
        else:
            answers = self._placed(chunk.logits.argmax(-1))
        answers = answers.unflatten(1, (-1, size))
        there = chunk.there.unflatten(1, (-1, size)).all(2)
        targets = torch.where(chunk.there.unsqueeze(2), self._placed(chunk.targets), NO_LABEL).unflatten(1, (-1, size))
        broken = self._broken(rules, answers, inputs)
        if worst is not None and not (kind == TESTED and SINGLE in self.groups):
            real = self.layout.real(inputs, answers)
            for rule, own in zip(rules, broken, strict=True):
                worst.add(rule, task, there, own, inputs, answers, real)
        better, found = self._constrained(learner, chunk, inputs, answers, rules, broken.any(0))
        return Answered(answers, better, targets, there, broken, found)

    def _placed(self, classes: Tensor) -> Tensor:
        """``[M, n, P]``, whether an example has one label or several."""
        return classes.unsqueeze(2) if classes.dim() == 2 else classes

    def _broken(self, rules: Sequence[Rule], answers: Tensor, inputs: Tensor) -> Tensor:
        """Whether answers ``[..., G, k, P]`` to inputs ``[..., G, k, L]`` break each rule, bool ``[R, ..., G]``."""
        if not rules:
            return torch.zeros(0, *answers.shape[:-2], dtype=torch.bool, device=answers.device)
        real = self.layout.real(inputs, answers)
        return torch.stack([rule.violated(answers, inputs, real).expand(answers.shape[:-2]) for rule in rules])

    def _constrained(
        self, learner: ContinualLearner, chunk: Chunk, inputs: Tensor, answers: Tensor, rules: Sequence[Rule], broken: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Answers ``[M, G, k, P]`` under constrained decoding, and whether they break no rule, ``[M, G]``.

        It is looked for those alone that break one, of each member as many as the member with most of them has.
        """
        size = inputs.shape[2]
        alone = self.over.get(SINGLE, []) if size > 1 else []
        if alone:
            broken = broken | self._broken(alone, answers.unsqueeze(3), inputs.unsqueeze(3)).any(0).any(2)
        width = int(broken.sum(1).max()) if broken.numel() else 0
        if not (self.constrained and width and (rules or alone)) or (self.layout.decoded and size > 1):
            return answers, ~broken
        which = broken.int().argsort(dim=1, descending=True, stable=True)[:, :width]
        inputs = _taken(inputs, which)
        candidates, possible = self._candidates(learner, chunk, inputs, which, size)  # [M, W, K, k, P], [M, W, K]
        tried, shown = candidates.movedim(2, 0), inputs.expand(candidates.shape[2], *inputs.shape)
        wrong = self._broken(rules, tried, shown).any(0)
        if alone:
            wrong = wrong | self._broken(alone, tried.unsqueeze(4), shown.unsqueeze(4)).any(0).any(3)
        sound = ~wrong.movedim(0, 2) & possible
        first = sound.int().argmax(2)  # 0, the most probable, where none is sound
        chosen = candidates.gather(2, first.view(*first.shape, 1, 1, 1).expand(-1, -1, 1, *candidates.shape[3:])).squeeze(2)
        places = which.view(*which.shape, 1, 1).expand_as(chosen)
        return answers.scatter(1, places, chosen), (~broken).scatter(1, which, sound.any(2))

    def _candidates(
        self, learner: ContinualLearner, chunk: Chunk, inputs: Tensor, which: Tensor, size: int
    ) -> tuple[Tensor, Tensor]:
        """The K best answers to the groups ``which`` ``[M, W]`` of a chunk, the best first, ``[M, W, K, k, P]``, and whether
        they can be given at all ``[M, W, K]``."""
        if self.layout.decoded:
            answers = learner.population.decode(inputs.squeeze(2), beams=self.constrained).unsqueeze(3)
            return answers, torch.ones_like(answers[..., 0, 0], dtype=torch.bool)
        logits = chunk.logits.unsqueeze(2) if chunk.logits.dim() == 3 else chunk.logits
        log_probs = _taken(logits.unflatten(1, (-1, size)), which).log_softmax(-1).flatten(2, 3)  # [M, W, k P, C]
        answers, scores = best(log_probs, self.constrained, self.layout.real(inputs).flatten(2))
        return answers.unflatten(3, (size, -1)), scores > UNSAYABLE / 2

    # --- what is counted ----------------------------------------------------------------------------------------------

    def measure(
        self,
        learner: ContinualLearner,
        task: int,
        tested: list[Answered],
        worst: Worst | None,
        ask: Callable[[Rows, int], Iterable[Chunk]],
    ) -> Tensor:
        """All measures ``[names, M]`` of a task, NaN where there is nothing to count.

        Args:
            tested: what is answered to the examples that accuracy is measured on.
            worst: is told what rules are broken by; None: nobody wants to know.
            ask: answers rows of a task, so many of which belong together.
        """
        groups = {TESTED: _joined(tested)}
        for kind, rows in self.groups.items():
            if rows.count(task):
                chunks = ask(rows, self.over[kind][0].arity)
                groups[kind] = _joined([self.answered(learner, chunk, kind, task, worst) for chunk in chunks])
        counted = self._of_answers(groups[TESTED].answers.squeeze(2), groups[TESTED].targets.squeeze(2))
        counted |= self._of_rules(groups)
        if self.constrained:
            better = self._decided(groups, task)
            under = self._of_answers(better, groups[TESTED].targets.squeeze(2))
            counted[f"constrained_{self.layout.metric}"] = under[self.layout.metric]
        nothing = (torch.zeros_like(learner.diverged_at),) * 2
        return torch.stack([torch.div(*counted.get(name, nothing)) for name in self.names])

    def _of_answers(self, answers: Tensor, targets: Tensor) -> Shares:
        """What is right of answers ``[M, n, P]``."""
        labelled = targets >= 0
        right = (answers == targets) & labelled
        some_label = labelled.any(2)
        shares = {
            "accuracy": (right.sum((1, 2)), labelled.sum((1, 2))),
            "sequence_accuracy": (((right == labelled).all(2) & some_label).sum(1), some_label.sum(1)),
        }
        for output in self.layout.outputs:
            own = slice(output.start, output.stop)
            shares[f"accuracy_{output.name}"] = right[:, :, own].sum((1, 2)), labelled[:, :, own].sum((1, 2))
        if self.spans:
            table = (self.types, self.begins)
            counts = [counted(*(each[:, :, own] for each in (answers, targets, labelled)), *table) for own in self.spans]
            found, said, there = (sum(each.sum(1) for each in of) for of in zip(*counts, strict=True))
            shares["span_f1"] = 2 * found, said + there
        return shares

    def _of_rules(self, groups: dict[str, Answered]) -> Shares:
        """How many groups break rules, and of how many none need."""
        shares: Shares = {}
        known = {kind: groups.get(kind, groups[TESTED] if kind == SINGLE else None) for kind in self.over}
        known = {kind: group for kind, group in known.items() if group is not None}
        for kind, group in known.items():
            count = group.there.sum(1)
            for rule, broken in zip(self.over[kind], group.broken, strict=True):
                shares[f"violation_{rule.name}"] = (broken & group.there).sum(1), count
        if known:
            total = sum(group.there.sum(1) for group in known.values())
            shares["violation"] = sum((group.broken.any(0) & group.there).sum(1) for group in known.values()), total
            shares["constrained_found"] = sum((group.found & group.there).sum(1) for group in known.values()), total
        return shares

    def _decided(self, groups: dict[str, Answered], task: int) -> Tensor:
        """Answers ``[M, n, P]`` under constrained decoding to the examples that accuracy is measured on."""
        better = groups[TESTED].better.squeeze(2)
        for kind, places in self.deciding.items():  # the largest groups last
            if kind in groups:
                there, place = places(task)
                joint = _taken(groups[kind].better.flatten(1, 2), place)
                better = torch.where(there.unsqueeze(2), joint, better)
        return better


class Places(nn.Module):
    """Where the examples that accuracy is measured on are found among groups of a kind."""

    def __init__(self, groups: list[list[Tensor]], tests: list[list[Tensor]]):
        super().__init__()
        self.members = len(tests[0])
        for task, each in enumerate(zip(groups, tests, strict=True)):
            places = [_first(flat.flatten(), rows) for flat, rows in zip(*each, strict=True)]
            longest = max(map(len, places))
            padded = torch.stack([nn.functional.pad(own, (0, longest - len(own)), value=-1) for own in places])
            alike = bool((padded == padded[:1]).all())
            self.register_buffer(f"task_{task}", padded[:1] if alike else padded, persistent=False)

    def forward(self, task: int) -> tuple[Tensor, Tensor]:
        """Whether each example of a task is in any group, ``[M, n]``, and its place among the examples of all groups."""
        places = getattr(self, f"task_{task}").expand(self.members, -1)
        return places >= 0, places.clamp(min=0)


def _first(among: Tensor, rows: Tensor) -> Tensor:
    """The first place of each of ``rows`` ``[n]`` in ``among``; -1 for none."""
    none = torch.full((int(torch.cat([among, rows]).max()) + 1,), len(among))
    table = none.scatter_reduce(0, among, torch.arange(len(among)), "amin")
    return torch.where(table[rows] < len(among), table[rows], -1)


def _flat(tasks: list[list[Tensor]]) -> list[list[Tensor]]:
    """Rows of groups ``[n, k]`` one after the other; what was one tensor stays one."""
    flat = {id(rows): rows.flatten() for task in tasks for rows in task}
    return [[flat[id(rows)] for rows in task] for task in tasks]


def _taken(values: Tensor, which: Tensor) -> Tensor:
    """Of values ``[M, G, ...]`` those at ``which`` ``[M, W]``."""
    return values.gather(1, which.view(*which.shape, *[1] * (values.dim() - 2)).expand(-1, -1, *values.shape[2:]))


def _joined(parts: list[Answered]) -> Answered:
    """All groups together."""
    axis = {field.name: 2 if field.name == "broken" else 1 for field in fields(Answered)}
    return Answered(**{name: torch.cat([getattr(part, name) for part in parts], at) for name, at in axis.items()})


def _refuse_names(rules: Sequence[Rule]) -> None:
    for rule in rules:
        if rule.name in TAKEN:
            raise UserError(f"environment.rules.{rule.name}: the measure violation_{rule.name} is another; choose another name")
