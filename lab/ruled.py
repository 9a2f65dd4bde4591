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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor, nn

from lab.asking import Asking, Chunk
from lab.errors import UserError
from lab.protocols import NO_LABEL, Layout, Rule, Stream
from lab.rows import Grouped, Rows, some
from lab.rules import UNSAYABLE
from lab.rules.exploring import best
from lab.spans import OUTSIDE, counted, kinds_of, marks_spans
from lab.violated import Worst

SINGLE = "single"

TAKEN = ("forgetting",)
"""Names that no rule can have, since measures have them: `violation_forgetting`."""

Shares = dict[str, tuple[Tensor, Tensor]]
"""What is counted by name: so many ``[M]`` of so many ``[M]``."""


@dataclass(frozen=True)
class Answered:
    """Answers to groups of one kind, or some of them."""

    answers: Tensor
    """Classes ``[M, G, k, P]``."""
    better: Tensor
    """Those under constrained decoding."""
    there: Tensor
    """Whether there is a group, bool ``[M, G]``."""
    broken: Tensor
    """Whether it breaks each of the rules over its kind, bool ``[R, M, G]``."""
    found: Tensor
    """Whether an answer that breaks none was found, bool ``[M, G]``."""


Heard = tuple[Answered, Tensor]
"""Of examples by themselves, and their targets ``[M, n, P]``, -100 where there is none."""


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
        chosen = {kind: some(rows, seeds, at_most) for kind, rows in self._groups(streams, split)}
        self.groups = Grouped(chosen)
        joint = {kind: own for kind, own in chosen.items() if kind != SINGLE}
        places = {kind: [_places(*each) for each in zip(own, tests, strict=True)] for kind, own in joint.items()}
        self.deciding = nn.ModuleDict({kind: Rows(own) for kind, own in places.items()})

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

    def _groups(self, streams: Sequence[Stream], split: str) -> Iterator[tuple[str, list[list[Tensor]]]]:
        """Kinds of groups, the smallest first, and their rows ``[n, k]`` of each task, of each member; ``single`` only where
        these are not just the test examples."""
        for kind, rules in sorted(self.over.items(), key=lambda item: item[1][0].arity):
            tasks = [[stream.tasks[t] for stream in streams] for t in range(len(streams[0].tasks))]
            own = [[getattr(task, f"{split}_groups").get(kind) for task in members] for members in tasks]
            if kind == SINGLE and all(rows is None for task in own for rows in task):
                continue
            if kind == SINGLE:
                none = [[getattr(task, split).unsqueeze(1) for task in members] for members in tasks]
            else:
                nothing = torch.zeros(0, rules[0].arity, dtype=torch.int64)
                none = [[nothing] * len(streams)] * len(own)
            yield kind, [[b if a is None else a for a, b in zip(*each, strict=True)] for each in zip(own, none, strict=True)]

    def count(self, task: int) -> int:
        """Examples of one member that groups of a task are made of."""
        return self.groups.count(task)

    def worst(self) -> Worst:
        """What is to be told what breaks the rules."""
        return Worst(self.layout, self.rules, self.seeds)

    # --- what is answered ---------------------------------------------------------------------------------------------

    def tested(self, asking: Asking, worst: Worst | None, heard: list[Heard], chunk: Chunk) -> None:
        """Add to ``heard`` what is answered to some of the examples that accuracy is measured on."""
        answers, inputs = self._final(asking, chunk).unsqueeze(2), chunk.inputs.unsqueeze(2)
        own = None if SINGLE in self.groups.kinds else worst
        logits = chunk.logits if chunk.logits.dim() == 4 else chunk.logits.unsqueeze(2)
        answered = self._answered(asking, SINGLE, answers, inputs, chunk.there, lambda which: _taken(logits, which), own)
        targets = chunk.targets if chunk.targets.dim() == 3 else chunk.targets.unsqueeze(2)
        heard.append((answered, torch.where(chunk.there.unsqueeze(2), targets, NO_LABEL)))

    def _of_groups(self, asking: Asking, worst: Worst | None) -> dict[str, Answered]:
        """Answers to all groups of a task, by kind. Examples that are in many are asked once, and once more for what else could
        be answered to a group that breaks a rule."""
        if not self.count(asking.task):
            return {}
        distinct, valid = self.groups.examples(asking.task)
        answers = torch.cat([self._final(asking, chunk) for chunk in asking.answers(distinct, valid)], 1)
        found = {}
        for kind, places in self.groups.kinds.items():
            size, parts = self.over[kind][0].arity, []
            batch = max(1, asking.batch // size) * size
            for where, there in zip(*(each.split(batch, 1) for each in places(asking.task)), strict=True):
                rows = distinct.gather(1, where)
                own, inputs, there = (
                    each.unflatten(1, (-1, size)) for each in (_taken(answers, where), asking.read(rows)[0], there)
                )
                again = partial(self._asked_again, asking, rows.unflatten(1, (-1, size)))
                parts.append(self._answered(asking, kind, own, inputs, there.all(2), again, worst))
            found[kind] = _joined(parts)
        return found

    def _final(self, asking: Asking, chunk: Chunk) -> Tensor:
        """The answers, classes ``[M, n, P]``."""
        if self.layout.decoded:
            return asking.learner.population.decode(chunk.inputs)[:, :, 0]
        answers = chunk.logits.argmax(-1)
        return answers if answers.dim() == 3 else answers.unsqueeze(2)

    @staticmethod
    def _asked_again(asking: Asking, rows: Tensor, which: Tensor) -> Tensor:
        """The logits ``[M, W k, P, C]`` of the groups ``which`` ``[M, W]`` among ``rows`` ``[M, G, k]``."""
        again = _taken(rows, which).flatten(1)
        logits = torch.cat([chunk.logits for chunk in asking.answers(again, torch.ones_like(again, dtype=torch.bool))], 1)
        return logits if logits.dim() == 4 else logits.unsqueeze(2)

    def _answered(
        self,
        asking: Asking,
        kind: str,
        answers: Tensor,
        inputs: Tensor,
        there: Tensor,
        logits: Callable[[Tensor], Tensor],
        worst: Worst | None,
    ) -> Answered:
        """Answers ``[M, G, k, P]`` to inputs ``[M, G, k, L]`` of groups of a kind, and those under constrained decoding.

        Args:
            there: whether there is a group, ``[M, G]``.
            logits: those of some groups ``[M, W]``, ``[M, W k, P, C]``.
            worst: is told of violations.
        """
        rules = self.over.get(kind, [])
        broken = self._broken(rules, answers, inputs)
        if worst is not None and rules:
            real, sound = self.layout.real(inputs, answers), there & (asking.learner.diverged_at < 0).unsqueeze(1)
            for rule, own in zip(rules, broken, strict=True):
                worst.add(rule, asking.task, sound, own, inputs, answers, real)
        better, found = self._constrained(asking, answers, inputs, there, rules, broken.any(0), logits)
        return Answered(answers, better, there, broken, found)

    def _broken(self, rules: Sequence[Rule], answers: Tensor, inputs: Tensor) -> Tensor:
        """Whether answers ``[..., G, k, P]`` to inputs ``[..., G, k, L]`` break each rule, bool ``[R, ..., G]``."""
        if not rules:
            return torch.zeros(0, *answers.shape[:-2], dtype=torch.bool, device=answers.device)
        real = self.layout.real(inputs, answers)
        return torch.stack([rule.violated(answers, inputs, real).expand(answers.shape[:-2]) for rule in rules])

    def _constrained(
        self,
        asking: Asking,
        answers: Tensor,
        inputs: Tensor,
        there: Tensor,
        rules: Sequence[Rule],
        broken: Tensor,
        logits: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Answers ``[M, G, k, P]`` under constrained decoding, and whether they break no rule, ``[M, G]``.

        It is looked for those alone that break one, of each member as many as the member with most of them has.
        """
        size = inputs.shape[2]
        alone = self.over.get(SINGLE, []) if size > 1 else []
        if alone:
            broken = broken | self._broken(alone, answers.unsqueeze(3), inputs.unsqueeze(3)).any(0).any(2)
        wanted = broken & there
        width = int(wanted.sum(1).max()) if wanted.numel() else 0
        if not (self.constrained and width) or (self.layout.decoded and size > 1):
            return answers, ~broken
        which = wanted.int().argsort(dim=1, descending=True, stable=True)[:, :width]
        inputs = _taken(inputs, which)
        candidates, possible = self._candidates(asking, inputs, which, logits)  # [M, W, K, k, P], [M, W, K]
        tried, shown = candidates.movedim(2, 0), inputs.expand(candidates.shape[2], *inputs.shape)
        wrong = self._broken(rules, tried, shown).any(0)
        if alone:
            wrong = wrong | self._broken(alone, tried.unsqueeze(4), shown.unsqueeze(4)).any(0).any(3)
        sound = ~wrong.movedim(0, 2) & possible
        first = sound.int().argmax(2)  # 0, the most probable, where none is sound
        chosen = candidates.gather(2, first.view(*first.shape, 1, 1, 1).expand(-1, -1, 1, *candidates.shape[3:])).squeeze(2)
        places, asked = which.view(*which.shape, 1, 1).expand_as(chosen), wanted.gather(1, which)
        chosen = torch.where(asked[..., None, None], chosen, answers.gather(1, places))
        found = torch.where(asked, sound.any(2), ~broken.gather(1, which))
        return answers.scatter(1, places, chosen), (~broken).scatter(1, which, found)

    def _candidates(
        self, asking: Asking, inputs: Tensor, which: Tensor, logits: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The K best answers to groups, ``which`` ``[M, W]``, of inputs ``[M, W, k, L]``, the best first, ``[M, W, K, k, P]``,
        and whether they can be given at all ``[M, W, K]``."""
        if self.layout.decoded:
            answers = asking.learner.population.decode(inputs.squeeze(2), beams=self.constrained).unsqueeze(3)
            return answers, torch.ones_like(answers[..., 0, 0], dtype=torch.bool)
        size = inputs.shape[2]
        log_probs = logits(which).log_softmax(-1).unflatten(1, (-1, size)).flatten(2, 3)  # [M, W, k P, C]
        answers, scores = best(log_probs, self.constrained, self.layout.real(inputs).flatten(2))
        return answers.unflatten(3, (size, -1)), scores > UNSAYABLE / 2

    # --- what is counted ----------------------------------------------------------------------------------------------

    def measure(self, asking: Asking, heard: list[Heard], worst: Worst | None) -> Tensor:
        """All measures ``[names, M]`` of a task, NaN where there is nothing to count.

        Args:
            heard: of the examples that accuracy is measured on.
            worst: is told what breaks rules; None: nobody wants to know.
        """
        own, targets = _joined([answered for answered, _ in heard]), torch.cat([labels for _, labels in heard], 1)
        groups = self._of_groups(asking, worst)
        counted = self._of_answers(own.answers.squeeze(2), targets)
        counted |= self._of_rules({SINGLE: own} | groups if SINGLE in self.over else groups)
        if self.constrained:
            better = self._decided(own, groups, asking.task)
            counted[f"constrained_{self.layout.metric}"] = self._of_answers(better, targets)[self.layout.metric]
        nothing = (torch.zeros_like(own.there[:, 0], dtype=torch.int64),) * 2
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
        """How many groups break rules, and how many need not."""
        shares: Shares = {}
        for kind, group in groups.items():
            count = group.there.sum(1)
            for rule, broken in zip(self.over[kind], group.broken, strict=True):
                shares[f"violation_{rule.name}"] = (broken & group.there).sum(1), count
        if groups:
            total = sum(group.there.sum(1) for group in groups.values())
            shares["violation"] = sum((group.broken.any(0) & group.there).sum(1) for group in groups.values()), total
            shares["constrained_found"] = sum((group.found & group.there).sum(1) for group in groups.values()), total
        return shares

    def _decided(self, own: Answered, groups: dict[str, Answered], task: int) -> Tensor:
        """Answers ``[M, n, P]`` under constrained decoding to the examples that accuracy is measured on."""
        better = own.better.squeeze(2)
        for kind, places in self.deciding.items():  # the largest groups last
            if kind in groups:
                place, there = places(task)
                joint = _taken(groups[kind].better.flatten(1, 2), place.clamp(min=0))
                better = torch.where((there & (place >= 0)).unsqueeze(2), joint, better)
        return better


def _places(groups: list[Tensor], tests: list[Tensor]) -> list[Tensor]:
    """Where each member's examples ``[n]`` are first found among groups ``[G, k]``, one after the other; -1 for nowhere."""
    return [_first(own.flatten(), rows) for own, rows in zip(groups, tests, strict=True)]


def _first(among: Tensor, rows: Tensor) -> Tensor:
    """The first place of each of ``rows`` ``[n]`` in ``among``; -1 for none."""
    none = torch.full((int(torch.cat([among, rows]).max()) + 1,), len(among))
    table = none.scatter_reduce(0, among, torch.arange(len(among)), "amin")
    return torch.where(table[rows] < len(among), table[rows], -1)


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
