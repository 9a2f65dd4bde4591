"""Slot filling: a tag for every word of a sentence, and what the sentence asks for; what is known of tags and of both.

Letters in shapes: N sentences, P places, L words of a sentence.
"""

from __future__ import annotations

import torch
from torch import Tensor

from environments.ruled import imposed as imposed_in
from environments.ruled import rules_of, share_of_labels, told, with_unlabelled
from environments.tasks import SHARED, hold_out, source_of, switch
from lab.protocols import Data, Stream, Task, UserError, fraction, generator, number, one_of, phase_per_task, require

BIO = "(for all i, s in spans: tag[i+1] = I-{s} -> tag[i] in {B-{s}, I-{s}}) and not tag[0] in {I-*}"
ALLOWED = "for all i: allowed(intent, tag[i])"


class Slots:
    """The sentences of a source that tags their words, and may tell what each asks for, its intent.

    Two rules are known: ``bio``, an I- goes on with a B- or an I- of its name; ``slots``, a sentence has the slots that its
    intent has in some training example (the relation ``allowed``), where there are intents.

    Args:
        rules: ``{name: rule}``, in addition to these, or null for one of them to be left out. They may name the set ``spans``
            (the names that have an I-), and ``allowed``.
        imposed: ``{rule: first task}`` or ``{rule: [first, last]}``, from 1: while which tasks it is imposed; null: never.
        by: null, one task; ``intent``, one for each, in an order drawn from the member's seed; ``rule``, as many as there are
            rules, each with its part of the sentences, dealt out at random, and with that rule imposed alone.
        scenario: of tasks by intent. ``domain``: all intents and tags may be answered at any time; ``class``: those of the
            tasks met so far; ``task``: those of the sentence's own task, which is told. Tags of several intents, O among them,
            keep their output unit. All others are ``domain``.
        intent_order: null (from the member's seed), or a list of all intents.
        shared: one drawn order, one dealing out, for all members.
        earlier: the share of the training sentences of earlier tasks that are still there for a task's rules, without labels.
        labels: the share of each task's training sentences whose labels are told. The others are there for rules alone.
        validation: the share of each task's training sentences that is held out.
    """

    def __init__(
        self,
        source: Data,
        rules: dict | None = None,
        imposed: dict | None = None,
        by: str | None = None,
        scenario: str = "domain",
        intent_order: list[str] | None = None,
        shared: bool = False,
        earlier: float = 0.0,
        labels: float = 1.0,
        validation: float = 0.0,
    ):
        self.source = _tagged(source)
        self.intents = source.layout.output("intent").classes if source.layout.output("intent") else ()
        self.by, self.scenario = by, one_of("environment.scenario", scenario, ("domain", "class", "task"))
        require(by in (None, "intent", "rule"), "environment.by", by, "null, intent or rule")
        require(by != "intent" or bool(self.intents), "environment.by", by, f"null or rule: {source.name} tells no intents")
        require(
            by == "intent" or scenario == "domain",
            "environment.scenario",
            scenario,
            "domain, or environment.by=intent beside it",
        )
        self.shared, self.labels = switch("environment.shared", shared), share_of_labels(labels)
        self.validation = fraction("environment.validation", validation)
        self.earlier = number("environment.earlier", earlier, 0, 1)
        if self.earlier > 0 and scenario == "task":
            told = "rules are about the sentences of the task at hand, in whose tags and intents earlier ones have no answer"
            raise UserError(f"environment.earlier={earlier}: with scenario=task {told}; expected 0, or scenario=class")
        self.intent_order = self._fixed_order(intent_order)
        self.allowed = allowed(source) if self.intents else []
        self.rules = self._rules(rules)
        self.tasks = {None: 1, "intent": len(self.intents), "rule": len(self.rules)}[by]
        require(self.tasks > 0, "environment.rules", rules, "at least one rule, since environment.by=rule")
        arrival = {rule.name: (t, t) for t, rule in enumerate(self.rules, 1)} if by == "rule" else None
        self.imposed = imposed_in(imposed or {}, self.rules, self.tasks, arrival)
        if by == "intent":
            self._check_all_there()
        self.data = with_unlabelled(source) if self.labels < 1 or self.earlier > 0 else source

    def _rules(self, given: dict | None):
        spans = [tag[2:] for tag in self.source.layout.output("tag").classes if tag.startswith("I-")]
        shipped = ({"bio": BIO} if spans else {}) | ({"slots": ALLOWED} if self.intents else {})
        relations = {"allowed": self.allowed} if self.intents else {}
        return rules_of(given or {}, self.source.layout, shipped, sets={"spans": spans} if spans else {}, relations=relations)

    def _fixed_order(self, given: object) -> list[int] | None:
        if given is None:
            return None
        sound = isinstance(given, (list, tuple)) and sorted(map(str, given)) == sorted(self.intents)
        require(sound, "environment.intent_order", given, f"null, or a list of each of {', '.join(self.intents)} once")
        return [self.intents.index(str(name)) for name in given]

    def _check_all_there(self) -> None:
        for split in ("train", "test"):
            there = getattr(self.source, split).targets[:, 0].unique().tolist()
            absent = [name for number, name in enumerate(self.intents) if number not in there]
            if absent:
                raise UserError(f"environment.by=intent: {self.source.name} has no {split} sentence with {absent[0]}")

    # --- streams ------------------------------------------------------------------------------------------------------

    def stream(self, seed: int) -> Stream:
        of_train, of_test = self._dealt(SHARED if self.shared else seed)
        parts = [(of_train == t).nonzero().squeeze(1) for t in range(self.tasks)]
        held = [hold_out(rows, self.validation, seed, t) for t, rows in enumerate(parts)]
        known = [told(rows, self.labels, seed, t) if self.labels < 1 else (rows, rows[:0]) for t, (rows, _) in enumerate(held)]
        everyone = torch.arange(len(self.source.test))
        tests = [everyone if of_test is None else everyone[of_test == t] for t in range(self.tasks)]
        kept = [self._kept(rows, seed, t) for t, (rows, _) in enumerate(held)]
        tasks = tuple(
            Task(
                known[t][0],
                tests[t],
                self._units(parts[t], tests[t]),
                held[t][1],
                groups=self._groups(*known[t], kept[:t]),
                rules=self.imposed[t],
            )
            for t in range(self.tasks)
        )
        return Stream(tasks, phase_per_task(tasks), self.scenario, self.source.classes, rules=self.rules)

    def _dealt(self, seed: int) -> tuple[Tensor, Tensor | None]:
        """Which task each sentence is of, int64 ``[N]``, in training and in test data; None: of each."""
        if self.by == "intent":
            drawn = torch.randperm(self.tasks, generator=generator(seed, "intents"))
            place = (drawn if self.intent_order is None else torch.tensor(self.intent_order)).argsort()
            return place[self.source.train.targets[:, 0]], place[self.source.test.targets[:, 0]]
        part = torch.empty(len(self.source.train), dtype=torch.int64)
        for t, rows in enumerate(torch.randperm(len(part), generator=generator(seed, "parts")).tensor_split(self.tasks)):
            part[rows] = t
        return part, None

    def _kept(self, rows: Tensor, seed: int, task: int) -> Tensor:
        """Which of a task's training sentences are still there for the rules of later ones."""
        order = rows[torch.randperm(len(rows), generator=generator(seed, "earlier", task))]
        return order[: round(self.earlier * len(rows))].sort().values

    def _groups(self, rows: Tensor, untold: Tensor, kept: list[Tensor]) -> dict[str, Tensor]:
        """What rules are imposed on where that is more than the sentences with labels: others as their copies without."""
        others = torch.cat([untold, *kept])
        return {"single": torch.cat([rows, others + len(self.source.train)]).unsqueeze(1)} if len(others) else {}

    def _units(self, train: Tensor, test: Tensor) -> Tensor:
        """The output units of a task's classes: all, or those that its sentences have."""
        units = torch.arange(self.source.classes)
        if self.scenario == "domain":
            return units
        there = torch.cat([self.source.train.targets[train].flatten(), self.source.test.targets[test].flatten()])
        return torch.where(torch.isin(units, there), units, -1)

    # --- what is to be known ------------------------------------------------------------------------------------------

    def announcement(self) -> str | None:
        """How many test sentences have a slot that their intent has in no training sentence."""
        if not self.intents:
            return None
        pairs = set(self.allowed)
        strange = sum(not set(own) <= pairs for own in _said(self.source, "test"))
        return f"{strange} of {len(self.source.test)} test sentences have a tag that their intent has in no training sentence"


def allowed(data: Data) -> list[tuple[str, str]]:
    """Pairs of an intent and a tag that some training sentence has."""
    return sorted({pair for own in _said(data, "train") for pair in own})


def _said(data: Data, split: str) -> list[list[tuple[str, str]]]:
    """Of each sentence its intent with each of its tags, by name."""
    names = [name for output in data.layout.outputs for name in output.classes]
    return [[(names[row[0]], names[tag]) for tag in row[1:] if tag >= 0] for row in getattr(data, split).targets.tolist()]


def _tagged(given: object) -> Data:
    """``given``, which must be the data of a source of tagged sentences."""
    data = source_of(given)
    sound = data.layout is not None and data.layout.output("tag") is not None and data.train.targets.dim() == 2
    require(sound, "environment.source", data.name, "a source of sentences with a tag for each word: snips, conll")
    return data
