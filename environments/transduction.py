"""Synthetic transduction: strings are rewritten piece by piece (az -> aaa, bz -> zb), which ties counts of symbols to counts of
pieces (Lee et al. 2019, arXiv 1707.08608; Song & Lee 2024, arXiv 2406.01647; sizes are our reconstruction).

Letters in shapes: N strings, S symbols of the longest source, T places of the longest output and its end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from environments.ruled import imposed as imposed_in
from environments.ruled import rules_of, share_of_labels, told, with_unlabelled
from environments.sources.common import digest
from environments.tasks import SHARED, hold_out, switch
from lab.protocols import (
    NO_LABEL,
    Data,
    Examples,
    Layout,
    Output,
    Stream,
    Task,
    UserError,
    fraction,
    generator,
    invalid,
    number,
    phase_per_task,
    require,
    whole,
)

BEGIN, END = "<begin>", "<end>"
PAIRS = {"az": "aaa", "bz": "zb"}
Strings = list[tuple[str, ...]]
"""Sources, each as its pieces."""


class Transduction:
    """Strings of ``shortest`` to ``longest`` pieces, to be rewritten piece by piece; no test string is a training string.

    A string's number of pieces is drawn uniformly, then each piece, both from ``draw``: all members have the same strings. The
    network is told the source, and at each place of the output the symbols before it (domain-incremental: all symbols may be
    written at any time). One rule is known of each symbol: how often the output has it is the sum over the pieces that are
    rewritten with it (``count_a``: as often as 3 times az).

    Args:
        pairs: ``{piece: what is written for it}``, small letters. Each piece begins with a letter that no piece has elsewhere:
            a string has one reading.
        shortest, longest: pieces of a string.
        train, test: strings of each task at most. Of fewer different ones there are as many in this proportion.
        by: null, one task. ``pairs``: the pairs are dealt out in turn to ``tasks`` tasks, whose strings have these alone; the
            rule of a symbol is imposed from the first task on that writes it. ``length``: tasks of longer and longer strings.
            ``rule``: as many tasks as there are rules, each with its part of the strings, dealt out at random from the member's
            seed, and with that rule imposed alone.
        tasks: by pairs or length, how many.
        earlier: the share of the training strings of earlier tasks that are still there for a task's rules, without outputs.
        rules: ``{name: rule}``, in addition to those of counts, or null for one of these to be left out.
        imposed: ``{rule: first task}`` or ``{rule: [first, last]}``, from 1: while which tasks it is imposed; null: never.
        labels: the share of each task's training strings whose output is told. The others are there for rules alone.
        validation: the share of each task's training strings that is held out.
        shared: by rule, one dealing out for all members.
        draw: a seed.
    """

    def __init__(
        self,
        pairs: Mapping[str, str] | None = None,
        shortest: int = 1,
        longest: int = 8,
        train: int = 256,
        test: int = 128,
        by: str | None = None,
        tasks: int = 1,
        earlier: float = 0.0,
        rules: dict | None = None,
        imposed: dict | None = None,
        labels: float = 1.0,
        validation: float = 0.0,
        shared: bool = False,
        draw: int = 0,
    ):
        self.pairs = _sound(PAIRS if pairs is None else pairs)
        whole("environment.shortest", shortest, 1)
        require(whole("environment.longest", longest, 1) >= shortest, "environment.longest", longest, f"{shortest} or more")
        self.wanted = whole("environment.train", train, 1), whole("environment.test", test, 1)
        require(by in (None, "pairs", "length", "rule"), "environment.by", by, "null, pairs, length or rule")
        self.by, self.shared = by, switch("environment.shared", shared)
        self.labels, self.validation = share_of_labels(labels), fraction("environment.validation", validation)
        self.earlier = number("environment.earlier", earlier, 0, 1)
        self.kinds = self._kinds(whole("environment.tasks", tasks, 1), shortest, longest)
        self.draw = whole("environment.draw", draw, 0)
        self.layout = layout_of(self.pairs, longest)
        self.rules = rules_of(rules or {}, self.layout, counts(self.pairs))
        require(by != "rule" or bool(self.rules), "environment.rules", rules, "at least one rule, since environment.by=rule")
        self.tasks = len(self.rules) if by == "rule" else len(self.kinds)
        self.imposed = imposed_in(imposed or {}, self.rules, self.tasks, self._arrival())
        self.data, self.of_train, self.of_test = self._made()
        if self.labels < 1 or self.earlier > 0:
            self.data = with_unlabelled(self.data, self._untold(self.data.train.inputs))

    def _kinds(self, tasks: int, shortest: int, longest: int) -> list[tuple[list[str], list[int]]]:
        """The pieces and the lengths of each kind of strings there are; by rule one kind, dealt out."""
        pieces, lengths = list(self.pairs), list(range(shortest, longest + 1))
        if self.by in (None, "rule"):
            alone = "1, or environment.by=pairs or length beside it"
            require(self.by == "rule" or tasks == 1, "environment.tasks", tasks, alone)
            return [(pieces, lengths)]
        there = {"pairs": pieces, "length": lengths}[self.by]
        require(
            tasks <= len(there), "environment.tasks", tasks, f"at most {len(there)}, what environment.by={self.by} deals out"
        )
        parts = [part.tolist() for part in np.array_split(there, tasks)]
        return [(part, lengths) if self.by == "pairs" else (pieces, part) for part in parts]

    def _arrival(self) -> dict[str, tuple[int, int]]:
        """From which task to which each rule is imposed, where it is not in all."""
        if self.by == "rule":
            return {rule.name: (t, t) for t, rule in enumerate(self.rules, 1)}
        if self.by != "pairs":
            return {}
        first: dict[str, int] = {}
        for t, (pieces, _) in enumerate(self.kinds, 1):
            for symbol in "".join(self.pairs[piece] for piece in pieces):
                first.setdefault(f"count_{symbol}", t)
        return {name: (t, self.tasks) for name, t in first.items()}

    # --- the data -----------------------------------------------------------------------------------------------------

    def _made(self) -> tuple[Data, Tensor, Tensor]:
        """The data, and of which kind each training and each test string is."""
        drawn = [self._drawn(k, *kind) for k, kind in enumerate(self.kinds)]
        splits, of = [], []
        for split in zip(*drawn, strict=True):
            splits.append(Examples(*self._tensors([string for strings in split for string in strings])))
            of.append(torch.arange(len(split)).repeat_interleave(torch.tensor([len(strings) for strings in split])))
        arrays = {f"{part}_{s}": getattr(e, part).numpy() for s, e in zip(("train", "test"), splits, strict=True)
                  for part in ("inputs", "targets")}  # fmt: skip
        names = np.frombuffer(" ".join(self.layout.tokens).encode(), np.uint8)
        told_of = digest(arrays | {"tokens": names})
        return Data("transduction", *splits, len(self.layout.told), told_of, layout=self.layout), *of

    def _drawn(self, kind: int, pieces: list[str], lengths: list[int]) -> tuple[Strings, Strings]:
        """Training and test strings of a kind."""
        there = sum(len(pieces) ** n for n in lengths)
        train, test = self.wanted
        if there < train + test:
            train = min(max(1, there * train // (train + test)), there - 1)
            test = there - train
        if there < 2:
            keys = "environment.pairs, environment.shortest and environment.longest"
            made = f"{', '.join(pieces)} make one string of {lengths[0]} pieces alone"
            raise UserError(f"{keys}: {made}; expected at least 2, of which one is a test string")
        strings = strings_of(pieces, lengths, train + test, generator(self.draw, "strings", kind))
        return strings[:train], strings[train:]

    def _tensors(self, strings: Strings) -> tuple[Tensor, Tensor]:
        """Inputs ``[N, S + T]`` and targets ``[N, T]``."""
        layout, classes = self.layout, self.layout.outputs[0].classes
        sources = torch.zeros(len(strings), layout.source, dtype=torch.int64)
        targets = torch.full((len(strings), layout.places), NO_LABEL)
        for row, pieces in enumerate(strings):
            source = [layout.tokens.index(symbol) for symbol in "".join(pieces)]
            output = [*"".join(map(self.pairs.get, pieces)), END]
            sources[row, : len(source)] = torch.tensor(source)
            targets[row, : len(output)] = torch.tensor([classes.index(symbol) for symbol in output])
        begun = torch.nn.functional.pad(sources, (0, 1), value=layout.tokens.index(BEGIN))
        answers = torch.where(targets >= 0, targets, layout.end)
        return layout.retold(begun, answers, torch.tensor(layout.told)), targets

    def _untold(self, inputs: Tensor) -> Tensor:
        """Inputs ``[N, S + T]`` of which no output is told."""
        before = inputs[:, : self.layout.source + 1]
        return torch.nn.functional.pad(before, (0, inputs.shape[1] - before.shape[1]))

    # --- streams ------------------------------------------------------------------------------------------------------

    def stream(self, seed: int) -> Stream:
        parts = [hold_out(rows, self.validation, seed, t) for t, rows in enumerate(self._parts(seed))]
        tasks = tuple(self._task(t, parts, seed) for t in range(self.tasks))
        return Stream(tasks, phase_per_task(tasks), "domain", self.data.classes, rules=self.rules)

    def _parts(self, seed: int) -> list[Tensor]:
        """The training rows of each task."""
        if self.by == "rule":
            draw = generator(SHARED if self.shared else seed, "parts")
            return [part.sort().values for part in torch.randperm(len(self.of_train), generator=draw).tensor_split(self.tasks)]
        return [(self.of_train == t).nonzero().squeeze(1) for t in range(self.tasks)]

    def _task(self, number: int, parts: list[tuple[Tensor, Tensor]], seed: int) -> Task:
        rows, held = parts[number]
        test = torch.arange(len(self.of_test)) if self.by == "rule" else (self.of_test == number).nonzero().squeeze(1)
        train, untold = told(rows, self.labels, seed, number) if self.labels < 1 else (rows, rows[:0])
        before = torch.cat([untold, *(self._still_there(own, seed, t) for t, (own, _) in enumerate(parts[:number]))])
        groups = {"single": torch.cat([train, before + len(self.of_train)]).unsqueeze(1)} if len(before) else {}
        return Task(train, test, torch.arange(self.data.classes), held, groups=groups, rules=self.imposed[number])

    def _still_there(self, rows: Tensor, seed: int, task: int) -> Tensor:
        """Which of an earlier task's training rows are still there for rules."""
        order = rows[torch.randperm(len(rows), generator=generator(seed, "earlier", task))]
        return order[: round(self.earlier * len(rows))].sort().values

    # --- what is to be known ------------------------------------------------------------------------------------------

    def announcement(self) -> str | None:
        """Where there are fewer different strings than were asked for."""
        found = [(int((self.of_train == k).sum()), int((self.of_test == k).sum())) for k in range(len(self.kinds))]
        few = [f"{train} and {test}" for train, test in found if train + test < sum(self.wanted)]
        if not few:
            return None
        asked = f"environment.train={self.wanted[0]}, environment.test={self.wanted[1]}"
        return f"{asked}: there are not so many different strings; {'; '.join(few)} (training and test) are what there is"


