"""Avalanche's benchmarks as environments, against what iterating Avalanche's own datasets gives."""

import struct
import sys
from functools import partial
from inspect import signature

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as T
from torchvision.transforms import functional as F

from environments.avalanche import Avalanche, units_of
from lab.config import build
from lab.errors import UserError
from lab.experiment import Experiment
from lab.networks import MLP
from lab.reader import Reader
from lab.report.summary import stream_name
from lab.testing import composed
from lab.testing.miniature import fit, small_learner

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
NEAREST = T.InterpolationMode.NEAREST
NORMAL = T.Compose([T.ToTensor(), T.Normalize(MEAN, STD)])
UNSCALED = T.Compose([T.PILToTensor(), torch.Tensor.float])
AUGMENTED = T.Compose([T.RandomCrop(8, padding=2), T.RandomHorizontalFlip(), *NORMAL.transforms])


@pytest.fixture(scope="module")
def library():
    """`avalanche.benchmarks`, whose import takes seconds."""
    return pytest.importorskip("avalanche.benchmarks")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a tiny MNIST in torchvision's layout."""
    raw, draw = tmp_path_factory.mktemp("data") / "MNIST" / "raw", np.random.default_rng(0)
    raw.mkdir(parents=True)
    for stem, count in (("train", 60), ("t10k", 30)):
        images, labels = draw.integers(0, 256, (count, 28, 28), np.uint8), np.arange(count, dtype=np.uint8) % 10
        for array, kind in ((images, "images-idx3"), (labels, "labels-idx1")):
            head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (raw / f"{stem}-{kind}-ubyte").write_bytes(head + array.tobytes())
    return str(raw.parent.parent)


class Pictures(torch.utils.data.Dataset):
    """Coloured PIL images of 8x8 pixels, labels in turn."""

    def __init__(self, count=24, classes=4, transform=None, seed=0):
        self.pixels = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8)
        self.targets, self.transform = [i % classes for i in range(count)], transform

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        image = Image.fromarray(self.pixels[index])
        return (image if self.transform is None else self.transform(image)), self.targets[index]


# --- benchmarks of the user's own ---------------------------------------------------------------------------------------


def pictures(seed=None, n_experiences=2, train=NORMAL, test=NORMAL, **options):
    from avalanche.benchmarks import nc_benchmark

    sets = Pictures(seed=1), Pictures(12, seed=2)
    transforms = {"train_transform": train, "eval_transform": test}
    return nc_benchmark(*sets, n_experiences, options.pop("task_labels", False), seed=seed, **transforms, **options)


def dataset(count, transform=NORMAL, seed=0, **options):
    from avalanche.benchmarks.utils import _make_taskaware_classification_dataset as made

    return made(Pictures(count, seed=seed), transform=transform, **options)


def by_hand(train, test, **streams):
    from avalanche.benchmarks import benchmark_from_datasets

    return benchmark_from_datasets(train=train, test=test, **streams)


def turned(interpolation=T.InterpolationMode.BILINEAR, then=NORMAL):
    """Each experience at an angle of its own, by more than moving pixels if bilinear."""
    angles = [T.Compose([partial(F.rotate, angle=a, interpolation=interpolation), then]) for a in (0, 30, 75)]
    return by_hand([dataset(12, angle) for angle in angles], [dataset(8, angle, 1) for angle in angles])


def another_view_in_the_test():
    """Test samples that are not turned as training samples are."""
    return by_hand([dataset(12), dataset(12, T.Compose([T.RandomRotation((90, 90)), NORMAL]))], [dataset(8), dataset(8)])


def with_validation():
    from avalanche.benchmarks import benchmark_with_validation_stream

    return benchmark_with_validation_stream(pictures(3, test=T.ToTensor()), 0.25, shuffle=True, seed=5)


def two_datasets(seed=None):
    """Classes of two datasets that number theirs alike, mixed."""
    from avalanche.benchmarks import nc_benchmark

    sets = [[Pictures(24, seed=1), Pictures(24, seed=2)], [Pictures(8, seed=3), Pictures(8, seed=4)]]
    return nc_benchmark(*sets, 4, False, seed=seed, train_transform=NORMAL, eval_transform=NORMAL)


def one_test_set():
    """Classes in turn, all of them in the one test experience."""
    from avalanche.benchmarks import class_incremental_benchmark

    benchmark = class_incremental_benchmark({"train": dataset(24), "test": dataset(12, seed=1)}, num_experiences=2, seed=0)
    return by_hand([e.dataset for e in benchmark.streams["train"]], [dataset(12, seed=1)])


