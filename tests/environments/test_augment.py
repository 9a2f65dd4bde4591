import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from environments.augment import augment
from environments.split import Split
from lab.ahead import works
from lab.experiment import Experiment
from lab.plan import Plan
from lab.reader import Reader
from lab.stream import Blocks
from lab.testing import composed


def one_at_a_time(image: torch.Tensor, noise: list[float], padding: int, flip: bool) -> torch.Tensor:
    """The plain loop: one image ``[C, H, W]``, pixel by pixel."""
    top, left = (min(int(n * (2 * padding + 1)), 2 * padding) - padding for n in noise[:2])
    channels, height, width = image.shape
    out = torch.zeros_like(image)
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                row, column = i + top, (width - 1 - j if flip and noise[2] < 0.5 else j) + left
                if 0 <= row < height and 0 <= column < width:
                    out[c, i, j] = image[c, row, column]
    return out


@given(
    members=st.integers(1, 2),
    batch=st.integers(1, 3),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    padding=st.integers(0, 4),
    flip=st.booleans(),
    dtype=st.sampled_from([torch.uint8, torch.float32]),
    seed=st.integers(0, 999),
)
@settings(max_examples=40, deadline=None)
def test_agrees_with_a_plain_loop(members, batch, shape, padding, flip, dtype, seed):
    draw = torch.Generator().manual_seed(seed)
    images = torch.randint(1, 256, (members, batch, *shape), generator=draw).to(dtype)
    noise = torch.rand(members, batch, 4, generator=draw)
    out = augment(images, noise, padding, flip)
    assert (out.dtype, out.shape) == (images.dtype, images.shape)
    for m in range(members):
        for b in range(batch):
            assert torch.equal(out[m, b], one_at_a_time(images[m, b], noise[m, b].tolist(), padding, flip))


@pytest.mark.parametrize("padding", range(17))
def test_the_largest_noise_stays_within_the_padding(padding):
    almost = torch.full((1, 1, 4), 1 - 2.0**-24)
    image = torch.arange(1, 401.0).view(1, 1, 1, 20, 20)
    expected = torch.zeros(20, 20)
    expected[: 20 - padding, : 20 - padding] = image[0, 0, 0, padding:, padding:]
    assert torch.equal(augment(image, almost, padding, False)[0, 0, 0], expected)


def test_places_and_sides_are_equally_likely():
    image = torch.zeros(1, 6000, 1, 3, 3)
    image[..., 1, 0] = 1
    out = augment(image, torch.rand(1, 6000, 4, generator=torch.Generator().manual_seed(0)), 1, True)
    # Rows: 0, 1 or 2. Columns: as it is 0, 1 or outside; mirrored 2, 1 or outside.
    expected = torch.tensor([1 / 18, 1 / 9, 1 / 18]).expand(3, 3)
    assert torch.allclose(out.mean((0, 1, 2)), expected, atol=0.015)


def reader_of(make, **options) -> Reader:
    data = make(4, examples=4, shape=(3, 6, 6))
    return Reader(data, [Split(data, 2, **options).stream(seed) for seed in (0, 1)])


def test_the_reader_augments_training_images_alone(make):
    rows, tasks, noise = torch.arange(8).view(2, 4), torch.zeros(2, 1, dtype=torch.int64), torch.rand(2, 4, 4)
    plain, augmenting = reader_of(make), reader_of(make, augment="crop_flip", padding=2)
    original = plain.read(rows, tasks)[0]
    assert torch.equal(augmenting.read(rows, tasks)[0], original), "without noise, as in evaluation"
    changed = augmenting.read(rows, tasks, noise=noise)[0]
    expected = augment(original, noise, 2, True)
    assert torch.equal(changed, expected)
    assert not torch.equal(changed, original)


@pytest.mark.parametrize(("choice", "padding", "flip"), [("crop", 3, False), ("flip", 0, True), ("crop_flip", 3, True)])
def test_choices(make, choice, padding, flip):
    stream = Split(make(), 2, augment=choice, padding=3).stream(0)
    images, noise = torch.rand(1, 5, 1, 4, 4), torch.rand(1, 5, 4)
    assert torch.equal(stream.augment(images, noise), augment(images, noise, padding, flip))
    assert Split(make(), 2).stream(0).augment is None


def test_the_stream_and_replayed_samples_are_augmented_by_noise_of_their_own():
    augmented = ("environment=split", "environment.augment=crop_flip", "environment.padding=2")
    small = ("tracking=off", "seeds=2", "strategy=er", "network.width=8", "network.depth=1")
    experiment = Experiment(composed(*augmented, *small))
    learner = experiment.learner([0, 1], Plan(True, 1, 1, block=2, why="a test"))
    block = next(iter(Blocks(learner.course)))
    batch = next(works(learner, block)).batch
    examples, tasks = batch.examples[:, : batch.current], batch.tasks[:, : batch.current]
    plain = learner.reader.read(examples, tasks)[0]
    stream = batch.inputs[:, : batch.current]
    replayed = learner.replay(examples, tasks, torch.ones_like(examples)).inputs
    for one, other in ((stream, plain), (replayed, plain), (stream, replayed), (stream[0], stream[1])):
        assert not torch.equal(one, other)
    assert torch.equal(stream, next(works(learner, block)).batch.inputs[:, : batch.current]), "the same at the same step"
    learner.clock += 1
    assert not torch.equal(stream, next(works(learner, block)).batch.inputs[:, : batch.current])
    # every image is one of the windows into its padded self
    image, window = plain[0, 0, 0], replayed[0, 0, 0]
    padded = torch.nn.functional.pad(image, (2,) * 4)
    windows = [padded[i : i + 8, j : j + 8] for i in range(5) for j in range(5)]
    assert any(torch.equal(window, w) or torch.equal(window, w.flip(1)) for w in windows)
