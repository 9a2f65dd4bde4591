"""Natural-language inference: pairs of sentences, and what is known of their labels where pairs share sentences.

Letters in shapes: N pairs, L words of a sentence, n groups.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import torch
from torch import Tensor

from environments.ruled import imposed as imposed_in
from environments.ruled import rules_of, share_of_labels, told, with_unlabelled
from environments.tasks import SHARED, hold_out, source_of, switch
from lab.protocols import (
    NO_LABEL,
    Data,
    Examples,
    Stream,
    Task,
    UserError,
    fraction,
    generator,
    invalid,
    phase_per_task,
    require,
    whole,
)

GROUPS = {"pairs": ("ab", "ba"), "triples": ("ab", "bc", "ac")}
"""Kinds of groups, and what rules call their pairs: two and their reverse; of three sentences, from the first to the last."""
SHIPPED = {
    "contradiction": ("symmetric", {"over": "pairs", "says": "ab.label = contradiction <-> ba.label = contradiction"}),
    "entailment": (
        "transitive",
        {"over": "triples", "says": "ab.label = entailment and bc.label = entailment -> ac.label = entailment"},
    ),
}
"""By the label that it is about, each rule of the environment's own."""


class NLI:
    """The pairs of a source with the labels entailment, neutral and contradiction, or its own (domain-incremental).

    Two rules are known: ``symmetric``, who contradicts is contradicted; ``transitive``, what follows from what follows from a
    sentence follows from it. They are over groups: each pair with its reverse, and each chain ab, bc with its ends ac. Pairs
    that the data lack for that have no label and stand behind the others, in training and in test data. Sentences are told
    from one another by their tokens, as the network sees them.

    Args:
        rules: ``{name: rule}``, in addition to these two, or null for one of them to be left out.
        imposed: ``{rule: first task}`` or ``{rule: [first, last]}``, from 1: while which tasks it is imposed; null: never.
        by: null, one task; ``genre``, one for each genre that the source's pairs are of; ``rule``, as many as there are rules,
            each with its part of the pairs, dealt out at random, and with that rule imposed alone.
        shared: one order of genres, one dealing out, for all members.
        labels: the share of each task's training pairs whose label is told. The others are in groups alone.
        validation: the share of each task's training pairs that is held out; no group has one of them.
        triples: chains at most, in training and in test data each, drawn at random, the same for all; None: all there are.
    """

    def __init__(
        self,
        source: Data,
        rules: dict | None = None,
        imposed: dict | None = None,
        by: str | None = None,
        shared: bool = False,
        labels: float = 1.0,
        validation: float = 0.0,
        triples: int | None = None,
    ):
        self.source = _pairs_of(source)
        self.validation, self.labels = fraction("environment.validation", validation), share_of_labels(labels)
        self.shared, self.by = switch("environment.shared", shared), by
        require(by in (None, "genre", "rule"), "environment.by", by, "null, genre or rule")
        most = None if triples is None else whole("environment.triples", triples, 1)
        own = source.layout.outputs[0].classes
        shipped = {name: rule for label, (name, rule) in SHIPPED.items() if label in own}
        self.rules = rules_of(rules or {}, source.layout, shipped, GROUPS)
        self.genres = {split: self._genres(split) for split in ("train", "test")}
        self.tasks = {None: 1, "genre": len(source.genres), "rule": len(self.rules)}[by]
        require(self.tasks > 0, "environment.rules", rules, "at least one rule, since environment.by=rule")
        arrival = {rule.name: (t, t) for t, rule in enumerate(self.rules, 1)} if by == "rule" else None
        self.imposed = imposed_in(imposed or {}, self.rules, self.tasks, arrival)
        grouped = {split: with_groups(getattr(source, split), most) for split in ("train", "test")}
        self.groups = {split: groups for split, (_, groups) in grouped.items()}
        examples = {split: examples for split, (examples, _) in grouped.items()}
        self.data = replace(source, **examples, digest=f"{source.digest}-nli{'' if most is None else most}")
        self.count = len(self.data.train)
        # Where there are several tasks too: a task's groups hold other tasks' pairs.
        self.copied = self.labels < 1 or self.tasks > 1
        if self.copied:
            self.data = with_unlabelled(self.data)

    # --- streams ------------------------------------------------------------------------------------------------------

    def stream(self, seed: int) -> Stream:
        of_train, of_test = self._dealt(SHARED if self.shared else seed)
        labelled = self.source.train.targets >= 0
        parts = [((of_train == t) & labelled).nonzero().squeeze(1) for t in range(self.tasks)]
        held = [hold_out(rows, self.validation, seed, t) for t, rows in enumerate(parts)]
        known = [told(rows, self.labels, seed, t) if self.labels < 1 else (rows, rows[:0]) for t, (rows, _) in enumerate(held)]
        never = torch.cat([rows for _, rows in held])
        tasks = tuple(
            Task(
                rows,
                self._test_rows(of_test, t),
                torch.arange(self.data.classes),
                held[t][1],
                groups=self._groups(of_train, t, rows, untold, never),
                validation_groups=self._held_groups(of_train, t, held[t][1]),
                test_groups={kind: groups[self._is_of(of_test, groups, t)] for kind, groups in self.groups["test"].items()},
                rules=self.imposed[t],
            )
            for t, (rows, untold) in enumerate(known)
        )
        return Stream(tasks, phase_per_task(tasks), "domain", self.data.classes, rules=self.rules)

    def _dealt(self, seed: int) -> tuple[Tensor, Tensor | None]:
        """Which task each pair of the source's is of, int64 ``[N]``, in training and in test data; None: of each."""
        count = len(self.source.train)
        draw = generator(seed, "parts")
        if self.by == "genre":
            place = torch.randperm(self.tasks, generator=draw).argsort()
            return place[self.genres["train"]], place[self.genres["test"]]
        number = torch.empty(count, dtype=torch.int64)
        for t, part in enumerate(torch.randperm(count, generator=draw).tensor_split(self.tasks)):
            number[part] = t
        return number, None

    def _test_rows(self, of: Tensor | None, task: int) -> Tensor:
        labelled = self.source.test.targets >= 0
        return (labelled if of is None else labelled & (of == task)).nonzero().squeeze(1)

    @staticmethod
    def _is_of(of: Tensor | None, groups: Tensor, task: int) -> Tensor:
        """Which groups are a task's: those whose first pair is."""
        return torch.ones(len(groups), dtype=torch.bool) if of is None else of[groups[:, 0]] == task

    def _groups(self, of: Tensor, task: int, rows: Tensor, untold: Tensor, never: Tensor) -> dict[str, Tensor]:
        """A task's groups; pairs whose labels are not told are there as their copies without."""
        shown = torch.arange(self.count)
        if self.copied:
            hidden = self.data.train.targets[: self.count] >= 0
            hidden[rows] = False
            shown = shown + self.count * hidden
        groups = {}
        for kind, own in self.groups["train"].items():
            own = own[self._is_of(of, own, task)]
            groups[kind] = shown[own[~torch.isin(own, never).any(1)]]
        blank = ((of == task) & (self.source.train.targets < 0)).nonzero().squeeze(1)
        if len(untold) or len(blank):
            groups["single"] = torch.cat([rows, shown[untold], blank]).unsqueeze(1)
        return groups

    def _held_groups(self, of: Tensor, task: int, held: Tensor) -> dict[str, Tensor]:
        """A task's groups with a pair that it holds out, whose other pairs may be trained on."""
        groups = {kind: own[self._is_of(of, own, task)] for kind, own in self.groups["train"].items()}
        return {kind: own[torch.isin(own, held).any(1)] for kind, own in groups.items()}

    def _genres(self, split: str) -> Tensor | None:
        """The genres of all pairs, where tasks are by genre."""
        if self.by != "genre":
            return None
        genre, name = getattr(self.source, split).genre, self.source.name
        if not self.source.genres:
            raise invalid("environment.by", "genre", f"null or rule: {name} does not say of what genre its pairs are")
        if (genre < 0).any():
            raise UserError(f"environment.by=genre: {int((genre < 0).sum())} {split} pairs of {name} say no genre")
        labelled = genre[getattr(self.source, split).targets >= 0]
        absent = sorted(set(range(len(self.source.genres))) - set(labelled.tolist()))
        if absent:
            raise UserError(f"environment.by=genre: {name} has no {split} pair of {self.source.genres[absent[0]]} with a label")
        return genre

    # --- what is to be known ------------------------------------------------------------------------------------------

    def announcement(self) -> str:
        """How many groups there are, and of how many all labels are known."""
        return f"groups of training data: {self._counted('train')}; of test data: {self._counted('test')}"

    def _counted(self, split: str) -> str:
        targets = getattr(self.data, split).targets
        words = {"pairs": "pairs with their reverse", "triples": "chains"}
        found = [
            f"{len(groups)} {words[kind]}, {int((targets[groups] >= 0).all(1).sum())} with all labels"
            for kind, groups in self.groups[split].items()
        ]
        return ", ".join(found)