# --- samples, labels, order ---------------------------------------------------------------------------------------------


def shown(environment, streams, member, task, use):
    """What the lab reads of a task, in its order: inputs and targets."""
    rows = getattr(streams[member].tasks[task], use)
    reader = Reader(environment.data, streams)
    split = "test" if use == "test" else "train"
    inputs, targets = reader.read(rows.expand(len(streams), -1), torch.full((len(streams), 1), task), split)
    return inputs[member], targets[member]


def iterated(experience, use):
    """What Avalanche gives, in its order."""
    data = experience.dataset.train() if use == "train" else experience.dataset.eval()
    items = [data[i] for i in range(len(data))]
    return torch.stack([item[0] for item in items]), torch.tensor([int(item[1]) for item in items])


def assert_as_avalanche(environment, make, seeds=(0, 3), block=0):
    """Every sample of every experience, its label and its place are Avalanche's; ``block``: units that a task has to itself."""
    streams = [environment.stream(seed) for seed in seeds]
    for member, seed in enumerate(seeds):
        benchmark = make(seed)
        for use, name in (("train", "train"), ("validation", "valid"), ("test", "test")):
            for t, experience in enumerate(benchmark.streams.get(name, [])):
                inputs, targets = shown(environment, streams, member, t, use)
                expected, labels = iterated(experience, use)
                torch.testing.assert_close(inputs, expected, rtol=0, atol=1e-6)
                assert torch.equal(targets, labels + block * t)
    return streams


CLASSICS = {
    "SplitMNIST": ({}, "class", 10, 0),
    "SplitMNIST task": ({"return_task_id": True}, "task", 10, 0),
    "SplitMNIST from zero": ({"class_ids_from_zero_in_each_exp": True}, "domain", 2, 0),
    "SplitMNIST heads": ({"class_ids_from_zero_in_each_exp": True, "return_task_id": True}, "task", 10, 2),
    "SplitMNIST in order": ({"class_ids_from_zero_from_first_exp": True}, "class", 10, 0),
    "SplitMNIST plain": ({"train_transform": None, "eval_transform": None}, "class", 10, 0),
    "PermutedMNIST": ({}, "domain", 10, 0),
    "PermutedMNIST heads": ({"return_task_id": True}, "task", 50, 10),
    "RotatedMNIST": ({}, "domain", 10, 0),
    "RotatedMNIST plain": ({"train_transform": None, "eval_transform": None}, "domain", 10, 0),
}


@pytest.mark.parametrize("case", CLASSICS)
def test_classics_are_read_as_avalanche_iterates_them(library, folder, case):
    name, (options, scenario, outputs, block) = case.split()[0], CLASSICS[case]
    environment = Avalanche(name, options=options, dir=folder)

    def make(seed):
        return getattr(library, name)(5, seed=seed, dataset_root=folder, **options)

    streams = assert_as_avalanche(environment, make, block=block)
    assert [(s.scenario, s.outputs, len(s.tasks)) for s in streams] == [(scenario, outputs, 5)] * 2
    assert (len(environment.data.train), len(environment.data.test)) == (60, 30), "samples are held once"
    assert environment.data.train.inputs.dtype == (torch.uint8 if "plain" in case else torch.float32)
    assert (streams[0].view is not None) == (name != "SplitMNIST")


OWN = {
    "colour": (pictures, "class", torch.float32, 24),
    "bytes": (partial(pictures, train=T.ToTensor(), test=T.ToTensor()), "class", torch.uint8, 24),
    "floats up to 255": (partial(pictures, train=UNSCALED, test=UNSCALED), "class", torch.float32, 24),
    "other transforms in the test": (partial(pictures, train=T.ToTensor()), "class", torch.float32, 24),
    "task labels": (partial(pictures, task_labels=True), "task", torch.float32, 24),
    "turned": (turned, "domain", torch.float32, 36),
    "moved": (partial(turned, NEAREST, T.ToTensor()), "domain", torch.uint8, 12),
    "moved twice": (partial(turned, NEAREST, T.Compose([F.hflip, T.ToTensor()])), "domain", torch.uint8, 12),
    "moved with a colour around": (partial(turned, NEAREST), "domain", torch.float32, 36),
    "moved in training alone": (another_view_in_the_test, "domain", torch.float32, 24),
    "validation stream": (with_validation, "class", torch.float32, 24),
    "two datasets": (two_datasets, "class", torch.float32, 48),
}


