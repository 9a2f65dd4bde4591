import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from environments.rotated import Rotated, rotate
from lab.errors import UserError


def turned(image: torch.Tensor, degrees: float) -> torch.Tensor:
    """One image ``[C, H, W]`` through :func:`rotate`."""
    return rotate(image[None, None], torch.tensor([[degrees]]), torch.zeros(1, 1, dtype=torch.int64))[0, 0]


@given(size=st.integers(1, 9), channels=st.integers(1, 3), seed=st.integers(0, 99), quarters=st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_quarter_turns_are_counter_clockwise(size, channels, seed, quarters):
    image = torch.randint(0, 256, (channels, size, size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    assert torch.equal(turned(image, 90.0 * quarters), image.rot90(quarters, (1, 2)))
    assert torch.allclose(turned(image.float(), 90.0 * quarters), image.float().rot90(quarters, (1, 2)), atol=1e-2)


def test_counter_clockwise_means_the_right_edge_comes_to_the_top():
    image = torch.zeros(1, 3, 3, dtype=torch.uint8)
    image[0, :, 2] = torch.tensor([1, 2, 3], dtype=torch.uint8)  # read upwards from the bottom: 3, 2, 1
    assert turned(image, 90.0)[0].tolist() == [[1, 2, 3], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("shape", [(12, 12), (8, 14)])
@pytest.mark.parametrize("degrees", [17.0, 45.0, 133.0])
def test_other_angles_agree_with_scipy(shape, degrees):
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=shape) * 50, 1.0)
    # SciPy turns the axes (rows, columns); with rows counted downwards that is counter-clockwise too.
    expected = ndimage.rotate(smooth, degrees, reshape=False, order=1, mode="grid-constant", cval=0.0)
    ours = turned(torch.from_numpy(smooth).float()[None], degrees)[0].numpy()
    inner = (slice(2, -2),) * 2  # at the rim the two treat the outside differently
    assert np.abs(ours - expected)[inner].max() < 1e-3 * np.abs(smooth).max() + 1e-4


def test_each_sample_is_turned_as_its_task_says():
    image = torch.rand(2, 3, 1, 5, 5)
    table = torch.tensor([[0.0, 90.0], [180.0, 270.0]])
    shown = rotate(image, table, torch.tensor([[0, 1, 1], [1, 0, 1]]))
    for (m, b), quarters in {(0, 0): 0, (0, 1): 1, (0, 2): 1, (1, 0): 3, (1, 1): 2, (1, 2): 3}.items():
        assert torch.allclose(shown[m, b], image[m, b].rot90(quarters, (1, 2)), atol=1e-5)


def angles(environment: Rotated, seed: int) -> list[float]:
    return [task.view.item() for task in environment.stream(seed).tasks]


def test_angles(make):
    assert angles(Rotated(make(), 4, angles="even"), 0) == [0, 45, 90, 135]
    assert angles(Rotated(make(), 2, angles=[10, -20.5]), 0) == [10, -20.5]
    drawn = [angle for seed in range(50) for angle in angles(Rotated(make(), 4), seed)]
    assert len(set(drawn)) == 200
    assert min(drawn) >= 0
    assert max(drawn) < 180
    assert abs(np.mean(drawn) - 90) < 4 * 180 / np.sqrt(12 * 200)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"angles": "odd"}, r"environment\.angles=odd: expected uniform, even, or a list of 2 angles"),
        ({"angles": [1]}, r"environment\.angles=\[1\]"),
        ({"angles": 45}, r"environment\.angles=45"),
        ({"angles": ["a", "b"]}, r"environment\.angles"),
        ({"angles": [1, float("nan")]}, r"environment\.angles"),
        ({"augment": "blur"}, r"environment\.augment=blur"),
        ({"padding": "wide"}, r"environment\.padding=wide"),
    ],
)
def test_options_out_of_range_are_refused(make, options, key):
    with pytest.raises(UserError, match=key):
        Rotated(make(), 2, **options)


def test_only_images_turn(make):
    with pytest.raises(UserError, match=r"environment\.source=made: expected a source of images"):
        Rotated(make(shape=(16,)), 2)
