"""Families of tasks that share what is to be found and nothing of what it looks like: sequences with planted motifs, whose
symbols each task writes with other tokens.

After Basu 2026 (arXiv 2603.22858), which states vocabulary, length, samples, classes, noise, two or three motifs, and that
tasks of a family have the same motifs under another token map. How motifs tell the classes apart is our reconstruction.

Letters in shapes: N sequences, L places, V tokens, K motifs a class, S symbols a motif, M members, B batch, T tasks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from environments.sources.common import digest
from environments.tasks import SHARED, hold_out, numbers, switch
from lab.protocols import (
    Data,
    Examples,
    Stream,
    Task,
    fraction,
    generator,
    number,
    phase_per_task,
    require,
    whole,
)

CLASSES = 2
TASKS = ("A1", "A1b", "A2", "A3", "B1", "C1")
GRAM = 2
"""Tokens in the pieces of motifs by which the surfaces of two tasks are compared."""


def written(inputs: Tensor, table: Tensor, tasks: Tensor) -> Tensor:
    """Symbols ``[M, B, L]`` as the tokens that the tasks ``[M, B|1]`` write for them; ``table`` ``[M, T, V]``."""
    members = torch.arange(len(table), device=table.device).unsqueeze(1)
    tokens = table[members, tasks].expand(-1, inputs.shape[1], -1)
    return tokens.gather(2, inputs.long()).to(inputs.dtype)


class MotifFamilies:
    """Sequences of random symbols in which ``planted`` motifs of the sequence's class stand, each somewhere.

    A family (the letter that a task's name begins with) has ``motifs`` motifs for each of two classes. Those of the second
    class are made of the same symbols in another order, so that none is told by counting tokens: of each motif's ``span``
    symbols the first ``common`` stand in the other class's motif reversed, the rest are of its own. A task draws samples of its
    own, and writes symbols with tokens by a permutation of its own: tasks of a family have the same motifs and, but for
    chance, no token sequence in common (``overlap_A1_A2`` in the results' diagnostics: the Jaccard index of the pairs of
    neighbouring tokens that the motifs of two tasks have).

    Motifs and sequences of symbols come from ``draw``, and are the same for all members, but where there are several ``draws``:
    the member's seed then says which is its own. Token maps come from the member's seed. Which motif each place of a sequence
    is of is known (``Examples.marks``: motif k of class c is number c ``motifs`` + k).

    Args:
        tasks: names, a capital letter and small letters or digits; a task of the same name is always the same.
        planted: how many motifs a sequence has, [least, most], drawn from its class's; no motif overlaps another.
        homes: whether each of a family's motifs stands in a part of the sequence of its own, the same in all tasks, at most
            once a sequence; else they are drawn with replacement, and stand anywhere.
        noise: the probability that a token is replaced by a random one, motifs' too.
        train, test: sequences of each task; ``validation``: the share of the former that is held out.
        shared: the same token maps for all members.
        draw: a seed.
        draws: how often motifs and sequences are drawn, from the seeds ``draw``, ``draw`` + 1, ...; a member has the one whose
            number its seed leaves when it is divided by ``draws``.
    """

    def __init__(
        self,
        tasks: Sequence[str] = TASKS,
        vocabulary: int = 32,
        length: int = 128,
        motifs: int = 3,
        span: int = 4,
        common: int = 4,
        planted: Sequence[int] = (2, 3),
        homes: bool = False,
        noise: float = 0.02,
        train: int = 2000,
        test: int = 1000,
        validation: float = 0.0,
        shared: bool = False,
        draw: int = 0,
        draws: int = 1,
    ):
        self.names = _names(tasks)
        self.vocabulary, self.length = whole("environment.vocabulary", vocabulary, 2), whole("environment.length", length, 1)
        self.motifs, self.span = whole("environment.motifs", motifs, 1), whole("environment.span", span, 2)
        self.common, self.planted = whole("environment.common", common, 0), _planted(planted)
        require(common <= span, "environment.common", common, f"at most span={span}")
        needed = 2 * span - common
        require(vocabulary >= needed, "environment.vocabulary", vocabulary, f"at least {needed}, the symbols of two motifs")
        self.homes, self.noise = switch("environment.homes", homes), number("environment.noise", noise, 0, 1)
        room = motifs if homes else self.planted[1]
        require(not homes or self.planted[1] <= motifs, "environment.planted", planted, f"at most motifs={motifs}, with homes")
        require(length >= room * span, "environment.length", length, f"at least {room * span}, {room} motifs of {span} symbols")
        self.sizes = {"train": whole("environment.train", train, 2), "test": whole("environment.test", test, 2)}
        self.validation, self.shared = fraction("environment.validation", validation), switch("environment.shared", shared)
        self.draws = range(whole("environment.draw", draw, 0), draw + whole("environment.draws", draws, 1))
        letters = sorted({name[0] for name in self.names})
        self.families = {draw: {letter: self._family(draw, letter) for letter in letters} for draw in self.draws}
        self.data = self._made()

    # --- the data -----------------------------------------------------------------------------------------------------

    def _family(self, seed: int, letter: str) -> Tensor:
        """A family's motifs, symbols int64 ``[2, K, S]``."""
        draw, kept = generator(seed, "family", letter), self.common
        symbols = torch.stack([torch.randperm(self.vocabulary, generator=draw) for _ in range(self.motifs)])
        one = symbols[:, : self.span]
        own = symbols[:, self.span : 2 * self.span - kept]
        return torch.stack([one, torch.cat([one[:, :kept].flip(1), own], 1)])

    def _made(self) -> Data:
        splits = {}
        for split, count in self.sizes.items():
            drawn = [self._sequences(draw, name, count, split) for draw in self.draws for name in self.names]
            inputs, targets, marks = (torch.cat(parts) for parts in zip(*drawn, strict=True))
            splits[split] = Examples(inputs, targets, marks=marks)
        arrays = {f"{part}_{s}": getattr(e, part).numpy() for s, e in splits.items() for part in ("inputs", "targets")}
        names = np.frombuffer(" ".join(self.names).encode(), np.uint8)
        return Data("motif_families", **splits, classes=CLASSES, digest=digest(arrays | {"names": names}))

    def _sequences(self, seed: int, name: str, count: int, split: str) -> tuple[Tensor, Tensor, Tensor]:
        """Symbols ``[N, L]``, classes ``[N]``, as many of each as may be, and marks ``[N, L]``."""
        (least, most), draw = self.planted, generator(seed, "sequences", name, split)
        targets = torch.arange(count) % CLASSES
        symbols = torch.randint(self.vocabulary, (count, self.length), generator=draw)
        marks = torch.full((count, self.length), -1)
        many = torch.randint(least, most + 1, (count, 1), generator=draw)
        which = self._drawn(count, draw)
        starts = self._at_home(seed, name[0], which, draw) if self.homes else self._anywhere(count, draw)
        order = torch.rand(count, most, generator=draw).argsort(1)
        for plant in range(most):
            places = starts[:, plant].unsqueeze(1) + torch.arange(self.span)
            there = order[:, plant].unsqueeze(1) < many
            motif = self.families[seed][name[0]][targets, which[:, plant]]
            symbols.scatter_(1, places, torch.where(there, motif, symbols.gather(1, places)))
            mark = (targets * self.motifs + which[:, plant]).unsqueeze(1)
            marks.scatter_(1, places, torch.where(there, mark, marks.gather(1, places)))
        noisy = torch.rand(symbols.shape, generator=draw) < self.noise
        symbols = torch.where(noisy, torch.randint(self.vocabulary, symbols.shape, generator=draw), symbols)
        return symbols, targets, marks

    def _drawn(self, count: int, draw: torch.Generator) -> Tensor:
        """The motifs of each sequence, ``[N, most]``: different ones where each has a home, which holds one."""
        if self.homes:
            return torch.rand(count, self.motifs, generator=draw).argsort(1)[:, : self.planted[1]]
        return torch.randint(self.motifs, (count, self.planted[1]), generator=draw)

    def _anywhere(self, count: int, draw: torch.Generator) -> Tensor:
        """Where motifs begin that do not overlap, ``[N, most]``."""
        most = self.planted[1]
        room = self.length - most * (self.span - 1)
        gaps = torch.rand(count, room, generator=draw).argsort(1)[:, :most].sort(1).values
        return gaps + torch.arange(most) * (self.span - 1)

    def _at_home(self, seed: int, letter: str, which: Tensor, draw: torch.Generator) -> Tensor:
        """Where the motifs ``which`` ``[N, most]`` begin, each in the part of the sequence that is its own."""
        part = self.length // self.motifs
        homes = torch.randperm(self.motifs, generator=generator(seed, "homes", letter)) * part
        return homes[which] + torch.randint(part - self.span + 1, which.shape, generator=draw)

    # --- streams ------------------------------------------------------------------------------------------------------

    def stream(self, seed: int) -> Stream:
        owner, own = SHARED if self.shared else seed, seed % len(self.draws)
        maps = {n: torch.randperm(self.vocabulary, generator=generator(owner, "token map", n)) for n in self.names}
        first = own * len(self.names)
        tasks = tuple(self._task(t, first + t, maps[name], seed) for t, name in enumerate(self.names))
        motifs = {name: maps[name][self.families[self.draws[own]][name[0]]] for name in self.names}
        figures = {f"overlap_{a}_{b}": _overlap(motifs[a], motifs[b]) for a, b in combinations(self.names, 2)}
        return Stream(tasks, phase_per_task(tasks), "domain", CLASSES, written, figures=figures)

    def _task(self, number: int, part: int, token_map: Tensor, seed: int) -> Task:
        """The task of that number, whose sequences are so many parts of the data behind the first."""
        rows = {split: torch.arange(part * size, (part + 1) * size) for split, size in self.sizes.items()}
        train, held = hold_out(rows["train"], self.validation, seed, number)
        return Task(train, rows["test"], torch.arange(CLASSES), held, token_map)


def _overlap(one: Tensor, other: Tensor) -> float:
    """The Jaccard index of the pieces that two tasks' motifs ``[2, K, S]`` have as tokens."""
    a, b = _pieces(one), _pieces(other)
    return len(a & b) / len(a | b)


def _pieces(motifs: Tensor) -> set[tuple[int, ...]]:
    """All runs of :data:`GRAM` neighbouring tokens in motifs ``[..., S]``."""
    return {tuple(piece) for piece in motifs.unfold(-1, GRAM, 1).flatten(0, -2).tolist()}


def _names(given: object) -> list[str]:
    """`environment.tasks`, checked."""
    names = list(given) if isinstance(given, (list, tuple)) else []
    sound = names and all(isinstance(name, str) and re.fullmatch("[A-Z][a-z0-9]*", name) for name in names)
    require(bool(sound) and len(set(names)) == len(names), "environment.tasks", given, "different names such as A1, A2, B1")
    return names


def _planted(given: object) -> tuple[int, int]:
    """`environment.planted`, checked."""
    listed = numbers(given)
    sound = listed is not None and len(listed) == 2 and all(isinstance(n, int) for n in listed) and 1 <= listed[0] <= listed[1]
    require(sound, "environment.planted", given, "[least, most], whole numbers from 1 on")
    return listed[0], listed[1]