@pytest.mark.parametrize("case", OWN)
def test_benchmarks_of_ones_own_are_read_as_avalanche_iterates_them(library, case):
    make, scenario, dtype, rows = OWN[case]
    environment = Avalanche(make)
    streams = assert_as_avalanche(environment, lambda seed: make(seed=seed) if "seed" in signature(make).parameters else make())
    assert streams[0].scenario == scenario
    assert (environment.data.train.inputs.dtype, len(environment.data.train)) == (dtype, rows)


def test_a_test_set_of_all_classes_is_cut_to_those_of_each_task(library):
    environment = Avalanche(one_test_set)
    stream, (train, test) = environment.stream(0), one_test_set().streams.values()
    whole = iterated(test[0], "test")
    for t, experience in enumerate(train):
        own = torch.isin(whole[1], iterated(experience, "train")[1])
        inputs, targets = shown(environment, [stream], 0, t, "test")
        torch.testing.assert_close(inputs, whole[0][own])
        assert torch.equal(targets, whole[1][own])


@pytest.mark.parametrize("name", ["nc_benchmark", "ni_benchmark", "class_incremental_benchmark", "new_instances_benchmark"])
def test_generators_over_a_source(library, make, name):
    source = make(classes=4, examples=6)
    stream = (environment := Avalanche(name, source, tasks=2)).stream(1)
    assert torch.equal(torch.cat([t.train for t in stream.tasks]).sort().values, torch.arange(24))
    for t, task in enumerate(stream.tasks):
        for use, own in (("train", source.train), ("test", source.test)):
            inputs, targets = shown(environment, [stream], 0, t, use)
            place = [int((own.inputs == (x * 255).round().to(torch.uint8)).flatten(1).all(1).nonzero()) for x in inputs]
            assert own.targets[place].tolist() == targets.tolist()
        assert len(set(task.labels.tolist()) - {-1}) == (4 if "i_" in name or "instances" in name else 2)


# --- random transforms --------------------------------------------------------------------------------------------------


def test_random_crops_and_flips_become_the_labs_augmentation(library):
    environment = Avalanche(partial(pictures, train=AUGMENTED))
    stream, data = environment.stream(0), Pictures(seed=1)
    image = data[5][0]
    row = int((environment.data.train.inputs == NORMAL(image)).flatten(1).all(1).nonzero())
    shot = environment.data.train.inputs[row].expand(1, 1, 3, 8, 8)
    for top in range(5):
        for left in range(5):
            for flip in (True, False):
                noise = torch.tensor([(top + 0.5) / 5, (left + 0.5) / 5, 0.2 if flip else 0.7, 0]).view(1, 1, 4)
                window = F.crop(F.pad(image, 2), top, left, 8, 8)
                expected = NORMAL(F.hflip(window) if flip else window)
                torch.testing.assert_close(stream.augment(shot, noise)[0, 0], expected, rtol=0, atol=1e-6)


def test_one_random_transform_is_enough_and_bytes_stay_bytes(library):
    for steps, pads in (([T.RandomHorizontalFlip()], False), ([T.RandomCrop(8, padding=1, fill=255)], True)):
        environment = Avalanche(partial(pictures, train=T.Compose([*steps, T.ToTensor()]), test=T.ToTensor()))
        image = environment.data.train.inputs[:1].unsqueeze(0)
        assert image.dtype == torch.uint8
        one, other = (environment.stream(0).augment(image, torch.full((1, 1, 4), n)) for n in (0.0, 0.99))
        assert torch.equal(other if pads else one, image.flip(-1)) == (not pads)
        assert (one[..., 0, :] == 255).all() == pads


REFUSED_TRANSFORMS = {
    "ColorJitter is random": {"train": T.Compose([T.ColorJitter(0.5), NORMAL])},
    "RandomCrop is random": {"train": T.Compose([T.RandomCrop(6), NORMAL])},
    "RandomHorizontalFlip is random": {"train": T.Compose([T.RandomHorizontalFlip(0.3), NORMAL])},
    "do not come to random windows and flips": {"train": T.Compose([T.RandomCrop(8, 2, padding_mode="reflect"), NORMAL])},
    "random windows and flips": {"train": T.Compose([T.RandomCrop(8, 2), NORMAL, T.GaussianBlur(3, 1.0)])},
    "and test samples are read once": {"test": T.Compose([T.RandomHorizontalFlip(), NORMAL])},
    "lambda.* is random": {"train": T.Compose([NORMAL, lambda x: x + np.random.rand()])},
    "expected tensors, e.g. by ToTensor": {"train": None, "test": None},
    "samples are Image after": {"train": T.RandomHorizontalFlip()},
    "training samples are .*3, 4, 4.*test samples": {"train": T.Compose([T.Resize(4), NORMAL])},
    "NaN": {"train": T.Compose([NORMAL, lambda x: x / 0])},
}


