"""Runs become cells: pooled, named, sorted into what is comparable."""

import numpy as np
import pytest

from lab.comparison.cells import Run, blocks, cells_of, spans
from lab.errors import UserError
from tests.lab.comparison.material import results


def run(*args, name=None, **more):
    return Run(f"runs/{len(args)}-{more.get('cell')}-{more.get('seeds')}", results(*args, **more), name)


def test_the_seeds_of_one_cell_are_pooled_from_several_directories():
    (cell,) = cells_of([run([0.1, 0.2], seeds=[0, 1]), run([0.5], seeds=[7])])
    assert cell.values("accuracy") == pytest.approx({0: 0.1, 1: 0.2, 7: 0.5})
    assert len(cell.folders) == 2
    assert cell.taken == ()


def test_a_seed_in_two_directories_counts_once_and_is_told():
    (cell,) = cells_of([run([0.5], seeds=[1]), run([0.1, 0.2, 0.3], seeds=[0, 1, 2])])
    assert cell.values("accuracy") == pytest.approx({0: 0.1, 1: 0.2, 2: 0.3})
    assert cell.taken[0].startswith("seed 1 of runs/")


def test_other_code_is_another_cell_and_named_so():
    names = [cell.name for cell in cells_of([run([0.1], cell="aaaaaaaa"), run([0.2], cell="bbbbbbbb")])]
    assert names == ["naive (code aaaaaa)", "naive (code bbbbbb)"]


def test_namesakes_are_told_apart_by_what_differs():
    cells = cells_of(
        [run([0.1], "optimizer.lr=0.1", cell="a"), run([0.2], "optimizer.lr=0.3", cell="b"), run([0.3], "strategy=er")]
    )
    assert [cell.name for cell in cells] == ["naive lr=0.1", "naive lr=0.3", "er"]
    assert len(blocks(cells)) == 1


def test_a_setting_that_differs_between_environments_only_needs_no_name():
    runs = [run([0.1], "optimizer.lr=0.1", cell="a"), run([0.2], "optimizer.lr=0.3", "environment.tasks=4", cell="b", data="x")]
    assert [cell.name for cell in cells_of(runs)] == ["naive", "naive"]


@pytest.mark.parametrize(
    "word", ["environment.shared=true", "network.width=7", "batch_size=3", "epochs=2", "seed_for.stream=1"]
)
def test_stream_network_budget_and_evaluation_make_blocks(word):
    cells = cells_of([run([0.1], cell="a"), run([0.2], word, cell="b")])
    first, second = (group[0].environment for group in blocks(cells))
    assert word.split("=")[0].rpartition(".")[2] in second
    assert first != second


def test_how_curves_were_recorded_matters_to_measures_of_curves_alone():
    runs = [run([0.1], "evaluation.every=5", cell="a"), run([0.2], "strategy=er", cell="b")]
    assert len(blocks(cells_of(runs, ["accuracy"]))) == 1
    assert len(blocks(cells_of(runs, ["aulc"]))) == 2


def test_other_data_of_the_same_name_are_another_environment():
    assert len(blocks(cells_of([run([0.1], data="one", cell="a"), run([0.1], data="two", cell="b")]))) == 2


def test_what_varies_is_part_of_the_method():
    runs = [run([0.1], "batch_size=8", cell="a"), run([0.2], "batch_size=16", cell="b")]
    cells = cells_of(runs, varies=("batch_size",))
    assert [cell.name for cell in cells] == ["naive batch_size=8", "naive batch_size=16"]
    assert len(blocks(cells)) == 1


def test_members_with_other_hyperparameters_are_no_replicates():
    with pytest.raises(UserError, match=r"optimizer.lr differs from seed to seed"):
        cells_of([run([0.1, 0.2], "optimizer.lr=[0.1,0.2]")])
    with pytest.raises(UserError, match=r"strategy.ewc.strength differs from seed to seed"):
        cells_of([run([0.1, 0.2], "strategy=ewc", "strategy.ewc.strength=[1,2]")])


def test_rules_are_one_list_for_all_members():
    (cell,) = cells_of([run([0.1, 0.2], "strategy=constrained", "strategy.constrained.rules=[bio,slots]")])
    assert cell.values("accuracy") == pytest.approx({0: 0.1, 1: 0.2})


def test_what_is_not_averaged_is_raw():
    plain, averaged = run([0.1, 0.2]), run([0.5, 0.6], "averaging=sma", cell="c1")
    averaged.results.beside["raw"] = {}
    averaged.results.metrics["accuracy_raw"] = np.array([0.3, 0.4])
    one, other = cells_of([plain, averaged])
    assert one.values("accuracy_raw") == pytest.approx({0: 0.1, 1: 0.2})
    assert other.values("accuracy_raw") == pytest.approx({0: 0.3, 1: 0.4})
    assert np.isnan(list(other.values("loss_raw").values())).all()


def test_diverged_members_keep_their_place_without_a_value():
    (cell,) = cells_of([run([0.1, 0.2], diverged=[None, 17])])
    assert cell.diverged == {1: 17}
    assert np.isnan(cell.values("accuracy")[1])


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([None] * 6, ""),
        ([None, 17, None, 5, 40, None], "seed 1 diverged at step 17; seed 3 diverged at step 5; seed 4 diverged at step 40"),
        ([9, 17, None, 5, 40, 6], "seeds 0-1, 3-5 diverged, at steps 5 to 40"),
    ],
)
def test_a_few_who_diverged_are_told_one_by_one_and_many_together(steps, told):
    (cell,) = cells_of([run([0.1] * 6, diverged=steps)])
    assert cell.lost == told


def test_spans():
    assert spans([3, 1, 2, 9]) == "seeds 1-3, 9"