def with_groups(examples: Examples, most: int | None = None) -> tuple[Examples, dict[str, Tensor]]:
    """Pairs, behind them those that groups lack, without labels; and rows ``[n, k]`` of each kind of :data:`GROUPS`.

    Of two equal pairs the first that has a label is taken. A group has different sentences.

    Args:
        most: chains at most, drawn at random.
    """
    sentences, numbers = examples.inputs.unflatten(1, (2, -1)).flatten(0, 1).unique(dim=0, return_inverse=True)
    numbers = numbers.view(-1, 2).tolist()
    given: dict[tuple[int, int], int] = {}
    for row in (examples.targets < 0).long().argsort(stable=True).tolist():
        given.setdefault(tuple(numbers[row]), row)
    given = {pair: row for pair, row in sorted(given.items(), key=lambda item: item[1]) if pair[0] != pair[1]}
    rows, origin, made = dict(given), [], []

    def row_of(a: int, b: int, like: int) -> int:
        if (a, b) not in rows:
            rows[a, b] = len(numbers) + len(made)
            made.append((a, b))
            origin.append(like)
        return rows[a, b]

    pairs = [(row, row_of(b, a, row)) for (a, b), row in given.items() if given.get((b, a), row) >= row]
    triples = [(rows[a, b], rows[b, c], row_of(a, c, rows[a, b])) for a, b, c in _chains(given, most)]
    groups = {kind: torch.tensor(own, dtype=torch.int64).view(-1, len(GROUPS[kind])) for kind, own in
              (("pairs", pairs), ("triples", triples))}  # fmt: skip
    behind = sentences[torch.tensor(made, dtype=torch.int64).view(-1, 2)].flatten(1)
    blank = torch.full((len(made),), NO_LABEL)
    genre = None if examples.genre is None else torch.cat([examples.genre, examples.genre[torch.tensor(origin).long()]])
    return Examples(torch.cat([examples.inputs, behind]), torch.cat([examples.targets, blank]), genre=genre), groups


def _chains(given: dict[tuple[int, int], int], most: int | None) -> list[tuple[int, int, int]]:
    """Sentences a, b, c of which both ab and bc are given."""
    after = defaultdict(list)
    for a, b in given:
        after[a].append(b)
    chains = [(a, b, c) for a, b in given for c in after.get(b, ()) if c not in (a, b)]
    if most is None or len(chains) <= most:
        return chains
    kept = torch.randperm(len(chains), generator=generator(SHARED, "chains"))[:most].sort().values
    return [chains[number] for number in kept.tolist()]


def _pairs_of(given: object) -> Data:
    """``given``, which must be the data of a source of pairs of sentences."""
    data = source_of(given)
    layout = data.layout
    sound = layout is not None and layout.places == 1 and layout.output("label") is not None and bool(layout.tokens)
    require(sound, "environment.source", data.name, "a source of pairs of sentences: sick, pairs")
    return data