def counts(pairs: Mapping[str, str]) -> dict[str, str]:
    """Of each symbol that is written the rule that ties how often it is to how often pieces are read."""
    rules = {}
    for symbol in sorted(set("".join(pairs.values()))):
        writing = [(output.count(symbol), piece) for piece, output in pairs.items() if symbol in output]
        read = " + ".join((f"{times} * " if times > 1 else "") + f"count(j: {_at('j', piece)})" for times, piece in writing)
        rules[f"count_{symbol}"] = f"count(i: out[i] = {symbol}) = {read}"
    return rules


def _at(variable: str, piece: str) -> str:
    """That a piece is read at a position of the source."""
    return " and ".join(f"source[{variable}{f'+{k}' if k else ''}] = {symbol}" for k, symbol in enumerate(piece))


def layout_of(pairs: Mapping[str, str], longest: int) -> Layout:
    """How strings of up to ``longest`` pieces are told and answered."""
    written, read = (sorted(set("".join(side))) for side in (pairs.values(), pairs))
    symbols = sorted({*written, *read})
    tokens = ("<padding>", *symbols, BEGIN)
    source, places = (longest * max(map(len, side)) for side in (pairs, pairs.values()))
    told = (*(tokens.index(symbol) for symbol in written), 0)
    output = Output("out", (*written, END))
    return Layout((output,), places + 1, tokens, source=source, told=told, end=len(written), metric="sequence_accuracy")


