"""Pages to look at: of real runs of a second, and of what users may name; and an HTML parser that is strict."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

from lab.comparison import cells_of, compare
from lab.comparison.gathering import gather
from lab.report.page import write_page

from ..forked import small, train

WORDS = ["seeds=4", "steps=8", "batch_size=16", "evaluation.every=4", "optimizer.lr=0.1"]
NAMES = ["naive", "er", "joint"]
EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(2)> </script>'
STUDY = {
    "name": "replay",
    "family": "baselines",
    "claim": "Replay forgets less than plain training.",
    "verdict": "undecided",
    "measured": "er better than naive in forgetting: +0.010 [-0.050, +0.070]",
    "decides": "sign-flip test at level .04; 23 seeds would decide",
    "declaration": {
        "tests": [{"kind": "superiority", "measure": "forgetting", "margin": 0.02, "words": "er better than naive"}],
        "alpha": 0.05,
        "reserve": 0.01,
    },
    "seeds": [0, 1, 2, 3],
    "scale": "a thousandth of the benchmark",
    "minutes": {"declared": 20, "measured": 18.2},
    "looks": [
        {"kind": "declared", "seeds": [0, 1, 2, 3], "p": 0.25, "level": 0.04, "verdict": "undecided", "date": "2026-01-02"}
    ],
}


def trained(folder, names=NAMES):
    """Runs of a second each, in ``folder``; their directories by strategy."""
    return {name: train(small(f"strategy={name}", *WORDS, f"paths.runs={folder}")) for name in names}


def cells(folder):
    return cells_of(gather([str(folder)]).runs, ["accuracy", "forgetting"])


def page_of_all(path, found, study=None, title="Three strategies"):
    """The page on all cells."""
    return write_page(path, found, compare(found, ["accuracy", "forgetting"], margin=0.02), title, "lab report runs", study)


def page_of_one(path, cell):
    """The page on one run."""
    return write_page(path, [cell], None, "One run", "lab report runs/er")


def evil_page(path, found):
    """A page on which all that a user names is markup."""
    named = [replace(cell, name=f"{EVIL} {number}", environment=EVIL) for number, cell in enumerate(found)]
    comparison = compare(named, ["accuracy"], without=(EVIL,))
    study = STUDY | dict.fromkeys(("name", "family", "claim", "verdict", "measured", "decides", "scale"), EVIL)
    return write_page(path, named, comparison, EVIL, EVIL, study)


VOID = {"meta", "link", "input", "img", "br", "hr", "wbr", "line"}


class Parsed(HTMLParser):
    """A page's elements as ``(tag, attributes, tags around it)``; what is not closed in order is an error."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.around, self.texts = [], [], []
        self.feed(path.read_text())
        assert self.around == [], f"not closed: {self.around}"

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), tuple(self.around)))
        if tag not in VOID:
            self.around.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.around.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data):
        self.texts.append((self.around[-1] if self.around else "", data))

    def all(self, tag):
        return [(attributes, around) for found, attributes, around in self.elements if found == tag]

    def text(self):
        """What is read, without scripts and styles."""
        return " ".join(data for tag, data in self.texts if tag not in ("script", "style"))
