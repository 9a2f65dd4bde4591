"""Scores of training examples: none from a network that was trained on the example, and that is seen from several sides."""

from __future__ import annotations

import os
import re
import zipfile
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from lab import scores as module
from lab.errors import UserError
from lab.learner import ContinualLearner
from lab.networks import MLP, Tagger
from lab.population import one_network
from lab.protocols import Data, Examples, derive, generator
from lab.scores import Reference, dealt, of_environment, of_file, reference
from lab.testing.miniature import blobs
from lab.workers import side_by_side

SMALL_MLP = {"_target_": "lab.networks.MLP", "width": 16, "depth": 1}
SMALL_TAGGER = {"_target_": "lab.networks.Tagger", "vocabulary": 12, "width": 8, "window": 3}
PLAIN_MLP = {"_target_": f"{__name__}.Unstackable", "width": 16, "depth": 1}
QUICK = Reference(folds=3, epochs=2, batch_size=13)
"""Of 40 examples a network is trained on 26 or 27: on two batches, or on a third of one example, while others rest."""


class Unstackable(MLP):
    """Looks at a value, as vmap cannot."""

    def forward(self, inputs):
        return super().forward(inputs) if inputs.sum() > 0 else super().forward(inputs) + 1


def relabelled(data: Data, row: int, label: int) -> Data:
    targets = data.train.targets.clone()
    targets[row] = label
    return replace(data, train=replace(data.train, targets=targets), digest=f"{data.digest} {row} {label}")


@cache
def sentences() -> Data:
    """Tokens ``[40, 6]``, each answered by its remainder, some by nothing."""
    draw = generator(0, "sentences")
    tokens = torch.randint(0, 12, (40, 6), generator=draw)
    targets = torch.where(torch.rand(40, 6, generator=draw) < 0.3, -100, tokens % 3)
    targets[:, 0] = tokens[:, 0] % 3
    return Data("sentences", Examples(tokens, targets), Examples(tokens[:4], targets[:4]), 3, "sentences")


def everything(data: Data) -> torch.Tensor:
    return torch.arange(len(data.train))


# --- nothing comes from a network that was trained on it -------------------------------------------------------------------


def test_no_row_is_scored_by_a_network_that_was_trained_on_it(tmp_path, monkeypatch):
    data, settings = blobs(4, 11), replace(QUICK, repeats=2)
    rows = torch.arange(3, 42)
    trained, scored = [set() for _ in range(6)], [[] for _ in range(6)]
    advance, entropy = ContinualLearner.advance, ContinualLearner.cross_entropy

    def note_trained(self, block, step):
        for member, own in enumerate(trained):
            own |= set(block.examples[:, member].flatten().tolist())
        advance(self, block, step)

    def note_scored(self, batch, logits):
        for own, examples in zip(scored, batch.examples.tolist(), strict=True):
            own += [] if self.population.training else examples
        return entropy(self, batch, logits)

    monkeypatch.setattr(ContinualLearner, "advance", note_trained)
    monkeypatch.setattr(ContinualLearner, "cross_entropy", note_scored)
    # A row that is given twice must not come to lie in two folds.
    found = reference(data, SMALL_MLP, settings, 0, torch.cat([rows, rows[:9]]), tmp_path)
    assert torch.equal(found.isfinite().nonzero().squeeze(1), rows)
    for seen, own in zip(trained, scored, strict=True):
        assert not seen & set(own)
        assert seen | set(own) == set(rows.tolist())
    for repeat in (scored[:3], scored[3:]):
        assert sorted(row for own in repeat for row in own) == rows.tolist()
    assert scored[0] != scored[3]


