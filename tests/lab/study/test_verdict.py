"""Verdicts by the declared test alone."""

import numpy as np
import pytest

from lab.comparison import Run, cells_of
from lab.errors import UserError
from lab.study.verdict import CONTRADICTED, SUPPORTED, UNDECIDED, data_of, decide, parts_of
from tests.lab.comparison.material import results
from tests.lab.study.test_question import read

SEEDS = list(range(10))
BASE = np.random.default_rng(0).normal(0.7, 0.02, 10)
NOISE = np.random.default_rng(1).normal(0.0, 0.01, 10)


def decided(study, cells, level=0.04):
    return decide(parts_of(study, cells, SEEDS), SEEDS, level)


def verdict(tmp_path, gain, kind="superiority", margin=0.05, level=0.04, noise=NOISE, measure="accuracy", **more):
    test = {"kind": kind, "better": "er", "than": "naive", "margin": margin}
    study = read(tmp_path, measure=measure, test=test)
    runs = [Run("a", results(BASE), "naive"), Run("b", results(BASE + gain + noise, "strategy=er", **more), "er")]
    return decided(study, cells_of(runs), level)


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
    assert "er better than naive in accuracy: better by +0.1" in found.measured
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


def test_seeds_that_diverged_are_told_together(tmp_path):
    found = verdict(tmp_path, 0.1, diverged=[5, 6, 7, *[None] * 6, 12])
    assert "a declared seed is missing: seeds 0-2, 9 of er diverged" in found.decides


def test_of_next_to_no_difference_no_count_of_seeds_is_made_up(tmp_path):
    found = verdict(tmp_path, 0.05 + 1e-6 - NOISE.mean())
    assert "; over 100,000 seeds would decide a difference like this" in found.decides


def test_all_parts_must_hold_and_one_contradiction_is_enough(tmp_path):
    cells = {"naive": ["strategy=naive"], "er": ["strategy=er"], "other": ["strategy=cumulative"]}
    study = read(
        tmp_path, measure="accuracy", cells=cells, test={"kind": "superiority", "better": "er", "than": ["naive", "other"]}
    )

    def word(er, other):
        runs = [Run("a", results(BASE), "naive"), Run("b", results(BASE + er + NOISE, "strategy=er"), "er")]
        runs.append(Run("c", results(BASE + other, "strategy=cumulative"), "other"))
        return decided(study, cells_of(runs))

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
    found = decided(study, cells_of(runs, varies=study.varies))
    assert found.word == SUPPORTED
    assert "+1 aa -1 ab -1 ba +1 bb in accuracy: better by +0.05" in found.measured


def test_cells_that_are_not_comparable_are_refused(tmp_path):
    runs = [Run("a", results(BASE), "naive"), Run("b", results(BASE, "strategy=er", "batch_size=7"), "er")]
    with pytest.raises(UserError, match="batch_size is"):
        decided(read(tmp_path), cells_of(runs))


def test_an_environment_whose_cells_are_not_comparable_is_refused_and_not_left_out(tmp_path):
    environments = {"p": ["environment.tasks=3"], "q": ["environment.tasks=4"]}
    study = read(tmp_path, measure="accuracy", environments=environments)
    words = {"p": ("environment.tasks=3",), "q": ("environment.tasks=4",)}
    runs = [
        Run(f"{place}{name}", results(BASE, *words[place], *more, cell=f"{place}{name}"), name, place)
        for place in words
        for name, more in (("naive", ()), ("er", ("strategy=er", *(["batch_size=7"] if place == "q" else []))))
    ]
    with pytest.raises(UserError, match="are not comparable: batch_size is"):
        decided(study, cells_of(runs))


def test_a_part_that_lost_a_seed_still_counts_in_the_family(tmp_path):
    cells = {"naive": ["strategy=naive"], "er": ["strategy=er"], "other": ["strategy=cumulative"]}
    study = read(
        tmp_path, measure="accuracy", cells=cells, test={"kind": "superiority", "better": "er", "than": ["naive", "other"]}
    )
    lost = results(BASE, "strategy=cumulative", diverged=[4, *[None] * 9])
    runs = [Run("a", results(BASE), "naive"), Run("b", results(BASE - 0.1, "strategy=er"), "er"), Run("c", lost, "other")]
    found = decided(study, cells_of(runs))
    assert found.word == CONTRADICTED
    assert found.p == pytest.approx(2 * 2 / 2**10)


def test_the_digest_of_the_data_is_of_the_values_alone(tmp_path):
    def digest(values, cell):
        runs = [Run("a", results(BASE), "naive"), Run("b", results(values, "strategy=er", cell=cell), "er")]
        return data_of(parts_of(read(tmp_path), cells_of(runs), SEEDS))

    assert digest(BASE, "one") == digest(BASE, "two") != digest(BASE + 1e-9, "one")


def test_an_assumption_is_said_where_there_is_a_margin(tmp_path):
    assert "differences taken to be symmetric about the margin" in verdict(tmp_path, 0.1).decides
    assert "symmetric" not in verdict(tmp_path, 0.1, margin=0.0).decides
