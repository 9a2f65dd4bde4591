"""Comparisons: what is paired, corrected, refused, left out and said."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from lab.comparison import Run, cells_of, compare
from lab.errors import UserError
from lab.report.page.facts import origins
from lab.statistics import seeds_needed
from tests.lab.comparison.material import results

RNG = np.random.default_rng(0)
NAIVE = RNG.normal(0.7, 0.02, 10)
ER = NAIVE + RNG.normal(0.05, 0.01, 10)
OTHER = NAIVE + RNG.normal(0.0, 0.01, 10)
NOISE = RNG.normal(0.01, 0.01, 10)


def cells(*runs):
    return cells_of(
        [Run(f"runs/{n}", results(values, *words, cell=f"c{n}", **more)) for n, (values, words, more) in enumerate(runs)]
    )


def three(**more):
    return cells((NAIVE, [], {}), (ER, ["strategy=er"], {}), (OTHER, ["strategy=cumulative"], more))


def test_figures_agree_with_scipy():
    found = compare(three(), ["accuracy"], "naive")
    er, other = found.differences
    interval = stats.ttest_rel(ER, NAIVE).confidence_interval()
    assert (er.paired.low, er.paired.high) == pytest.approx((interval.low, interval.high))
    signs = np.array(list(itertools.product([1, -1], repeat=10)))
    by_hand = (np.abs((signs * (OTHER - NAIVE)).mean(1)) >= abs((OTHER - NAIVE).mean()) - 1e-12).mean()
    assert other.paired.p == pytest.approx(by_hand)
    assert other.paired.wilcoxon == pytest.approx(stats.wilcoxon(OTHER - NAIVE).pvalue)
    assert er.p_holm == pytest.approx(2 * er.paired.p)
    assert other.p_holm == pytest.approx(max(other.paired.p, er.p_holm))


def test_the_family_is_every_comparison_of_the_table():
    found = compare(three(), ["accuracy", "forgetting"], "naive")
    assert found.tests == 4
    assert found.differences[0].smallest_p == pytest.approx(4 * 2 / 2**10)
    assert found.differences[0].p_holm == pytest.approx(4 * 2 / 2**10)


def test_pairs_are_by_seed_and_not_by_place():
    backwards = cells((NAIVE, [], {}), (ER[::-1], ["strategy=er"], {"seeds": list(range(10))[::-1]}))
    (found,) = compare(backwards, ["accuracy"]).differences
    assert sorted(found.values) == pytest.approx(sorted(ER - NAIVE))


def test_unequal_seeds_are_paired_where_they_can_be_and_the_rest_is_named():
    found = compare(cells((NAIVE, [], {}), (ER[:7], ["strategy=er"], {"seeds": [3, 4, 5, 6, 7, 8, 12]})), ["accuracy"])
    assert found.differences[0].seeds == [3, 4, 5, 6, 7, 8]
    where, why = "er - naive (permuted digits x3 · domain), accuracy", "seed 12 not run by naive; seeds 0-2, 9 not run by er"
    assert found.left_out == [f"{where}: not in the pairs: {why}"]


def test_diverged_members_are_left_out_and_named():
    found = compare(
        cells((NAIVE, [], {}), (ER, ["strategy=er"], {"diverged": [None, 5, *[None] * 8]})), ["accuracy", "forgetting"]
    )
    assert found.differences[0].seeds == [0, 2, 3, 4, 5, 6, 7, 8, 9]
    assert "er (permuted digits x3 · domain), accuracy, forgetting: seed 1 diverged at step 5" in found.left_out


def test_a_measure_that_is_undefined_for_one_cell_is_said_and_the_others_compared():
    found = compare(three(undefined_rows=True), ["forgetting"])
    er, other = found.differences
    assert er.paired is not None
    assert other.paired is None
    assert found.tests == 1
    assert "undefined, all tasks were trained at once" in found.left_out[0]


def test_a_single_seed_has_values_and_no_test():
    found = compare(cells((NAIVE[:1], [], {}), (ER[:1], ["strategy=er"], {})), ["accuracy"])
    assert found.cells[0].estimate.mean == pytest.approx(NAIVE[0])
    assert found.differences[0].paired is None
    assert any("1 seed with both values; a comparison needs two" in note for note in found.notes)


def test_too_few_seeds_for_any_small_p_are_said():
    (note,) = [
        n for n in compare(cells((NAIVE[:4], [], {}), (ER[:4], ["strategy=er"], {})), ["accuracy"]).notes if "possible" in n
    ]
    assert note.startswith("with 4 seeds and 1 comparison no p below 0.12 is possible after correction")
    assert "6 seeds could reach 0.05" in note


def test_a_margin_tests_non_inferiority_in_the_direction_that_is_better():
    found = compare(three(), ["forgetting"], "naive", margin=0.02)
    er, other = found.differences
    assert er.noninferior_p == pytest.approx(2 / 2**10)  # er forgets less, on every seed
    assert er.equivalent_p > 0.9
    assert other.equivalent_p < 0.01
    worse = compare(three(), ["forgetting"], "er", margin=0.02).differences[0]
    assert worse.noninferior_p > 0.9


def test_what_is_not_comparable_is_refused_with_what_differs():
    with pytest.raises(UserError, match=r"batch_size is 32 and 64.*--varies batch_size") as error:
        compare(cells((NAIVE, [], {}), (ER, ["strategy=er", "batch_size=64"], {})), ["accuracy"])
    assert "naive (runs/0) and er (runs/1) are not comparable" in str(error.value)


def test_several_environments_are_compared_each_and_ranked():
    groups = [(values, words, {"data": f"d{place}"}) for place in range(6) for values, words in
              ((NAIVE, [f"environment.tasks={place + 3}"]), (ER, [f"environment.tasks={place + 3}", "strategy=er"]),
               (NAIVE - 0.1, [f"environment.tasks={place + 3}", "strategy=cumulative"]))]  # fmt: skip
    found = compare(cells(*groups), ["accuracy"])
    assert len(found.environments) == 6
    assert found.tests == 12
    (ranks,) = found.ranks
    assert dict(zip(ranks.cells, ranks.ranks, strict=True)) == {"naive": 2, "er": 1, "cumulative": 3}
    assert ranks.friedman_p == pytest.approx(math.exp(-6))  # chi-square of 12 with 2 degrees of freedom
    assert ranks.cliques


def test_budgets_of_one_stream_are_no_environments_to_rank_over():
    runs = [(NAIVE, [word], {}) for word in ("epochs=1", "epochs=2")]
    runs += [(ER, [word, "strategy=er"], {}) for word in ("epochs=1", "epochs=2")]
    assert compare(cells(*runs), ["accuracy"]).ranks == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"metrics": ["acuracy"]}, "--metric acuracy: there is none of that name. Did you mean accuracy"),
        ({"metrics": ["aulc"]}, "no run has a value .no curves were recorded"),
        ({"metrics": ["accuracy"], "baseline": "niave"}, "--baseline niave: there is no such cell. Did you mean naive"),
    ],
)
def test_what_there_is_not_is_a_sentence(asked, message):
    with pytest.raises(UserError, match=message):
        compare(three(), **asked)


def test_one_cell_alone_is_summarised():
    found = compare(cells((NAIVE, [], {})), ["accuracy"])
    assert found.differences == []
    assert "naive is the only cell: there is nothing to compare it with" in found.notes


def test_other_commits_are_told():
    runs = [Run("a", results(NAIVE)), Run("b", results(ER, "strategy=er"))]
    runs[1].results.provenance["commit"] = "1234567890"
    assert "not everything was run with the same commit (1234567, abc1234)" in compare(cells_of(runs), ["accuracy"]).notes


@pytest.mark.parametrize(("cores", "told"), [(("aa", "bb"), True), (("aa", "aa"), False), (("aa", None), False)])
def test_runs_of_one_cell_by_different_cores_of_the_lab_are_told(cores, told):
    runs = [Run("a", results(NAIVE)), Run("b", results(ER[:3], seeds=[20, 21, 22]))]
    for run, core in zip(runs, cores, strict=True):
        run.results.provenance |= {"core": core} if core else {}
    merged = cells_of(runs)
    found = "seeds 0-9 by aa (a); seeds 20-22 by bb (b)"
    said = [f"{merged[0].name}: its seeds were trained by different versions of the lab's core: {found}"]
    assert list(merged[0].taken) == (said if told else [])
    notes = compare(merged, ["accuracy"]).notes
    assert [note for note in notes if "lab's core" in note][:1] == (said if told else [])


def test_cells_by_different_cores_of_the_lab_are_told():
    runs = [Run("a", results(NAIVE)), Run("b", results(ER, "strategy=er")), Run("c", results(OTHER, "strategy=joint"))]
    runs[0].results.provenance["core"], runs[1].results.provenance["core"] = "aa", "bb"
    assert "not everything was run with the same version of the lab's core (aa, bb)" in compare(cells_of(runs)).notes
    del runs[1].results.provenance["core"]
    assert not any("core" in note for note in compare(cells_of(runs)).notes)


def test_seeds_are_planned_for_as_many_comparisons_also_where_so_few_can_reach_nothing():
    others = [(NAIVE + n * NOISE, [f"strategy=[{name}]"]) for n, name in enumerate(("er", "cumulative", "joint"), 1)]

    def of(seeds):
        runs = [(NAIVE, []), *others]
        return compare(cells(*((values[:seeds], words, {}) for values, words in runs)), ["accuracy", "forgetting"]).differences

    for seeds, least in ((4, 6 / 8), (3, 1.0)):  # six times 2 / 2^3 is more than 1
        for row in of(seeds):
            assert row.smallest_p == pytest.approx(least)
            assert row.needed == seeds_needed(np.array(row.values), alpha=0.05 / 6)


def test_of_ranks_nothing_is_said_where_there_are_none():
    runs = [(NAIVE, ["epochs=1"], {}), (ER, ["epochs=1", "strategy=er"], {}), (OTHER, ["epochs=1", "strategy=cumulative"], {})]
    runs += [(NAIVE, ["epochs=2"], {}), (ER, ["epochs=2", "strategy=er"], {})]
    assert not any("rank" in note for note in compare(cells(*runs), ["accuracy"]).notes)


def test_nothing_to_compare_is_a_sentence():
    lost = {"diverged": [3] * 10}
    with pytest.raises(UserError, match=r"--metric accuracy: no run has a value .every member diverged"):
        compare(cells((NAIVE, [], lost), (ER, ["strategy=er"], lost)))


def test_directories_that_are_pooled_were_run_one_after_the_other():
    runs = [Run("a", results(NAIVE)), Run("b", results(ER[:3], seeds=[20, 21, 22]))]
    runs[1].results.provenance["commit"] = "1234567890"
    (cell,) = cells_of(runs)
    assert cell.results.cost["wall_seconds"] == pytest.approx(4.0)
    said = dict(row[1] for row in origins([cell]).rows)
    assert said["git commit"] == "abc1234; 1234567890"


def test_a_stream_that_brings_old_tasks_back_is_told_of():
    """Beside a memory, which is counted, it has all old data for nothing; two seeds are shown 5 and 7 samples again."""
    plain, back = cells((NAIVE[:2], [], {}), (ER[:2], ["strategy=er"], {}))
    nothing = np.zeros((2, 3, 3), dtype=int)
    shown = np.stack([np.diag([30, 30, 30]) + n * np.eye(3, k=-2, dtype=int) for n in (5, 7)])
    plain.results.encounters = {"task": [0, 1, 2], "shown": shown * np.eye(3, dtype=int), "rehearsed": shown}
    assert not any("still there" in note for note in compare([plain, back], ["accuracy"]).notes)
    back.results.encounters = {"task": [0, 1, 2], "shown": shown, "rehearsed": nothing}
    (told,) = [note for note in compare([plain, back], ["accuracy"]).notes if "still there" in note]
    assert told.endswith(f"samples a seed: {back.name} ({back.environment}) 6")