def test_a_label_has_no_part_in_the_network_that_scores_it(tmp_path):
    """Under one network the probabilities of an example's labels add up to 1. With a network for each label that the example
    could have been given, they do so only if none of them knows which one it was: a network that was trained on it prefers
    it, whatever it is."""
    data, row = blobs(4, 8), 5
    hungry = Reference(folds=4, epochs=15, batch_size=4)

    def given(label: int) -> torch.Tensor:
        return reference(relabelled(data, row, label), SMALL_MLP, hungry, 0, everything(data), tmp_path)

    each = torch.stack([given(label) for label in range(4)])
    assert each[:, row].exp().sum() == pytest.approx(1, abs=1e-5)
    fold = next(fold for fold in dealt(everything(data), hungry, 0) if row in fold)
    rest = fold[fold != row]
    assert torch.equal(each[:, rest], each[:1, rest].expand(4, -1)), "the same network in all four"
    others = torch.isin(everything(data), fold, invert=True)
    assert (each[0, others] != each[1, others]).all(), "and other networks elsewhere"


def test_what_is_held_out_has_no_part_at_all(tmp_path):
    data = blobs(4, 8)
    rows = everything(data)[::2]
    before = reference(data, SMALL_MLP, QUICK, 0, rows, tmp_path)
    after = reference(relabelled(data, 5, 0), SMALL_MLP, QUICK, 0, rows, tmp_path)
    assert torch.equal(before[rows], after[rows])
    assert before[1::2].isnan().all()


def test_wrong_labels_are_found(tmp_path):
    images, labels = map(torch.from_numpy, load_digits(return_X_y=True))
    images, labels, draw = (images * 15).to(torch.uint8).view(-1, 1, 8, 8), labels.long(), generator(0, "wrong labels")
    wrong = torch.rand(len(labels), generator=draw) < 0.2
    given = torch.where(wrong, (labels + torch.randint(1, 10, labels.shape, generator=draw)) % 10, labels)
    data = Data("digits", Examples(images, given), Examples(images[:9], labels[:9]), 10, "digits, 20 % wrong")
    found = reference(data, SMALL_MLP | {"width": 64}, Reference(epochs=5), 0, everything(data), tmp_path)
    assert roc_auc_score(~wrong, found) > 0.9


# --- they are what they are said to be -------------------------------------------------------------------------------------


def by_hand(data: Data, network: torch.nn.Module, train: torch.Tensor, orders: list, scored: torch.Tensor) -> torch.Tensor:
    """Plain training of one network and its scores, with torch alone."""
    inputs = data.train.inputs / 255 if data.train.inputs.dtype == torch.uint8 else data.train.inputs
    descent = torch.optim.SGD(network.parameters(), lr=QUICK.lr)

    def loss(rows: torch.Tensor) -> torch.Tensor:
        answers, labels = network(inputs[rows]), data.train.targets[rows]
        if labels.dim() == 1:
            return F.cross_entropy(answers, labels, reduction="none")
        sentences = zip(answers, labels, strict=True)
        return torch.stack([F.cross_entropy(a[own >= 0], own[own >= 0]) for a, own in sentences])

    for order in orders:
        for batch in train[order].split(QUICK.batch_size):
            descent.zero_grad()
            loss(batch).mean().backward()
            descent.step()
    with torch.no_grad():
        return -loss(scored)


