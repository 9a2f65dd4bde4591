"""Sentences made up on the spot, in the files that sources look for: pairs as in SICK, requests as in Snips."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path

PEOPLE = ("man", "woman", "boy", "girl", "dog", "cat", "cook", "clown")
DOING = ("sings", "sleeps", "jumps", "waits")


def pairs(people: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """Sentences a, b and their label: for each of these and each thing to do a chain whose ends are a pair too, one whose ends
    are not, and a contradiction with its reverse."""
    for who, does in product(people, DOING):
        loud, plain, some = f"a {who} {does} loudly", f"a {who} {does}", f"somebody {does}"
        yield loud, plain, "ENTAILMENT"
        yield plain, some, "ENTAILMENT"
        yield loud, some, "ENTAILMENT"
        yield some, f"something {does}", "NEUTRAL"
        yield plain, f"no {who} {does}", "CONTRADICTION"
        yield f"no {who} {does}", plain, "CONTRADICTION"


def write_sick(folder: Path) -> Path:
    """`sick.json.gz`: 144 pairs to train on, 48 to test on, and a trial pair."""
    rows = [["train", *pair, 4.0] for pair in pairs(PEOPLE[:6])] + [["test", *pair, 4.0] for pair in pairs(PEOPLE[6:])]
    return _write(folder / "sick.json.gz", [*rows, ["trial", "a man runs", "a man walks", "NEUTRAL", 3.0]])


def requests(numbers: range) -> Iterator[dict]:
    """Sentences with tags and an intent: a third of them each."""
    songs, people, cities = ("hey jude", "help", "let it be"), ("ray", "ann lee"), ("rome", "new york", "bonn", "los angeles")
    for n in numbers:
        song, who, city = songs[n % 3], people[n % 2], cities[n % 4]
        yield _tagged("PlayMusic", [("play", None), (song, "track"), ("by", None), (who, "artist")])
        yield _tagged("GetWeather", [("weather in", None), (city, "city"), ("now" if n % 5 else "please", None)])
        yield _tagged("RateBook", [("rate", None), (song, "book"), (str(n % 7), "stars")])


def write_snips(folder: Path) -> Path:
    """`snips_bio.json.gz`: 60 sentences to train on, 24 to test on."""
    splits = {"train": list(requests(range(20))), "valid": list(requests(range(20, 28)))}
    return _write(folder / "snips_bio.json.gz", splits)


def _tagged(intent: str, parts: list[tuple[str, str | None]]) -> dict:
    words = [(word, n, name) for text, name in parts for n, word in enumerate(text.split())]
    tags = ["O" if name is None else f"{'I' if n else 'B'}-{name}" for _, n, name in words]
    return {"tokens": [word for word, _, _ in words], "tags": tags, "intent": intent}


def _write(file: Path, content: object) -> Path:
    file.write_bytes(gzip.compress(json.dumps(content).encode()))
    return file
