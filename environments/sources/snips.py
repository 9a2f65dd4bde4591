"""Requests to a voice assistant, their intents and slots: the Snips NLU benchmark of 2017 (Coucke et al. 2018, CC0)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from environments.sources.common import UNREADABLE, folder, missing, unreadable
from environments.sources.spans import Sentence, spans_data
from lab.protocols import Data, UserError

FILE = "snips_bio.json.gz"


def snips(
    dir: str | None = None,
    length: int | None = 26,
    lower: bool = True,
    vocabulary: int | None = None,
    least: int = 2,
    vectors: str | None = None,
) -> Data:
    """Sentences with BIO tags and an intent each; its ``valid`` sentences are the test examples.

    ``<dir>/snips_bio.json.gz`` holds ``train`` and ``valid``, lists of sentences with ``tokens``, ``tags`` and ``intent``.

    Args:
        length: L, the words of a sentence that are used; None: all of the longest training sentence.
        lower: in small letters.
        vocabulary: so many of the most frequent words of the training sentences, all others being one token; None: all.
        least: how often a word must be there to be one of them.
        vectors: None, ``glove`` (in ``data.dir``), or a file of vectors known of words.
    """
    root = folder("data.dir", dir)
    file = root / FILE if root else None
    if file is None or not file.exists():
        remedy = f"Set data.dir (or LAB_DATA) to a folder with {FILE}: train and valid, sentences with tokens, tags, intent."
        raise missing("snips", [file] if file else [], remedy)
    splits = {"train": _sentences(file, "train"), "test": _sentences(file, "valid")}
    for split, own in splits.items():
        if not own:
            raise UserError(f"environment.source=snips: data.dir={file}: there is no {split} sentence")
    return spans_data("snips", splits, length, lower, vocabulary, least, vectors, dir)


def _sentences(file: Path, split: str) -> list[Sentence]:
    try:
        with gzip.open(file, "rt", encoding="utf-8") as stream:
            found = [Sentence(s["tokens"], s["tags"], s["intent"]) for s in json.load(stream)[split]]
        if not all(isinstance(s.intent, str) and s.words and len(s.words) == len(s.tags) for s in found):
            raise ValueError("a sentence has no intent, no tokens, or not as many tags")
        if not all(isinstance(text, str) for s in found for text in (*s.words, *s.tags)):
            raise ValueError("tokens and tags must be texts")
        return found
    except (*UNREADABLE, AttributeError, RecursionError) as error:
        raise unreadable("environment.source=snips: data.dir", file, "sentences with tokens, tags, intent", error) from None
