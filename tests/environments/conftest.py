"""Small data, made on the spot."""

import numpy as np
import pytest
import torch

from lab.protocols import Data, Examples
from lab.testing.sentences import write_sick, write_snips


def make_data(classes=4, examples=6, shape=(1, 4, 4), ordered=False, dtype=torch.uint8) -> Data:
    """``classes * examples`` train and half as many test examples, labels in turn, so that no class is contiguous."""
    draw = torch.Generator().manual_seed(0)

    def split(count: int) -> Examples:
        inputs = torch.randint(0, 256, (classes * count, *shape), generator=draw)
        return Examples(inputs.to(dtype), torch.arange(classes * count) % classes)

    return Data("made", split(examples), split(-(-examples // 2)), classes, "digest", ordered)


@pytest.fixture(scope="session")
def make():
    return make_data


@pytest.fixture(scope="session")
def tables(tmp_path_factory):
    """A folder with `elec2.npz` and `weather.npz`: 400 rows of 8 features whose label follows a drifting threshold; and with
    `sick.json.gz` and `snips_bio.json.gz`: sentences made up."""
    folder = tmp_path_factory.mktemp("tables")
    draw = np.random.default_rng(0)
    for name in ("elec2", "weather"):
        x = draw.normal(size=(400, 8)).cumsum(0).astype(np.float32)
        np.savez(folder / f"{name}.npz", x=x, y=(x[:, 0] > np.median(x[:, 0])).astype(np.uint8))
    write_sick(folder)
    write_snips(folder)
    return folder
