"""Streams so small that a run over them takes a fraction of a second, whose outputs have names and rules over them."""

from __future__ import annotations

from functools import cache
from itertools import product

import torch
from torch import Tensor, nn

from lab.networks import Tagger
from lab.protocols import (
    SCENARIOS,
    Data,
    Examples,
    Layout,
    Output,
    Rule,
    Stream,
    Task,
    generator,
    one_of,
    phase_per_task,
)

WORDS = ("", "<intent>", "the", "red", "hot", "old", "town", "sky")
TAGS = ("O", "B-a", "I-a", "B-b", "I-b")
LENGTH = 5
"""Of a sentence, in words."""

PHRASES = Layout(
    (Output("intent", ("x", "y"), stop=1, sequence=False), Output("tag", TAGS, first=2, start=1)),
    1 + LENGTH, WORDS, metric="span_f1",
)  # fmt: skip

BIO = "for all i, s in {a, b}: tag[i] = I-{s} -> tag[i-1] in {B-{s}, I-{s}}"
AGREE = "one.intent = x <-> other.intent = x"


class Phrases:
    """Sentences of three to five words, to be tagged; the first place is their intent, and of each intent is one task.

    "red" begins a span, "hot" goes on with one, what they are spans of is told by the word "town" (intent y, type b) or "old"
    (intent x, type a) somewhere in the sentence. Two rules: ``bio`` over tags, and ``agree`` over pairs of a sentence and the
    same with its words in reverse, which have no labels: both have one intent. ``uneven``: some members meet fewer sentences.
    """

    def __init__(
        self, scenario: str = "domain", sentences: int = 32, tests: int = 16, rules: tuple[str, ...] = ("bio", "agree"),
        announced: bool = True, uneven: bool = False,
    ):  # fmt: skip
        self.announced, self.uneven = announced, uneven
        self.scenario, self.kept = one_of("environment.scenario", scenario, SCENARIOS), rules
        self.counts = (sentences, tests)
        self.data = Data("phrases", *(_phrases(n, name) for n, name in zip(self.counts, ("train", "test"), strict=True)), 7,
                         f"phrases-{sentences}-{tests}", layout=PHRASES)  # fmt: skip
        made = {"bio": Rule("bio", BIO, PHRASES), "agree": Rule("agree", AGREE, PHRASES, over="pairs", of=("one", "other"))}
        self.rules = tuple(made[name] for name in rules)

    def stream(self, seed: int) -> Stream:
        draw = generator(seed, "phrases")
        first, fewer = int(torch.randint(2, (), generator=draw)), int(torch.randint(self.counts[0] // 2, (), generator=draw))
        tasks = tuple(self._task(intent, fewer if self.uneven else 0) for intent in (first, 1 - first))
        return Stream(tasks, phase_per_task(tasks, announced=self.announced), self.scenario, 7, rules=self.rules)

    def _task(self, intent: int, fewer: int) -> Task:
        labels = torch.arange(7)
        if self.scenario != "domain":
            labels[[1 - intent, *((5, 6) if intent == 0 else (3, 4))]] = -1
        rows = [torch.arange(count) + intent * count for count in self.counts]
        pairs = [torch.stack([own, own + 2 * count], 1) for own, count in zip(rows, self.counts, strict=True)]
        return Task(rows[0][fewer:], rows[1], labels, groups={"pairs": pairs[0]}, test_groups={"pairs": pairs[1]})


@cache
def _phrases(count: int, name: str) -> Examples:
    """``count`` sentences of each intent, then as many again without labels, their words in reverse."""
    draw = generator(0, "phrases", name)
    inputs, targets = torch.zeros(2 * count, 1 + LENGTH, dtype=torch.int64), torch.full((2 * count, 1 + LENGTH), -100)
    for row, (intent, _) in enumerate(product(range(2), range(count))):
        words, tags = _sentence(intent, draw)
        inputs[row, : 1 + len(words)] = torch.tensor([1, *words])
        targets[row, : 1 + len(words)] = torch.tensor([intent, *tags])
    reverse = inputs.clone()
    for row, length in enumerate((inputs > 0).sum(1).tolist()):
        reverse[row, 1:length] = inputs[row, 1:length].flip(0)
    return Examples(torch.cat([inputs, reverse]), torch.cat([targets, torch.full_like(targets, -100)]))


def _sentence(intent: int, draw: torch.Generator) -> tuple[list[int], list[int]]:
    begin, goes_on, marker = 3 + 2 * intent, 4 + 2 * intent, (5, 6)[intent]
    pieces = [([2], [2]), ([7], [2]), ([3], [begin]), ([3, 4], [begin, goes_on])]
    chosen = [pieces[i] for i in torch.randint(4, (2,), generator=draw)] + [([marker], [2])]
    order = [chosen[i] for i in torch.randperm(3, generator=draw)]
    return [word for words, _ in order for word in words], [tag for _, tags in order for tag in tags]


def phrase_network() -> nn.Module:
    """A tagger of :class:`Phrases`."""
    return Tagger((1 + LENGTH,), 7, vocabulary=len(WORDS), width=12, window=5)


# --- answered one place after the other -------------------------------------------------------------------------------

SOURCE, PLACES = 3, 4
SPELLED = Layout(
    (Output("out", ("u", "v", "<end>")),), PLACES, ("", "a", "b", "<begin>", "u", "v", "<end>"),
    source=SOURCE, told=(4, 5, 6), end=2, metric="sequence_accuracy",
)  # fmt: skip


class Spelling:
    """Strings of two or three of a and b, each a to be answered with u, each b with v, and then the end. One rule: there are as
    many u as a."""

    scenario = "domain"

    def __init__(self):
        strings = [string for length in (2, 3) for string in product((1, 2), repeat=length)]
        both = _spelled([*strings, *strings])
        self.data = Data("spelling", both, _spelled(strings), 3, "spelling", layout=SPELLED)
        self.rules = (Rule("count", "count(i: out[i] = u) = count(j: source[j] = a)", SPELLED),)

    def stream(self, seed: int) -> Stream:
        tasks = (Task(torch.arange(24), torch.arange(12), torch.arange(3)),)
        return Stream(tasks, phase_per_task(tasks), self.scenario, 3, rules=self.rules)


def _spelled(strings: list[tuple[int, ...]]) -> Examples:
    targets = torch.full((len(strings), PLACES), -100)
    inputs = torch.zeros(len(strings), SOURCE + PLACES, dtype=torch.int64)
    for row, string in enumerate(strings):
        answer = [*(symbol - 1 for symbol in string), 2]
        inputs[row, : len(string)], targets[row, : len(answer)] = torch.tensor(string), torch.tensor(answer)
        inputs[row, SOURCE : SOURCE + len(answer)] = torch.tensor([3, *(4 + c for c in answer[:-1])])
    return Examples(inputs, targets)


class Speller(nn.Module):
    """Logits at each place from the source, the place, and the token that tells the answer before it."""

    def __init__(self, width: int = 24):
        super().__init__()
        self.source = nn.Embedding(7, width)
        self.before = nn.Embedding(7, width)
        self.mix, self.head = nn.Linear(SOURCE * width, PLACES * width), nn.Linear(width, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head((self._read(inputs) + self.before(inputs[:, SOURCE:])).relu())

    def _read(self, inputs: Tensor) -> Tensor:
        """What is known of the source at each place, ``[B, T, W]``."""
        return self.mix(self.source(inputs[:, :SOURCE]).flatten(1)).unflatten(1, (PLACES, -1))

    def decode(self, inputs: Tensor, noise: Tensor | None, beams: int) -> Tensor:
        """Classes ``[B, K, T]``: by Gumbel noise ``[B, K, T, C]``, or by a beam search."""
        read, rows = self._read(inputs), len(inputs)
        count = noise.shape[1] if noise is not None else 1
        told = torch.full((rows, count), 3, device=inputs.device)
        scores, answers = read.new_zeros(rows, count), told.unsqueeze(2)[:, :, :0]
        only_end = torch.tensor([-torch.inf, -torch.inf, 0.0], device=inputs.device, dtype=read.dtype)
        for place in range(PLACES):
            logits = self.head((read[:, place].unsqueeze(1) + self.before(told)).relu())
            log_probs = torch.where((told == 6).unsqueeze(2), only_end, logits.log_softmax(2))
            if noise is not None:
                chosen = (log_probs + noise[:, :, place]).argmax(2)
            else:
                sums = (scores.unsqueeze(2) + log_probs).flatten(1)
                scores, kept = sums.topk(min(beams, sums.shape[1]), 1)
                chosen, before = kept % 3, kept // 3
                answers = answers.gather(1, before.unsqueeze(2).expand(-1, -1, place))
            answers, told = torch.cat([answers, chosen.unsqueeze(2)], 2), chosen + 4
        return answers
