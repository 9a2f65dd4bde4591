"""Texts as characters, each to be told from those before it: what a character-level language model is trained on.

Letters in shapes: N windows, L characters in each.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from environments.sources.common import digest, folder, unreadable
from lab.protocols import Data, Examples, UserError, invalid, require, whole

KEY = "environment.source.path"


def text(
    path: str | list[str] | None = None,
    length: int = 64,
    lower: bool = False,
    vocabulary: int | None = None,
    test: float = 0.1,
) -> Data:
    """The user's own text in UTF-8: one file, or several, which are one text in the order in which they are listed.

    Args:
        length: L. Characters left over at the end of the text are not used.
        lower: in small letters.
        vocabulary: so many of the most frequent characters of the training windows, all others being one token more,
            "unknown"; None for all characters that occur there.
        test: the share of the windows, the last ones, that are test examples.
    """
    files = _files(path)
    whole("environment.source.length", length, 1)
    number = isinstance(test, (int, float)) and not isinstance(test, bool)
    require(number and 0 < test < 1, "environment.source.test", test, "a number above 0 and below 1")
    content = cased("".join(map(_read, files)), lower)
    windows = (len(content) - 1) // length
    if windows < 2:
        needed = f"expected at least {2 * length + 1}, two windows of environment.source.length={length} and one more"
        raise UserError(f"{KEY}={', '.join(map(str, files))}: the text has {len(content)} characters; {needed}")
    cut = (windows - min(max(1, round(test * windows)), windows - 1)) * length
    return characters("+".join(file.stem for file in files), content[: cut + 1], content[cut:], length, vocabulary)


def characters(name: str, train: str, test: str, length: int, vocabulary: int | None) -> Data:
    """Two texts as int64 windows ``[N, L]`` of characters, and as targets ``[N, L]`` the characters that follow them.

    The training windows' characters are numbered from the most frequent one on; those not among them are one token more, the
    last, which is there only where it is needed.
    """
    if vocabulary is not None:
        whole("environment.source.vocabulary", vocabulary, 1)
    codes = {"train": _codes(train, length), "test": _codes(test, length)}
    kept, counts = np.unique(codes["train"], return_counts=True)
    kept = kept[np.argsort(-counts, kind="stable")][:vocabulary]
    tokens = {split: _numbered(own, kept) for split, own in codes.items()}
    arrays = {f"x_{split}": own[:-1].reshape(-1, length) for split, own in tokens.items()}
    arrays |= {f"y_{split}": own[1:].reshape(-1, length) for split, own in tokens.items()}
    splits = [Examples(*(torch.from_numpy(arrays[f"{part}_{split}"]) for part in "xy")) for split in tokens]
    classes = 1 + max(int(own.max()) for own in tokens.values())
    return Data(name, *splits, classes, digest(arrays | {"vocabulary": kept}))


def cased(text: str, lower: object) -> str:
    """The text as it is, or in small letters."""
    if not isinstance(lower, bool):
        raise invalid("environment.source.lower", lower, "true or false")
    return text.lower() if lower else text


def _codes(text: str, length: int) -> np.ndarray:
    """The code points of as many whole windows of characters as there are, and of the one behind: ``[N L + 1]``."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    return codes[: (len(codes) - 1) // length * length + 1]


def _numbered(codes: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The place of each of some code points ``[n]`` among those ``kept``, int64; their number where it is not there."""
    order = np.argsort(kept)
    place = np.searchsorted(kept, codes, sorter=order).clip(max=len(kept) - 1)
    return np.where(kept[order[place]] == codes, order[place], len(kept)).astype(np.int64)


def _files(given: object) -> list[Path]:
    names = given if isinstance(given, list) else [given]
    if None in names or not names:
        raise invalid(KEY, given, "a text file, or a list of them")
    return [folder(KEY, name) for name in names]


def _read(file: Path) -> str:
    """A file's text, its lines ending alike everywhere."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise unreadable(KEY, file, "text in UTF-8", error) from None
