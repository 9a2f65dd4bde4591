"""The English Web Treebank of Universal Dependencies (Silveira et al. 2014): answers, e-mail, newsgroups, reviews, weblogs.

Its sentences as running text, the tokens apart by spaces and each sentence a line: 1.0 million characters to train on.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from environments.sources.common import UNREADABLE, folder, missing, unreadable
from environments.sources.text import cased, characters
from lab.protocols import Data, UserError, whole

FILE = "ud_english_ewt.json.gz"


def ewt(dir: str | None = None, length: int = 64, lower: bool = False, vocabulary: int | None = 96) -> Data:
    """Characters int64 ``[N, L]``, and those that follow them; the options are those of `text`.

    ``<dir>/ud_english_ewt.json.gz`` holds, by split (``train``, ``dev``, ``test``) and genre, lists of sentences with their
    ``tokens``. Genres follow one another as they do there; the sentences of ``dev`` are not used.
    """
    root = folder("data.dir", dir)
    file = root / FILE if root else None
    if file is None or not file.exists():
        remedy = f"Set data.dir (or LAB_DATA) to a folder with {FILE}: [split][genre], lists of sentences with their tokens."
        raise missing("ewt", [file] if file else [], remedy)
    whole("environment.source.length", length, 1)
    texts = [cased(part, lower) for part in _texts(file)]
    for split, part in zip(("train", "test"), texts, strict=True):
        if len(part) <= length:
            told = f"{split} has {len(part)} characters; expected more than environment.source.length={length}"
            raise UserError(f"environment.source=ewt: data.dir={file}: {told}")
    return characters("ewt", *texts, length, vocabulary)


def _texts(file: Path) -> list[str]:
    """The sentences of train and of test."""
    try:
        with gzip.open(file, "rt", encoding="utf-8") as stream:
            content = json.load(stream)
        return [
            "".join(" ".join(s["tokens"]) + "\n" for g in content[split].values() for s in g) for split in ("train", "test")
        ]
    except (*UNREADABLE, AttributeError, RecursionError) as error:
        raise unreadable("environment.source=ewt: data.dir", file, "sentences by split and genre", error) from None
