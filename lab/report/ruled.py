"""What is shown of outputs with names and rules: how many break them, what is broken most, what constrained decoding mends."""

from __future__ import annotations

from typing import Any

import numpy as np

from lab.report.summary import overall, written
from lab.results import Results


def violations(results: Results) -> list[str]:
    """Names of the matrices of violations: of any rule, and where there are several of each."""
    own = [name for name in results.matrices if name.startswith("violation_")]
    return [] if "violation" not in results.matrices else own if len(own) == 1 else ["violation", *own]


def in_words(name: str) -> str:
    """A matrix of violations as it is called in a title.

    >>> in_words("violation"), in_words("violation_bio")
    ('any rule', 'bio')
    """
    return name.partition("_")[2] or "any rule"


def task_measure(results: Results) -> str:
    """The task's own measure, which stands beside that under constrained decoding."""
    return next((rule["weighed_against"] for rule in (results.violated or {}).values()), "accuracy")


def kept(results: Results) -> list[str]:
    """How the task's measure and the rules go together, in words, by the columns of :data:`KEPT`; intervals on a line below."""
    measure = task_measure(results)
    names = [measure, f"constrained_{measure}", "constrained_found", "violation", "violation_forgetting", "h_05", "h_1", "h_2"]
    return [measure.replace("_", " "), *(_mean(results, name).replace(" [", "\n[") for name in names)]


KEPT = ["task's measure", "as answered", "constrained", "found", "violation", "violation forgotten", "H .5", "H 1", "H 2"]


def of_rules(results: Results) -> list[list[str]]:
    """Each rule: its name, what it says, groups of a seed, and the share that breaks it after the last task."""
    rows = []
    for name, rule in (results.violated or {}).items():
        groups = _counted(rule["groups"])
        rows.append([name, rule["says"], rule["over"], groups, _mean(results, f"violation_{name}")])
    return rows


OF_RULES = ["rule", "says", "over", "groups of a seed", "violation"]


def worst(results: Results, most: int) -> list[list[str]]:
    """The groundings of each rule that are violated most: rule, grounding, share of groups, and an example."""
    rows = []
    for name, rule in (results.violated or {}).items():
        groups = sum(rule["groups"])
        for one in rule["worst"][:most]:
            share = f"{100 * sum(one['count']) / groups:.1f} %"
            rows.append([name, one["grounding"] or "-", share, example(one["example"], rule["aligned"])])
    return rows


WORST = ["rule", "where", "of groups", "example"]


def example(found: dict[str, Any] | None, aligned: bool) -> str:
    """An example of a violation on a line for each of its members: its tokens, and what was answered."""
    return "\n".join(_answered(one["tokens"], one["answers"], aligned) for one in found["examples"]) if found else "-"


def _answered(tokens: list[str], answers: dict[str, Any], aligned: bool) -> str:
    """Tokens and answers; of labels that are ``aligned`` each but O is at its token.

    >>> _answered(["go", "to", "Rome"], {"intent": "trip", "tag": ["O", "O", "B-city"]}, True)
    'intent: trip; tag: go to Rome/B-city'
    >>> _answered(["a", "b"], {"out": ["u", "v"]}, False)
    'a b → out: u v'
    """
    sequences = {name: labels for name, labels in answers.items() if isinstance(labels, list)}
    marked = aligned and tokens and sequences
    words = {name: _marked(tokens, own) if marked else " ".join(own) for name, own in sequences.items()}
    said = "; ".join(f"{name}: {words.get(name, label)}" for name, label in answers.items())
    return said if marked else " → ".join(filter(None, (" ".join(tokens), said)))


def _marked(tokens: list[str], labels: list[str]) -> str:
    own = tokens[len(tokens) - len(labels) :]
    return " ".join(token if label == "O" else f"{token}/{label}" for token, label in zip(own, labels, strict=True))


def _mean(results: Results, name: str) -> str:
    values = results.metrics.get(name, np.full(1, np.nan))
    return written(values).replace(", ", ",\u00a0") if overall(values).n else "-"


def _counted(counts: list[int]) -> str:
    """Numbers of the members, from the least to the largest."""
    return " to ".join(f"{n:,}" for n in dict.fromkeys((min(counts), max(counts))))