@pytest.mark.parametrize("reason", REFUSED_TRANSFORMS)
def test_other_transforms_are_refused_with_their_name(library, reason):
    with pytest.raises(UserError, match=f"^environment.benchmark=pictures: .*{reason}"):
        Avalanche(partial(pictures, **REFUSED_TRANSFORMS[reason]))


# --- benchmarks that cannot be served -----------------------------------------------------------------------------------


class Shaky(Pictures):
    def __getitem__(self, index):
        return torch.rand(3), self.targets[index]


class Boxes(Pictures):
    def __getitem__(self, index):
        return torch.zeros(3), torch.zeros(4)


class Uneven(Pictures):
    def __getitem__(self, index):
        return torch.zeros(3 + index % 2), self.targets[index]


def over(kind):
    from avalanche.benchmarks import nc_benchmark

    return nc_benchmark(kind(), kind(), 2, False)


def labelled(labels):
    one = dataset(8, task_labels=labels)
    return by_hand([one, one], [one, one])


def online():
    from avalanche.benchmarks import split_online_stream
    from avalanche.benchmarks.scenarios import CLScenario

    made = pictures()
    return CLScenario([split_online_stream(made.streams["train"], 4), made.streams["test"]])


def other_crops():
    crops = [T.Compose([T.RandomCrop(8, padding), NORMAL]) for padding in (1, 2)]
    return by_hand([dataset(8, crop) for crop in crops], [dataset(8)])


def relabelled():
    from avalanche.benchmarks.utils import make_avalanche_dataset

    tasks = [make_avalanche_dataset(dataset(8), transform_groups={"train": (None, y), "eval": (None, y)}) for y in (abs, int)]
    tasks.append(make_avalanche_dataset(dataset(8), transform_groups={"train": (None, lambda y: y - 1), "eval": None}))
    return by_hand(tasks, [dataset(8)])


SERVED_NOT = {
    "gives another input each time": partial(over, Shaky),
    "label is tensor.* expected one whole number": partial(over, Boxes),
    "shape .3. and .*shape .4.; expected all alike": partial(over, Uneven),
    "its own transform Compose is random": partial(over, partial(Pictures, transform=AUGMENTED)),
    "several task labels .0, 1.": partial(labelled, [0, 1] * 4),
    "environment=online environment.base=avalanche": online,
    "no experiences in a stream named test": lambda: by_hand([dataset(8)], []),
    "3 training experiences and 2 in the stream test": lambda: by_hand([dataset(8)] * 3, [dataset(8)] * 2),
    "samples in every experience": lambda: by_hand([dataset(8), dataset(8).subset([])], [dataset(8)]),
    "experiences differ in their random transforms": other_crops,
    "label is -1; expected 0 or above": relabelled,
    "this one gives int": lambda: 3,
}


@pytest.mark.parametrize("reason", SERVED_NOT)
def test_what_is_no_stream_of_labelled_samples_is_refused(library, reason):
    with pytest.raises(UserError, match=rf"environment\.benchmark.*{reason}"):
        Avalanche(SERVED_NOT[reason])


def drawn(seed):
    return by_hand([dataset(8, seed=seed)], [dataset(8)])


