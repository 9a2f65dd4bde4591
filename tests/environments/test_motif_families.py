"""Planted motifs: that they stand where the marks say, written as each task's map says."""

import pytest
import torch

from environments.motif_families import MotifFamilies, _overlap, _pieces, written
from lab.errors import UserError

SMALL = {"length": 24, "train": 60, "test": 40}


def test_a_map_is_applied_member_by_member_and_task_by_task():
    table = torch.tensor([[[1, 2, 0], [0, 2, 1]], [[2, 1, 0], [0, 1, 2]]])  # [M=2, T=2, V=3]
    inputs = torch.tensor([[[0, 1, 2]], [[0, 1, 2]]])
    assert written(inputs, table, torch.tensor([[0], [0]])).tolist() == [[[1, 2, 0]], [[2, 1, 0]]]
    assert written(inputs, table, torch.tensor([[1], [1]])).tolist() == [[[0, 2, 1]], [[0, 1, 2]]]


@pytest.mark.parametrize("homes", [False, True])
def test_motifs_stand_where_the_marks_say_and_are_of_the_class(homes):
    environment = MotifFamilies(["A1", "B1"], noise=0, planted=[2, 3], homes=homes, **SMALL)
    for number, family in enumerate("AB"):
        motifs = environment.families[0][family]
        for row in range(number * 40, number * 40 + 40):
            symbols, marks = environment.data.test.inputs[row], environment.data.test.marks[row]
            target = int(environment.data.test.targets[row])
            there = set(marks.tolist()) - {-1}
            for mark in there:
                label, which = divmod(mark, 3)
                assert label == target
                of_motif = symbols[marks == mark].tolist()
                assert of_motif == motifs[label, which].tolist() * (len(of_motif) // 4)
            assert (marks >= 0).sum() in (8, 12)
            assert not homes or len(there) * 4 == (marks >= 0).sum(), "each at most once"


def test_a_motif_at_home_is_in_a_part_of_its_own_in_all_tasks_of_the_family():
    environment = MotifFamilies(["A1", "A2"], homes=True, **SMALL)
    marks = environment.data.train.marks
    for which in range(3):
        places = ((marks % 3 == which) & (marks >= 0)).nonzero()
        parts = [set((places[places[:, 0] // 60 == task, 1] // 8).tolist()) for task in (0, 1)]
        assert parts[0] == parts[1]
        assert len(parts[0]) == 1


def test_counts_of_symbols_do_not_tell_the_classes_apart_where_motifs_have_all_in_common():
    for common in (4, 3):
        motifs = MotifFamilies(["A1"], common=common, **SMALL).families[0]["A"]
        shared = [len(set(motifs[0, k].tolist()) & set(motifs[1, k].tolist())) for k in range(3)]
        assert shared == [common] * 3
        assert not (motifs[0] == motifs[1]).all(1).any()


def test_noise_replaces_that_share_of_tokens():
    clean, noisy = (MotifFamilies(["A1"], noise=noise, train=2000, length=64, test=2) for noise in (0, 0.2))
    changed = (clean.data.train.inputs != noisy.data.train.inputs).float().mean()
    assert float(changed) == pytest.approx(0.2 * 31 / 32, abs=0.01)


def test_a_task_of_the_same_name_is_the_same_beside_others():
    alone, beside = MotifFamilies(["A2"], **SMALL), MotifFamilies(["B1", "A2"], **SMALL)
    assert torch.equal(alone.data.train.inputs, beside.data.train.inputs[60:])
    assert torch.equal(alone.stream(5).tasks[0].view, beside.stream(5).tasks[1].view)
    assert alone.data.digest != beside.data.digest


def test_of_several_draws_each_member_has_that_of_its_seed():
    several, second = MotifFamilies(["A1", "A2"], draws=2, **SMALL), MotifFamilies(["A1", "A2"], draw=1, **SMALL)
    for seed, alone in ((4, MotifFamilies(["A1", "A2"], **SMALL)), (5, second)):
        for mine, theirs in zip(several.stream(seed).tasks, alone.stream(seed).tasks, strict=True):
            assert torch.equal(several.data.train.inputs[mine.train], alone.data.train.inputs[theirs.train])
            assert torch.equal(several.data.test.marks[mine.test], alone.data.test.marks[theirs.test])
            assert torch.equal(mine.view, theirs.view)
        assert several.stream(seed).figures == alone.stream(seed).figures
    assert not torch.equal(several.families[0]["A"], several.families[1]["A"])


def test_the_overlap_is_the_jaccard_index_of_pairs_of_neighbours():
    assert _pieces(torch.tensor([[[1, 2, 3], [2, 3, 4]]])) == {(1, 2), (2, 3), (3, 4)}
    environment = MotifFamilies(["A1", "A2"], motifs=1, span=3, common=3, **SMALL)
    motifs = environment.families[0]["A"]
    assert _overlap(motifs, motifs) == 1
    _, b, c = motifs[0, 0].tolist()
    swapped = torch.arange(32)
    swapped[[b, c]] = torch.tensor([c, b])  # a b c and c b a become a c b and b c a: of 4 pairs each, b c and c b are in both
    assert _overlap(motifs, swapped[motifs]) == pytest.approx(2 / 6)


def test_surfaces_of_a_family_have_next_to_nothing_in_common():
    figures = MotifFamilies(**SMALL).stream(0).figures
    assert len(figures) == 15
    assert max(figures.values()) < 0.2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"tasks": ["a1"]}, r"environment\.tasks"),
        ({"tasks": ["A1", "A1"]}, r"environment\.tasks"),
        ({"common": 5}, r"environment\.common=5: .*at most span=4$"),
        ({"length": 11}, r"environment\.length=11: .*at least 12"),
        ({"planted": [3, 2]}, r"environment\.planted"),
        ({"planted": 2}, r"environment\.planted"),
        ({"planted": [2, 4], "homes": True}, r"environment\.planted=\[2, 4\]: expected at most motifs=3, with homes"),
        ({"noise": 1.5}, r"environment\.noise"),
        ({"draws": 0}, r"environment\.draws=0"),
        ({"vocabulary": 3}, r"environment\.vocabulary=3: .*at least 4"),
    ],
)
def test_what_cannot_be_planted_is_refused_by_its_key(options, told):
    with pytest.raises(UserError, match=told):
        MotifFamilies(**SMALL | options)
