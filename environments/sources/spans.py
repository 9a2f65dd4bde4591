"""What sources of tagged sentences share: words and a tag for each of them, and maybe what the whole sentence is about.

Letters in shapes: N sentences, L words of a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from environments.sources.common import NO_LABEL, digest
from environments.sources.words import bounded, cased, named, numbered, vectors_of
from lab.protocols import Data, Examples, Layout, Output, require

INTENT = "<intent>"
"""The first token of a sentence that has an intent: its place is where the intent is told."""
MARK = "<predicate>"


@dataclass(frozen=True)
class Sentence:
    """Words and their tags; its intent, and the place of the word that the tags are about, where there are such."""

    words: Sequence[str]
    tags: Sequence[str]
    intent: str | None = None
    predicate: int | None = None


def spans_data(
    name: str,
    splits: Mapping[str, Sequence[Sentence]],
    length: int | None,
    lower: bool,
    vocabulary: int | None,
    least: int,
    vectors: str | None,
    dir: str | None,
) -> Data:
    """Sentences as tokens and targets int64 ``[N, L]``, with intents ``[N, 1 + L]``: a token that stands for the whole, whose
    target is the intent, then the words. Targets of padding are -100. Where sentences have predicates, inputs are
    ``[N, 2 L]``: behind the words a mark at the predicate's place, padding elsewhere.

    Classes are intents by name, then O and the tags by name; a tag that only test sentences have is one too, and so is the B-
    of every I-.
    """
    everyone = [sentence for own in splits.values() for sentence in own]
    intents = tuple(sorted({s.intent for s in everyone if s.intent is not None}))
    said = {tag for s in everyone for tag in s.tags} - {"O"}
    said |= {f"B-{tag[2:]}" for tag in said if tag.startswith("I-")}
    tags = ("O", *sorted(said, key=lambda tag: (tag[2:], tag)))
    marked = any(s.predicate is not None for s in everyone)
    texts = {split: cased((s.words for s in own), lower) for split, own in splits.items()}
    length = bounded(texts["train"], length)
    tokens = named(texts["train"], vocabulary, least, (INTENT,) * bool(intents) + (MARK,) * marked)
    known = vectors_of(tokens, vectors, dir, lower)
    arrays = {}
    for split, own in splits.items():
        x, y = numbered(texts[split], tokens, length), _tagged(own, tags, length, len(intents))
        if intents:
            x = np.hstack([np.full((len(x), 1), tokens.index(INTENT)), x])
            y = np.hstack([np.array([intents.index(s.intent) for s in own]).reshape(-1, 1), y])
        arrays |= {f"x_{split}": np.hstack([x, _marks(own, tokens, length)]) if marked else x, f"y_{split}": y}
    told = digest(arrays | {"tokens": np.array(tokens), "classes": np.array(intents + tags)})
    told = told if known is None else digest({"told": np.array(told), "vectors": known.numpy()})
    first = int(bool(intents))
    outputs = (Output("intent", intents, first=0, start=0, stop=1, sequence=False),) * first
    outputs += (Output("tag", tags, first=len(intents), start=first),)
    layout = Layout(outputs, first + length, tokens, vectors=known, metric="span_f1")
    train, test = (Examples(*(torch.from_numpy(arrays[f"{part}_{split}"]) for part in "xy")) for split in ("train", "test"))
    return Data(name, train, test, len(intents + tags), told, layout=layout)


def _tagged(sentences: Sequence[Sentence], tags: tuple[str, ...], length: int, first: int) -> np.ndarray:
    """Targets ``[N, length]``: the tags' classes, which begin at ``first``."""
    number = {tag: first + n for n, tag in enumerate(tags)}
    targets = np.full((len(sentences), length), NO_LABEL, dtype=np.int64)
    for row, sentence in enumerate(sentences):
        own = [number[tag] for tag in sentence.tags[:length]]
        targets[row, : len(own)] = own
    return targets


def _marks(sentences: Sequence[Sentence], tokens: tuple[str, ...], length: int) -> np.ndarray:
    marks = np.zeros((len(sentences), length), dtype=np.int64)
    for row, sentence in enumerate(sentences):
        if sentence.predicate is not None:
            behind = f"{length}, and `{sentence.words[sentence.predicate]}` is word {sentence.predicate + 1}"
            wanted = "as many words as stand before each predicate, and it"
            require(sentence.predicate < length, "environment.source.length", behind, wanted)
            marks[row, sentence.predicate] = tokens.index(MARK)
    return marks
