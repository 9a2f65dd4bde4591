"""Verdicts by the declared test alone."""

import numpy as np
import pytest

from lab.comparison import Run, cells_of
from lab.errors import UserError
from lab.study.verdict import CONTRADICTED, SUPPORTED, UNDECIDED, decide
from tests.lab.comparison.material import results
from tests.lab.study.test_question import read

SEEDS = list(range(10))
BASE = np.random.default_rng(0).normal(0.7, 0.02, 10)
NOISE = np.random.default_rng(1).normal(0.0, 0.01, 10)


def verdict(tmp_path, gain, kind="superiority", margin=0.05, level=0.04, noise=NOISE, measure="accuracy", **more):
    test = {"kind": kind, "better": "er", "than": "naive", "margin": margin}
    study = read(tmp_path, measure=measure, test=test)
    runs = [Run("a", results(BASE), "naive"), Run("b", results(BASE + gain + noise, "strategy=er", **more), "er")]
    return decide(study, cells_of(runs), SEEDS, level)


@pytest.mark.parametrize(
    ("kind", "gain", "word"),
    [
        ("superiority", 0.10, SUPPORTED),
        ("superiority", 0.05, UNDECIDED),
        ("superiority", 0.02, CONTRADICTED),  # better, but not by the margin
        ("superiority", -0.10, CONTRADICTED),
        ("noninferiority", 0.10, SUPPORTED),
        ("noninferiority", 0.0, SUPPORTED),
        ("noninferiority", -0.05, UNDECIDED),
        ("noninferiority", -0.10, CONTRADICTED),
        ("equivalence", 0.0, SUPPORTED),
        ("equivalence", 0.05, UNDECIDED),
        ("equivalence", 0.10, CONTRADICTED),
        ("equivalence", -0.10, CONTRADICTED),
    ],
)
def test_words(tmp_path, kind, gain, word):
    assert verdict(tmp_path, gain, kind).word == word


def test_the_smallest_p_is_that_of_all_signs_alike(tmp_path):
    found = verdict(tmp_path, 0.1, margin=0.0)
    assert found.p == pytest.approx(2 / 2**10)
    assert "er better than naive in accuracy: +0.1" in found.measured
    assert "10 seeds (seeds 0-9)" in found.decides


def test_the_level_is_the_looks_and_not_alpha(tmp_path):
    assert verdict(tmp_path, 0.1, level=0.001).word == UNDECIDED


def test_forgetting_less_is_better(tmp_path):
    assert verdict(tmp_path, 0.1, measure="forgetting").word == SUPPORTED  # .9 - accuracy is forgotten
    assert verdict(tmp_path, -0.1, measure="forgetting").word == CONTRADICTED


def test_undecided_says_how_many_seeds_would_decide(tmp_path):
    found = verdict(tmp_path, 0.05)
    assert found.word == UNDECIDED
    assert "seeds would decide a difference like this with 80 % power (95 % interval: " in found.decides


def test_a_declared_seed_that_diverged_leaves_it_undecided(tmp_path):
    found = verdict(tmp_path, 0.1, diverged=[*[None] * 9, 12])
    assert found.word == UNDECIDED
    assert "a declared seed is missing: seed 9 of er diverged" in found.decides


def test_all_parts_must_hold_and_one_contradiction_is_enough(tmp_path):
    cells = {"naive": ["strategy=naive"], "er": ["strategy=er"], "other": ["strategy=cumulative"]}
    study = read(
        tmp_path, measure="accuracy", cells=cells, test={"kind": "superiority", "better": "er", "than": ["naive", "other"]}
    )

    def word(er, other):
        runs = [Run("a", results(BASE), "naive"), Run("b", results(BASE + er + NOISE, "strategy=er"), "er")]
        runs.append(Run("c", results(BASE + other, "strategy=cumulative"), "other"))
        return decide(study, cells_of(runs), SEEDS, 0.04)

    assert word(0.1, 0.0).word == SUPPORTED
    assert word(0.1, 0.0).p == pytest.approx(2 * 2 / 2**10)  # Holm over two
    assert word(0.1, 0.1).word == UNDECIDED
    assert word(0.1, 0.2).word == CONTRADICTED


def test_an_interaction_is_a_contrast(tmp_path):
    words = {"aa": "batch_size=8", "ab": "batch_size=16", "ba": "batch_size=24", "bb": "batch_size=32"}
    cells = {name: [word] for name, word in words.items()}
    test = {"kind": "superiority", "contrast": {"aa": 1, "ab": -1, "ba": -1, "bb": 1}}
    study = read(tmp_path, measure="accuracy", cells=cells, test=test, varies=["batch_size"])
    gains = {"aa": 0.1, "ab": 0.05, "ba": 0.03, "bb": 0.03}
    runs = [Run(name, results(BASE + gain + NOISE * gain, words[name], cell=name), name) for name, gain in gains.items()]
    found = decide(study, cells_of(runs, varies=study.varies), SEEDS, 0.04)
    assert found.word == SUPPORTED
    assert "+1 aa -1 ab -1 ba +1 bb in accuracy: +0.05" in found.measured


def test_cells_that_are_not_comparable_are_refused(tmp_path):
    runs = [Run("a", results(BASE), "naive"), Run("b", results(BASE, "strategy=er", "batch_size=7"), "er")]
    with pytest.raises(UserError, match="batch_size is"):
        decide(read(tmp_path), cells_of(runs), SEEDS, 0.04)


def test_a_measure_that_there_is_not(tmp_path):
    with pytest.raises(UserError, match="measure=acuracy: er has no such measure"):
        verdict(tmp_path, 0.1, measure="acuracy")