def strings_of(pieces: list[str], lengths: list[int], count: int, draw: torch.Generator) -> Strings:
    """Different strings in the order in which they are drawn: first a length, of those that are not used up, then pieces."""
    left, found = {n: len(pieces) ** n for n in lengths}, {}
    while len(found) < count:
        there = [n for n, more in left.items() if more]
        length = there[int(torch.randint(len(there), (), generator=draw))]
        string = tuple(pieces[k] for k in torch.randint(len(pieces), (length,), generator=draw).tolist())
        left[length] -= string not in found
        found[string] = None
    return list(found)


def _sound(given: object) -> dict[str, str]:
    """`environment.pairs`, checked."""
    key, wanted = "environment.pairs", "pairs of texts in small letters, {az: aaa, bz: zb}"
    require(isinstance(given, Mapping) and len(given) > 0, key, given, wanted)
    for text in (*given, *given.values()):
        require(isinstance(text, str) and bool(re.fullmatch("[a-z]+", text)), key, given, wanted)
    rest = "".join(piece[1:] for piece in given)
    firsts = [piece[0] for piece in given]
    for piece in given:
        if piece[0] in rest or firsts.count(piece[0]) > 1:
            raise invalid(key, f"{piece}: {given[piece]}", "a piece whose first letter is in no piece elsewhere")
    return dict(given)
