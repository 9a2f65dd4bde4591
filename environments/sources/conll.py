"""The user's own sentences in columns, a word a line and an empty line behind each sentence, with a tag for every word: names
(CoNLL-2003), chunks (2000), semantic roles (CoNLL-2005, 2012)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, groupby
from pathlib import Path

from environments.sources.common import folder, unreadable
from environments.sources.spans import Sentence, spans_data
from lab.protocols import Data, UserError, invalid, require

KEY = "environment.source.path"
NO_PREDICATE = ("-", "_")


def conll(
    path: str | list[str] | None = None,
    words: int = 0,
    tags: int = -1,
    predicate: int | None = None,
    comments: str | None = None,
    length: int | None = 64,
    lower: bool = False,
    vocabulary: int | None = None,
    least: int = 2,
    vectors: str | None = None,
    test: float = 0.1,
    dir: str | None = None,
) -> Data:
    """Tags in BIO, or bracketed as in CoNLL-2005, ``(A0*``, ``*``, ``*)``, which become BIO.

    Args:
        path: a file, whose last sentences are tested on; or two, one to train on and one to test on.
        words, tags: the number of their columns, from 0; below 0 from the last one.
        predicate: the column that names predicates, ``-`` elsewhere. The n-th predicate of a sentence has its tags in the n-th
            column from ``tags`` on, and is an example of its own in which it is marked: see :func:`spans.spans_data`. Sentences
            without one are not used.
        comments: lines that begin so are left out.
        length: L, the words of a sentence that are used; None: all of the longest training sentence.
        lower: in small letters.
        vocabulary: so many of the most frequent words of the training sentences, all others being one token; None: all.
        least: how often a word must be there to be one of them.
        vectors: None, ``glove`` (in ``data.dir``), or a file of vectors known of words.
        test: the share of the sentences of a single file that are tested on.
    """
    files = [folder(KEY, name) for name in (path if isinstance(path, list) else [path])]
    if None in files or len(files) not in (1, 2):
        raise invalid(KEY, path, "a file, or two: [to train on, to test on]")
    columns = {"words": words, "tags": tags, "predicate": predicate}
    for key, number in columns.items():
        sound = isinstance(number, int) and not isinstance(number, bool)
        require(sound or (key == "predicate" and number is None), f"environment.source.{key}", number, "the number of a column")
    require(predicate is None or tags >= 0, "environment.source.tags", tags, "a column from 0 on, where there are predicates")
    require(comments is None or isinstance(comments, str), "environment.source.comments", comments, "how such lines begin")
    found = [_sentences(file, words, tags, predicate, comments) for file in files]
    parts = _split(found[0], test, files[0]) if len(found) == 1 else dict(zip(("train", "test"), found, strict=True))
    splits = {split: list(chain.from_iterable(sentences)) for split, sentences in parts.items()}
    name = "+".join(file.stem for file in files)
    return spans_data(name, splits, length, lower, vocabulary, least, vectors, dir)


def bio(brackets: Sequence[str]) -> list[str]:
    """Bracketed spans as tags.

    >>> bio(["(A0*", "*)", "(V*)", "(A1*)", "*"])
    ['B-A0', 'I-A0', 'B-V', 'B-A1', 'O']

    Raises:
        ValueError: for spans within others, ones that do not end, and what is no bracket.
    """
    tags, inside = [], None
    for piece in brackets:
        before, star, behind = piece.partition("*")
        sound = star and behind in ("", ")") and before.count("(") == before.startswith("(") == bool(before)
        if not sound or (before and inside):
            raise ValueError(f"{piece} is no single span in brackets")
        if behind and not (before or inside):
            raise ValueError(f"{piece} ends what has not begun")
        tags.append(f"B-{before[1:]}" if before else f"I-{inside}" if inside else "O")
        inside = None if behind else before[1:] or inside
    if inside:
        raise ValueError(f"({inside}* does not end")
    return tags


def _sentences(file: Path, words: int, tags: int, predicate: int | None, comments: str | None) -> list[list[Sentence]]:
    """Of each sentence of a file the examples that it makes, where it makes any."""
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        raise unreadable(KEY, file, "text in UTF-8", error) from None
    kept = [(n, _columns(line)) for n, line in enumerate(lines, 1) if comments is None or not line.startswith(comments)]
    kept = [(n, row) for n, row in kept if row[:1] != ["-DOCSTART-"]]
    rows = [list(group) for there, group in groupby(kept, lambda line: bool(line[1])) if there]
    found = [made for own in rows if (made := list(_of_rows(file, own, words, tags, predicate)))]
    if not found:
        raise UserError(f"{KEY}={file}: holds no sentence" + (" with a predicate" if predicate is not None else ""))
    return found


def _columns(line: str) -> list[str]:
    """Set apart by tabs where there are any, else by blanks; a word may hold other kinds of space."""
    line = line.rstrip("\r\n ")
    if not line.strip():
        return []
    return [column.strip(" ") for column in line.split("\t")] if "\t" in line else [part for part in line.split(" ") if part]


def _of_rows(file: Path, rows: list[tuple[int, list[str]]], words: int, tags: int, predicate: int | None) -> Iterator[Sentence]:
    """The examples that a sentence's lines make: one, or one for each predicate."""

    def column(number: int) -> list[str]:
        for line, row in rows:
            if not -len(row) <= number < len(row):
                raise UserError(f"{KEY}={file}: line {line} has {len(row)} columns, and none with the number {number}")
        return [row[number] for _, row in rows]

    text = column(words)
    if predicate is None:
        yield Sentence(text, _in_bio(file, rows[0][0], column(tags)))
        return
    places = [place for place, name in enumerate(column(predicate)) if name not in NO_PREDICATE]
    for number, place in enumerate(places):
        yield Sentence(text, _in_bio(file, rows[0][0], column(tags + number)), predicate=place)


def _in_bio(file: Path, line: int, tags: list[str]) -> list[str]:
    """BIO as it is, brackets turned into it; anything else is refused."""
    if all(tag == "O" or tag[:2] in ("B-", "I-") for tag in tags):
        return tags
    told = f"{KEY}={file}: the sentence from line {line} on is tagged"
    if not all("*" in tag for tag in tags):
        wrong = next(tag for tag in tags if not (tag == "O" or tag[:2] in ("B-", "I-")))
        raise UserError(f"{told} with {wrong}; expected BIO (O, B-name, I-name) or brackets ((name*, *, *))")
    try:
        return bio(tags)
    except ValueError as error:
        raise UserError(f"{told} in brackets, and {error}") from None


def _split(sentences: list[list[Sentence]], test: object, file: Path) -> dict[str, list[list[Sentence]]]:
    """The last sentences to test on, each with all examples that it makes."""
    number = isinstance(test, (int, float)) and not isinstance(test, bool)
    require(number and 0 < test < 1, "environment.source.test", test, "a number above 0 and below 1")
    if len(sentences) < 2:
        raise UserError(f"{KEY}={file}: holds one sentence; expected at least two, one of them to test on")
    cut = len(sentences) - min(max(1, round(test * len(sentences))), len(sentences) - 1)
    return {"train": sentences[:cut], "test": sentences[cut:]}
