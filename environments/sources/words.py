"""What sources of sentences share: words as numbers, vectors that are known of them, sentences of one length.

Letters in shapes: N examples, L words of a sentence, V tokens, D numbers of a vector.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from environments.sources.common import UNREADABLE, folder, load, missing, unreadable
from lab.protocols import UserError, require, whole

PADDING, UNKNOWN = "<padding>", "<unknown>"
GLOVE = "glove50_trimmed.npz"
VECTORS = "environment.source.vectors"


def cased(sentences: Iterable[Sequence[str]], lower: object) -> list[list[str]]:
    """Sentences as they are, or in small letters."""
    require(isinstance(lower, bool), "environment.source.lower", lower, "true or false")
    return [[word.lower() if lower else word for word in sentence] for sentence in sentences]


def named(sentences: Iterable[Sequence[str]], most: int | None, least: int, special: tuple[str, ...] = ()) -> tuple[str, ...]:
    """What tokens are called, by number: padding, ``special`` ones, the unknown word, and then the words of these sentences
    from the most frequent one on: at most so many, each there ``least`` times."""
    if most is not None:
        whole("environment.source.vocabulary", most, 1)
    whole("environment.source.least", least, 1)
    before = (PADDING, *special, UNKNOWN)
    counts = Counter(word for sentence in sentences for word in sentence)
    words = sorted((word for word in counts if counts[word] >= least and word not in before), key=lambda w: (-counts[w], w))
    return before + tuple(words[:most])


def numbered(sentences: Sequence[Sequence[str]], names: tuple[str, ...], length: int) -> np.ndarray:
    """Tokens int64 ``[N, length]``: words behind that place are cut off, padding (0) fills up."""
    number, unknown = {name: n for n, name in enumerate(names)}, names.index(UNKNOWN)
    tokens = np.zeros((len(sentences), length), dtype=np.int64)
    for row, sentence in enumerate(sentences):
        own = [number.get(word, unknown) for word in sentence[:length]]
        tokens[row, : len(own)] = own
    return tokens


def bounded(sentences: Sequence[Sequence[str]], length: int | None) -> int:
    """L: the ``length`` given, or that of the longest of these sentences."""
    return max(map(len, sentences)) if length is None else whole("environment.source.length", length, 1)


def vectors_of(names: tuple[str, ...], given: object, dir: str | None, lower: bool) -> Tensor | None:
    """Known vectors of the words, float32 ``[V, D]``, NaN where there is none; None where none are asked for.

    Args:
        given: None, ``glove`` (``<dir>/glove50_trimmed.npz``), or a file: an ``.npz`` of ``words`` ``[n]`` and ``vectors``
            ``[n, D]``.
        lower: whether words are in small letters by now; others are looked up so too, where they are not there as they are.
    """
    if given is None:
        return None
    file = _glove(dir) if given == "glove" else folder(VECTORS, given)
    words, known = _read(file)
    place = {str(word): n for n, word in enumerate(words)}
    rows = [place.get(name, -1 if lower else place.get(name.lower(), -1)) for name in names]
    found = torch.full((len(names), known.shape[1]), torch.nan)
    for number, row in enumerate(rows):
        if row >= 0:
            found[number] = known[row]
    if found.isnan().all():
        raise UserError(f"{VECTORS}={file}: holds none of the {len(names)} words of the data")
    return found


def _glove(dir: str | None) -> Path:
    root = folder("data.dir", dir)
    file = root / GLOVE if root else None
    if file is None or not file.exists():
        remedy = f"Set data.dir (or LAB_DATA) to a folder with {GLOVE}: `words` [n] and `vectors` [n, D]; or vectors=null."
        raise missing("...: vectors=glove", [file] if file else [], remedy)
    return file


def _read(file: Path) -> tuple[np.ndarray, Tensor]:
    try:
        arrays = load(file, VECTORS, ("words", "vectors"))
        words, vectors = arrays["words"], torch.from_numpy(arrays["vectors"].astype(np.float32))
        if words.dtype.kind != "U" or vectors.dim() != 2 or len(words) != len(vectors) or not vectors.isfinite().all():
            raise ValueError(f"words are {words.dtype} {list(words.shape)}, vectors {list(vectors.shape)}, and all be finite")
    except UNREADABLE as error:
        raise unreadable(VECTORS, file, "words [n] and as many finite vectors [n, D]", error) from None
    return words, vectors
