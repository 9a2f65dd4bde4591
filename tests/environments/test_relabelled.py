import pytest
import torch

from environments.relabelled import Relabelled
from lab.errors import UserError
from lab.experiment import Experiment
from lab.plan import Plan
from lab.reader import Reader
from lab.testing import composed
from lab.testing.miniature import fit


def test_images_stay_and_labels_are_drawn_anew(make):
    environment = Relabelled(make(classes=4, examples=6), tasks=3, samples=12)
    streams = [environment.stream(seed) for seed in (5, 6)]
    reader = Reader(environment.data, streams)
    rows = torch.arange(12).expand(2, -1)
    inputs, targets = zip(*(reader.read(rows, torch.full((2, 1), t)) for t in range(3)), strict=True)
    assert all(torch.equal(inputs[0], other) for other in inputs[1:])
    drawn = torch.stack(targets, 1).flatten(0, 1)
    assert len({tuple(labels.tolist()) for labels in drawn}) == 6, "each task of each member has labels of its own"
    assert all(labels.bincount().tolist() == [3, 3, 3, 3] for labels in drawn), "so that chance is a quarter"


def test_it_is_tested_on_what_it_is_trained_on(make):
    environment = Relabelled(make(), tasks=2, samples=7)
    reader = Reader(environment.data, [environment.stream(5)])
    for t, task in enumerate(environment.stream(5).tasks):
        shown = [reader.read(getattr(task, s).unsqueeze(0), torch.tensor([[t]]), s) for s in ("train", "test")]
        assert all(map(torch.equal, *shown))
    assert environment.data.classes == 7


def test_images_are_some_of_the_sources_training_images_each_once(make):
    source = make(classes=4, examples=6)
    kept = Relabelled(source, samples=20).data.train.inputs.flatten(1)
    there = [tuple(image.tolist()) for image in source.train.inputs.flatten(1)]
    assert {tuple(image.tolist()) for image in kept} <= set(there)
    assert len(kept.unique(dim=0)) == 20
    assert not torch.equal(kept, source.train.inputs.flatten(1)[:20]), "not the first ones: a source may be sorted"


def test_the_number_of_units_can_be_chosen(make):
    stream = Relabelled(make(classes=4), tasks=1, samples=20, classes=2).stream(0)
    assert stream.outputs == 2
    assert stream.tasks[0].labels.bincount().tolist() == [10, 10]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"tasks": 0}, r"environment\.tasks=0"),
        ({"samples": 25}, r"environment\.samples=25: expected at most 24, all of made"),
        ({"samples": 0}, r"environment\.samples=0"),
        ({"samples": 6, "classes": 7}, r"environment\.classes=7: expected at most the 6"),
        ({"samples": 6, "classes": 1}, r"environment\.classes=1"),
        ({"samples": 6, "shared": 1}, r"environment\.shared=1"),
    ],
)
def test_options_out_of_range_are_refused(make, options, key):
    with pytest.raises(UserError, match=key):
        Relabelled(make(), **options)


def test_what_a_network_memorises_is_what_is_measured():
    """Accuracy is high on labels that nothing but memory can give, and chance on those of the tasks before."""
    small = ("tracking=off", "seeds=2", "network.width=64", "network.depth=1", "optimizer=adam", "optimizer.lr=0.003")
    budget = ("environment=relabelled", "environment.tasks=3", "environment.samples=60", "epochs=60", "batch_size=10")
    learner = Experiment(composed(*budget, *small)).learner([0, 1], Plan(True, 1, 1, block=8, why="a test"))
    fit(learner)
    R, own = learner.evaluation.accuracy, torch.arange(3)
    assert (R[:, own + 1, own] > 0.9).all()
    assert (R[:, 3, :2] < 0.4).all()