def test_samples_that_differ_from_seed_to_seed_are_refused_unless_shared(library):
    with pytest.raises(UserError, match=r"another seed .*environment\.shared=true"):
        Avalanche(drawn).stream(1)
    environment = Avalanche(drawn, shared=True)
    assert torch.equal(environment.stream(1).tasks[0].train, environment.stream(0).tasks[0].train)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"benchmark": "SplitMnist"}, r"environment\.benchmark=SplitMnist: .*Did you mean SplitMNIST\?"),
        ({"benchmark": "check_vision_benchmark"}, r"environment\.benchmark=check_vision.*or your own factory"),
        ({"options": {"colour": 1}}, r"SplitMNIST: got an unexpected keyword .*colour.*it takes n_experiences"),
        ({"tasks": 3}, r"SplitMNIST: .*cannot be divided by n_experiences"),
        ({"tasks": 0}, r"environment\.tasks=0: expected a whole number from 1 on"),
        ({"benchmark": turned, "tasks": 3}, r"environment\.tasks=3: expected null, since turned does not take"),
        ({"scenario": "both"}, r"environment\.scenario=both: expected one of"),
        ({"validation": 1.0}, r"environment\.validation=1.0"),
        ({"benchmark": with_validation, "validation": 0.1}, r"environment\.validation=0\.1: expected 0, since with_validation"),
        ({"dir": None}, r"SplitMNIST: its data are not in .*data\.dir is not set.*data\.download=true"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(library, folder, given, message, monkeypatch, tmp_path):
    monkeypatch.setattr("avalanche.benchmarks.datasets.external_datasets.mnist.default_dataset_location", lambda _: tmp_path)
    with pytest.raises(UserError, match=message):
        Avalanche(**{"benchmark": "SplitMNIST", "dir": folder} | given)


def test_a_source_is_for_factories_that_take_data(library, folder, make):
    with pytest.raises(UserError, match=r"environment\.source=made: SplitMNIST brings its own data"):
        Avalanche("SplitMNIST", make(), dir=folder)


def test_nothing_is_fetched_unless_asked_for(library, tmp_path, monkeypatch):
    asked = []

    def fetch(*arguments, **options):
        asked.append(arguments)
        raise OSError("no network here")

    monkeypatch.setattr("urllib.request.urlopen", fetch)
    with pytest.raises(UserError, match=f"its data are not in {tmp_path}"):
        Avalanche("SplitMNIST", dir=str(tmp_path))
    assert not asked
    with pytest.raises((UserError, OSError), match=r"MNIST|network"):
        Avalanche("SplitMNIST", dir=str(tmp_path), download=True)
    assert asked


def test_without_avalanche_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "avalanche", None)
    monkeypatch.delitem(sys.modules, "avalanche.benchmarks", raising=False)
    with pytest.raises(UserError, match=r"environment=avalanche: .*pip install avalanche-lib"):
        Avalanche("SplitMNIST")


# --- scenarios, seeds, held-out samples ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "labels", "scenario", "units", "outputs"),
    [
        ([{0: 4, 1: 2}, {2: 7, 3: 3}], [0, 0], "class", [{0: 4, 1: 2}, {2: 7, 3: 3}], 8),
        ([{0: 4, 1: 2}, {2: 7, 3: 3}], [0, 0], "domain", [{0: 1, 1: 0}, {2: 1, 3: 0}], 2),
        ([{0: 0, 1: 1}, {0: 0, 1: 1}], [0, 0], "class", [{0: 0, 1: 1}, {0: 2, 1: 3}], 4),
        ([{0: 0, 1: 1}, {0: 0, 1: 1}], [5, 3], "domain", [{0: 0, 1: 1}, {0: 0, 1: 1}], 2),
        ([{0: 0, 1: 1}, {2: 0}, {3: 1}], [5, 3, 5], "task", [{0: 0, 1: 1}, {2: 2}, {3: 1}], 3),
        ([{0: 0, 1: 1}, {0: 0, 1: 1}], [0, 0], "task", [{0: 0, 1: 1}, {0: 2, 1: 3}], 4),
        ([{0: 0, 1: 1}, {1: 1, 2: 2}], [None, None], "class", [{0: 0, 1: 1}, {1: 1, 2: 2}], 3),
    ],
)
def test_output_units(answers, labels, scenario, units, outputs):
    assert units_of(answers, labels, scenario, "") == (units, outputs)


def test_unequal_classes_have_no_places_to_share(library):
    options = {"per_exp_classes": {0: 1}, "n_experiences": 2}
    with pytest.raises(UserError, match=r"environment\.scenario=domain: experiences have from 1 to 3 classes"):
        Avalanche(pictures, options=options, scenario="domain").stream(0)


def test_members_have_seeds_of_their_own_as_in_avalanche(library, folder):
    def orders(**options):
        environment = Avalanche("SplitMNIST", dir=folder, **options)
        return [[task.labels.tolist() for task in environment.stream(seed).tasks] for seed in (0, 1, 2)]

    own, shared, one = orders(), orders(shared=True), orders(options={"seed": 1})
    assert own[0] != own[1] != own[2] != own[0]
    assert shared == [own[0]] * 3
    assert one == [own[1]] * 3


