"""SICK, sentences involving compositional knowledge (Marelli et al. 2014): does the second of two sentences follow from the
first? CC BY-NC-SA 3.0: bring your own copy.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from environments.sources.common import UNREADABLE, folder, missing, unreadable
from environments.sources.pairs import Pair, pairs_data
from lab.protocols import Data, require

FILE = "sick.json.gz"
SPLITS = {"train": "train", "trial": "train", "test": "test"}


def sick(
    dir: str | None = None,
    length: int | None = None,
    lower: bool = True,
    vocabulary: int | None = None,
    least: int = 1,
    vectors: str | None = None,
    trial: bool = False,
) -> Data:
    """Pairs of sentences; the options are those of `pairs`, and ``trial``: train on the trial pairs too, which are left out
    otherwise.

    ``<dir>/sick.json.gz`` holds a list of ``[split, sentence A, sentence B, label, relatedness]``, where split is ``train``,
    ``trial`` or ``test``.
    """
    require(isinstance(trial, bool), "environment.source.trial", trial, "true or false")
    root = folder("data.dir", dir)
    file = root / FILE if root else None
    if file is None or not file.exists():
        remedy = f"Set data.dir (or LAB_DATA) to a folder with {FILE}: a list of [split, A, B, label, relatedness]."
        raise missing("sick", [file] if file else [], remedy)
    options = (length, lower, vocabulary, least, vectors, dir)
    return pairs_data("sick", _splits(file, trial), *options, origin=f"environment.source=sick: data.dir={file}")


def _splits(file: Path, trial: bool) -> dict[str, list[Pair]]:
    try:
        with gzip.open(file, "rt", encoding="utf-8") as stream:
            rows = json.load(stream)
        found: dict[str, list[Pair]] = {"train": [], "test": []}
        for split, a, b, label, *_ in rows:
            if split != "trial" or trial:
                found[SPLITS[split]].append(Pair(a, b, label.lower()))
        return found
    except (*UNREADABLE, AttributeError, RecursionError) as error:
        raise unreadable("environment.source=sick: data.dir", file, "pairs of sentences with a label", error) from None
