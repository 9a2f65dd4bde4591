"""Pairs of sentences with a label: what follows from what.

Letters in shapes: N pairs, L words of a sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from environments.sources.common import NO_LABEL, digest, folder, unreadable
from environments.sources.words import bounded, cased, named, numbered, vectors_of
from lab.protocols import Data, Examples, Layout, Output, UserError, invalid, require

KEY = "environment.source.path"
CLASSES = ("entailment", "neutral", "contradiction")
NONE = (None, "", "-")
"""Labels of pairs that have none; SNLI says ``-`` where annotators did not agree."""


@dataclass(frozen=True)
class Pair:
    """A line: two sentences, what they are to each other (None: not told), and of what genre they are."""

    a: str
    b: str
    label: str | None
    genre: str = ""


def pairs(
    path: str | list[str] | None = None,
    length: int | None = None,
    lower: bool = True,
    vocabulary: int | None = None,
    least: int = 1,
    vectors: str | None = None,
    test: float = 0.1,
    dir: str | None = None,
) -> Data:
    """The user's own JSON lines, a pair a line: ``{"a": .., "b": .., "label": .., "split": .., "genre": ..}``.

    ``label`` may be null (or ``-``): such a pair has none, and is there for rules alone. ``split`` is ``train`` or ``test``;
    pairs of another one are not used. Where no line says it, the last ones are to test on. ``genre`` may be left out.

    Args:
        path: a file, or a list of them.
        length: L, the words of a sentence that are used; None: all of the longest training sentence.
        lower: in small letters.
        vocabulary: so many of the most frequent words of the training sentences, all others being one token; None: all.
        least: how often a word must be there to be one of them.
        vectors: None, ``glove`` (in ``data.dir``), or a file of vectors known of words (:func:`words.vectors_of`).
        test: the share of the lines, the last ones, that are tested on where no line says its split.
    """
    given = path if isinstance(path, list) else [path]
    files = [folder(KEY, name) for name in given]
    if None in files or not files:
        raise invalid(KEY, path, "a file of JSON lines, or a list of them")
    lines = [line for file in files for line in _lines(file)]
    splits = _split(lines, test, files)
    options = (length, lower, vocabulary, least, vectors, dir)
    return pairs_data("+".join(file.stem for file in files), splits, *options, origin=f"{KEY}={', '.join(map(str, files))}")


def pairs_data(
    name: str,
    splits: dict[str, list[Pair]],
    length: int | None,
    lower: bool,
    vocabulary: int | None,
    least: int,
    vectors: str | None,
    dir: str | None,
    origin: str,
) -> Data:
    """Pairs as tokens int64 ``[N, 2 L]``, the words of the one sentence and, from place L on, those of the other; targets
    int64 ``[N]``, -100 for a pair without a label."""
    classes = _classes(splits, origin)
    texts = {split: cased((words(s) for p in own for s in (p.a, p.b)), lower) for split, own in splits.items()}
    length, tokens = bounded(texts["train"], length), named(texts["train"], vocabulary, least)
    known = vectors_of(tokens, vectors, dir, lower)
    genres = tuple(sorted({p.genre for own in splits.values() for p in own if p.genre}))
    arrays = {f"x_{split}": numbered(own, tokens, length).reshape(-1, 2 * length) for split, own in texts.items()}
    for split, own in splits.items():
        arrays[f"y_{split}"] = np.array([NO_LABEL if p.label is None else classes.index(p.label) for p in own])
        arrays[f"genre_{split}"] = np.array([genres.index(p.genre) if p.genre else -1 for p in own])
    told = digest(arrays | {"tokens": np.array(tokens), "classes": np.array(classes), "genres": np.array(genres, dtype="U")})
    told = told if known is None else digest({"told": np.array(told), "vectors": known.numpy()})
    layout = Layout((Output("label", classes, sequence=False),), 1, tokens, vectors=known)
    train, test = (
        Examples(*(torch.from_numpy(arrays[f"{part}_{split}"]) for part in "xy"),
                 genre=torch.from_numpy(arrays[f"genre_{split}"]) if genres else None)
        for split in ("train", "test")
    )  # fmt: skip
    return Data(name, train, test, len(classes), told, layout=layout, genres=genres)


def words(sentence: str) -> list[str]:
    """A sentence's words: runs of letters, digits, apostrophes and hyphens; every other mark by itself.

    >>> words("There's no man, is there?")
    ["There's", 'no', 'man', ',', 'is', 'there', '?']
    """
    return re.findall(r"\w+(?:['’-]\w+)*|[^\w\s]", sentence)


def _classes(splits: dict[str, list[Pair]], origin: str) -> tuple[str, ...]:
    """The labels: entailment, neutral, contradiction where they are all known ones, and else by name."""
    there = {split: {p.label for p in own} - {None} for split, own in splits.items()}
    for split, labels in there.items():
        if not labels:
            raise UserError(f"{origin}: no {split} pair has a label")
    every = there["train"] | there["test"]
    return CLASSES if every <= set(CLASSES) else tuple(sorted(every))


def _lines(file: Path) -> list[tuple[str | None, Pair]]:
    """Each line's split and pair."""
    try:
        content = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        raise unreadable(KEY, file, "JSON lines in UTF-8", error) from None
    return [_line(text, file, number) for number, text in enumerate(content, 1) if text.strip()]


def _line(text: str, file: Path, number: int) -> tuple[str | None, Pair]:
    wanted = 'expected {"a": sentence, "b": sentence, "label": name or null}, and maybe "split" and "genre"'
    try:
        line = json.loads(text)
        a, b, label, genre, split = line["a"], line["b"], line["label"], line.get("genre") or "", line.get("split")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise UserError(f"{KEY}={file}: line {number} is something else; {wanted}") from None
    label = label.strip() if isinstance(label, str) else label
    label = None if label in NONE else label
    texts = [text for text in (label, split) if text is not None]
    if not all(isinstance(text, str) for text in (a, b, genre, *texts)) or not (words(a) and words(b)):
        raise UserError(f"{KEY}={file}: line {number} has no two sentences and names; {wanted}")
    return split, Pair(a, b, label if label is None else label.lower(), genre)


def _split(lines: Sequence[tuple[str | None, Pair]], test: object, files: list[Path]) -> dict[str, list[Pair]]:
    """Training and test pairs: as the lines say, or the last ones to test on."""
    number = isinstance(test, (int, float)) and not isinstance(test, bool)
    require(number and 0 < test < 1, "environment.source.test", test, "a number above 0 and below 1")
    if any(split is not None for split, _ in lines):
        found = {which: [pair for split, pair in lines if split == which] for which in ("train", "test")}
    else:
        cut = len(lines) - min(max(1, round(test * len(lines))), max(len(lines) - 1, 0))
        found = {"train": [pair for _, pair in lines[:cut]], "test": [pair for _, pair in lines[cut:]]}
    for which, own in found.items():
        if not own:
            raise UserError(f"{KEY}={', '.join(map(str, files))}: has no {which} pair among its {len(lines)} lines")
    return found