def test_a_factory_without_seeds_is_still_reproducible_and_leaves_the_generators_alone(library):
    def unseeded():
        return pictures(seed=None)

    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    one = Avalanche(unseeded).stream(0)
    assert torch.equal(torch.rand(1), expected)
    other = Avalanche(unseeded).stream(5)
    assert all(torch.equal(a.train, b.train) for a, b in zip(one.tasks, other.tasks, strict=True))


def test_a_share_of_training_samples_is_held_out_even_where_they_repeat(library):
    def doubled():
        return by_hand([dataset(12).concat(dataset(12))], [dataset(8)])

    task = Avalanche(doubled, validation=0.25).stream(0).tasks[0]
    assert len(task.validation) == 3
    assert len(task.train) == 18
    assert not set(task.validation.tolist()) & set(task.train.tolist())


# --- from the command line ----------------------------------------------------------------------------------------------

FACTORY = """
from avalanche.benchmarks import nc_benchmark


def mine(train_dataset, test_dataset, seed, experiences=2):
    return nc_benchmark(train_dataset, test_dataset, experiences, False, seed=seed)
"""


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("import no_such_module", "ModuleNotFoundError in failing_benchmarks.py, line 2: No module named 'no_such_module'"),
        ("helper()", "KeyError in failing_benchmarks.py, line 5: 'gone'"),
        ("int('x')", "ValueError in failing_benchmarks.py, line 2: invalid literal"),
        ("sorted(3)", "TypeError in failing_benchmarks.py, line 2: 'int' object is not iterable"),
    ],
)
def test_a_factory_of_ones_own_that_fails_is_named_with_the_line(library, tmp_path, monkeypatch, line, told):
    text = f"def mine():\n    {line}\n\ndef helper():\n    {{}}['gone']\n"
    (tmp_path / "failing_benchmarks.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("LAB_PACKAGES", "failing_benchmarks")
    monkeypatch.delitem(sys.modules, "failing_benchmarks", raising=False)
    words = ["environment=avalanche", "environment.benchmark._target_=failing_benchmarks.mine"]
    with pytest.raises(UserError, match=rf"^environment\.benchmark\._target_=failing_benchmarks\.mine: {told}"):
        Experiment(composed(*words, "tracking=off"))


def test_a_factory_by_its_target_is_called_with_each_members_seed(library, tmp_path, monkeypatch):
    (tmp_path / "own_benchmarks.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["environment=avalanche", "environment.benchmark._target_=own_benchmarks.mine"]
    node = composed(*words, "+environment.options.experiences=5")["environment"]
    with pytest.raises(UserError, match=r"environment\.benchmark\._target_=own_benchmarks\.mine: expected .*LAB_PACKAGES"):
        build("environment", node)
    monkeypatch.setenv("LAB_PACKAGES", "own_benchmarks")
    streams = [build("environment", node).stream(seed) for seed in (0, 1)]
    assert [len(stream.tasks) for stream in streams] == [5, 5]
    assert not torch.equal(streams[0].tasks[0].labels, streams[1].tasks[0].labels)


def assert_runs(learner):
    fit(learner)
    assert learner.population.finite().all()
    assert not learner.evaluation.accuracy[:, -1].isnan().any()


@pytest.mark.parametrize("name", ["SplitMNIST", "RotatedMNIST"])
def test_a_short_run(library, folder, name):
    small = ["seeds=2", "tracking=off", "batch_size=8", "network.width=8", "network.depth=1", f"data.dir={folder}"]
    config = composed("environment=avalanche", f"environment.benchmark={name}", *small)
    assert stream_name(config) == f"avalanche {name}"
    experiment = Experiment(config)
    assert_runs(experiment.learner([0, 1], experiment.settle_plan()))


def test_a_short_run_over_augmented_classes_that_come_back(library):
    def again():
        data = dataset(24, AUGMENTED)
        parts = [data.subset([i for i in range(24) if data.targets[i] in classes]) for classes in ((0, 1), (1, 2), (3, 0))]
        return by_hand(parts, [dataset(8, seed=1)])

    environment = Avalanche(again)
    assert environment.stream(0).scenario == "class"
    assert_runs(small_learner([0, 1], partial(MLP, (3, 8, 8), 4, width=8, depth=1), environment=environment))