@pytest.mark.parametrize(
    ("node", "build", "make"),
    [
        (SMALL_MLP, lambda: blobs(4, 10), lambda: MLP((1, 8, 8), 4, width=16, depth=1)),
        (PLAIN_MLP, lambda: blobs(4, 10), lambda: MLP((1, 8, 8), 4, width=16, depth=1)),
        (SMALL_TAGGER, sentences, lambda: Tagger((6,), 3, vocabulary=12, width=8, window=3)),
    ],
    ids=["classes", "in turn", "tokens"],
)
def test_a_fold_is_scored_as_by_a_plain_loop(tmp_path, monkeypatch, node, build, make):
    monkeypatch.setenv("LAB_PACKAGES", __name__.split(".")[0])
    data, seed, twice = build(), 7, replace(QUICK, repeats=2)
    expected = torch.zeros(len(data.train))
    for member, fold in enumerate(dealt(everything(data), twice, seed)):
        network = one_network(make, derive(seed, "reference", "repeat", member // 3), 0)
        train, own = torch.tensor(sorted(set(range(len(data.train))) - set(fold.tolist()))), derive(seed, "reference", member)
        orders = [torch.randperm(len(train), generator=generator(own, "order", 0, epoch)) for epoch in range(QUICK.epochs)]
        expected[fold] += by_hand(data, network, train, orders, fold) / 2
    found = reference(data, node, twice, seed, everything(data), tmp_path)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


# --- they are kept -------------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path):
    """Scores of the miniature data, and the file that they are kept in."""
    data = blobs(4, 8)
    found = reference(data, SMALL_MLP, QUICK, 0, everything(data), tmp_path)
    (file,) = (tmp_path / "scores").glob("*.npy")
    return found, file


def test_they_are_worked_out_once_and_anew_for_anything_else(tmp_path, monkeypatch, kept):
    def trains(self, *given):
        raise ArithmeticError

    data = blobs(4, 8)
    given = {"data": data, "network": SMALL_MLP, "settings": QUICK, "seed": 0, "rows": everything(data), "folder": tmp_path}
    monkeypatch.setattr(ContinualLearner, "advance", trains)
    assert torch.equal(reference(**given), kept[0])
    others = [
        {"data": replace(data, digest="another")}, {"network": SMALL_MLP | {"width": 17}}, {"seed": 1},
        {"rows": everything(data)[1:]}, *({"settings": replace(QUICK, **{name: 4})} for name in ("folds", "repeats", "lr")),
    ]  # fmt: skip
    for other in others:
        with pytest.raises(ArithmeticError):
            reference(**given | other)
    monkeypatch.setattr(module, "core", lambda: "another")
    with pytest.raises(ArithmeticError):
        reference(**given)


def test_the_same_bits_elsewhere_and_nothing_else_is_touched(tmp_path, monkeypatch, kept):
    data = blobs(4, 8)
    torch.manual_seed(5)
    advance, used = ContinualLearner.advance, set()

    def note_threads(*given):
        used.add(torch.get_num_threads())
        advance(*given)

    monkeypatch.setattr(ContinualLearner, "advance", note_threads)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        assert torch.equal(reference(data, SMALL_MLP, QUICK, 0, everything(data), tmp_path / "elsewhere"), kept[0])
        assert torch.get_num_threads() == threads + 1
        assert used == {1}, "several threads may add up in another order"
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(state, torch.random.get_rng_state())


def test_of_two_processes_one_works_and_the_other_waits(tmp_path):
    data = blobs(4, 8)

    def job(report):
        return reference(data, SMALL_MLP, replace(QUICK, epochs=20), 0, everything(data), tmp_path).tolist(), os.getpid()

    work = module._worked_out

    def noted(*given):
        (tmp_path / f"worked-{os.getpid()}").touch()
        return work(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_worked_out", noted)
        (first, one), (second, other) = side_by_side([job, job], lambda number, step: None, (UserError,))
    assert first == second
    assert one != other
    assert len([*tmp_path.glob("worked-*")]) == 1
    assert len([path for path in (tmp_path / "scores").iterdir() if path.suffix != ".lock"]) == 1


def test_they_may_be_given_as_a_file_and_a_damaged_one_is_refused(tmp_path, kept):
    found, file = kept
    assert torch.equal(of_file("order.score", file, len(found)), found)
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(UserError, match=f"{file.name}: cannot be read.* move it away"):
        reference(blobs(4, 8), SMALL_MLP, QUICK, 0, torch.arange(32), tmp_path)


# --- what is given -------------------------------------------------------------------------------------------------------


def saved(path, *arrays, **named):
    with path.open("wb") as file:
        np.save(file, *arrays) if arrays else np.savez(file, **named)
    return path


def test_files_of_both_kinds(tmp_path):
    given, wanted = np.array([3, 1, 2]), torch.tensor([3.0, 1.0, 2.0])
    file = saved(tmp_path / "plain.npy", given)
    assert torch.equal(of_file("order.score", str(file), 3), wanted)
    assert torch.equal(of_file("order.score", saved(tmp_path / "one.npz", mine=given), 3), wanted)
    found = of_file("order.score", saved(tmp_path / "named.npz", other=given[:2], quality=given > 1), 3)
    assert torch.equal(found, torch.tensor([1.0, 0.0, 1.0]))
    assert found.dtype == torch.float32


NAN, WIDE = np.array([0.0, np.nan, np.inf, 1.0]), np.array([0.0, 1.0, 2.0, 1e300])


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ([np.zeros(3)], "holds 3 scores; expected 4, one for each training example"),
        ([np.zeros((4, 1))], r"shape \[4, 1\]; expected 4"),
        ([NAN], "2 of its 4 scores are NaN, or infinite in float32, the first of them in row 1"),
        ([WIDE], "1 of its 4 scores .* row 3"),
        ([np.array(list("abcd"))], "expected numbers, and these are of type <U1"),
        ([np.array([1j] * 4)], "expected numbers"),
        ([np.array([None] * 4, dtype=object)], "pickled objects"),
        ({"a": np.zeros(4), "b": np.zeros(4)}, "an array named quality, or one array alone, and it holds a, b"),
    ],
    ids=["length", "dimensions", "NaN", "overflow", "words", "complex", "objects", "which"],
)
def test_files_that_hold_no_scores(tmp_path, arrays, said):
    file = tmp_path / "scores"
    saved(file, **arrays) if isinstance(arrays, dict) else saved(file, *arrays)
    with pytest.raises(UserError, match=f"order.score={file}: .*{said}"):
        of_file("order.score", file, 4)


def test_files_that_are_none(tmp_path):
    (tmp_path / "words").write_text("0.1 0.2")
    (tmp_path / "nothing").touch()
    saved(tmp_path / "whole.npz", quality=np.zeros(4))
    (tmp_path / "half.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:-30])
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as file:
        file.writestr("quality", "text")
    for name in ("words", "nothing", "half.npz", "other.npz", ""):
        with pytest.raises(UserError, match=r"order.score=.* (cannot be read as|expected numbers)"):
            of_file("order.score", tmp_path / name, 4)
    with pytest.raises(UserError, match=r"order.score=qualty: there is no such file; expected .* quality or reference"):
        of_file("order.score", "qualty", 4)


def test_the_environments_own():
    data = blobs(2, 2)
    with pytest.raises(UserError, match=r"order.score=quality: .* miniature.* environment=graded.* order.score=reference"):
        of_environment("order.score", data)
    graded = replace(data, train=replace(data.train, quality=torch.arange(4, dtype=torch.float64)))
    assert torch.equal(of_environment("order.score", graded), torch.arange(4.0))
    graded.train.quality[2] = torch.nan
    with pytest.raises(UserError, match=r"order.score=quality: 1 of its 4 scores .* row 2"):
        of_environment("order.score", graded)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"folds": 1}, "folds"), ({"folds": 33}, "folds"), ({"epochs": 0}, "epochs"), ({"repeats": 0.5}, "repeats"),
        ({"batch_size": 0}, "batch_size"), ({"lr": 0}, "lr"), ({"lr": 1e30}, "lr"), ({"optimizer": "lion"}, "optimizer"),
    ],
    ids=str,
)  # fmt: skip
def test_reference_learners_that_cannot_be(tmp_path, settings, key):
    with pytest.raises(UserError, match=re.escape(f"order.reference.{key}={next(iter(settings.values()))}: expected")):
        reference(blobs(4, 8), SMALL_MLP, Reference(**settings), 0, torch.arange(32), tmp_path)
    assert not [*tmp_path.rglob("*.npy")]


def test_an_example_without_label_has_no_score(tmp_path):
    data = sentences()
    targets = data.train.targets.clone()
    targets[4] = -100
    with pytest.raises(UserError, match=r"order.score=reference: training example 4 has no label"):
        reference(replace(data, train=Examples(data.train.inputs, targets)), SMALL_TAGGER, QUICK, 0, everything(data), tmp_path)
