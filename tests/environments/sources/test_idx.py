"""MNIST and Fashion-MNIST, from an `.npz` and from IDX files."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from environments.sources.fashion_mnist import fashion_mnist
from environments.sources.mnist import mnist
from lab.errors import UserError
from lab.testing import composed

X = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
Y = np.array([0, 1, 2, 0, 1, 2], np.uint8)


def encoded(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(folder: Path, compress: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in (("train", slice(None)), ("t10k", slice(3))):
        for kind, array in (("images-idx3", X), ("labels-idx1", Y)):
            name, content = f"{split}-{kind}-ubyte", encoded(array[rows])
            path = folder / (name + ".gz" if compress else name)
            path.write_bytes(gzip.compress(content) if compress else content)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("place", ["MNIST/raw", "."])
def test_idx_files_in_torchvisions_layout_or_the_folder_itself(tmp_path, place, compress):
    write(tmp_path / place, compress)
    data = mnist(str(tmp_path))
    assert torch.equal(data.train.inputs, torch.from_numpy(X)[:, None])
    assert data.train.targets.tolist() == Y.tolist()
    assert (len(data.test), data.classes, data.name) == (3, 3, "mnist")


def test_debians_folder_serves_without_data_dir(tmp_path, monkeypatch):
    write(tmp_path / "fashion-mnist", compress=True)
    monkeypatch.setattr("environments.sources.fashion_mnist.DEBIAN", tmp_path / "fashion-mnist")
    assert torch.equal(fashion_mnist().train.inputs[:, 0], torch.from_numpy(X))


def test_torchvision_reads_the_same(tmp_path):
    from torchvision.datasets import MNIST

    write(tmp_path / "MNIST" / "raw")
    theirs = MNIST(str(tmp_path), train=True)
    ours = mnist(str(tmp_path))
    assert torch.equal(theirs.data, ours.train.inputs[:, 0])
    assert torch.equal(theirs.targets, ours.train.targets)


def test_what_is_not_there_is_told_with_the_ways_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("environments.sources.fashion_mnist.DEBIAN", tmp_path / "datasets" / "fashion-mnist")
    with pytest.raises(UserError) as told:
        fashion_mnist(str(tmp_path))
    for place in (tmp_path / "fashion_mnist.npz", tmp_path / "FashionMNIST" / "raw", tmp_path / "datasets" / "fashion-mnist"):
        assert str(place) in str(told.value)
    for part in ("environment.source=fashion_mnist", "data.dir", "LAB_DATA", "data.download=true", " dataset-fashion-mnist."):
        assert part in str(told.value)
    with pytest.raises(UserError, match=r"no place \(data\.dir is not set\)"):
        mnist()
    with pytest.raises(UserError, match=r"data\.dir=7: expected the name"):
        mnist(7)


def test_downloading_is_only_done_when_asked_for(tmp_path, monkeypatch):
    calls = []

    class Fetched:
        def __init__(self, root, download):
            calls.append((root, download))
            write(Path(root) / "MNIST" / "raw")

    monkeypatch.setattr("torchvision.datasets.MNIST", Fetched)
    with pytest.raises(UserError):
        mnist(str(tmp_path))
    assert calls == []
    assert len(mnist(str(tmp_path), download=True).train) == 6
    assert len(mnist(str(tmp_path), download=True).train) == 6
    assert calls == [(str(tmp_path), True)]
    with pytest.raises(UserError, match=r"data\.download=true: data\.dir is not set"):
        mnist(None, download=True)
    with pytest.raises(UserError, match=r"data\.download=often: expected true or false"):
        mnist(str(tmp_path), download="often")

    def offline(root, download):
        raise RuntimeError("Error downloading train-images\nand more")

    monkeypatch.setattr("torchvision.datasets.MNIST", offline)
    with pytest.raises(UserError, match=r"data\.download=true: MNIST could not be fetched .*\(Error downloading train-"):
        mnist(str(tmp_path / "elsewhere"), download=True)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: content[:3],
        lambda content: content[:10],
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: b"\0\0\x0d" + content[3:],  # floats
        lambda content: content[:4] + b"\xff" * 4 + content[8:],  # -1 images
    ],
)
def test_damaged_idx_files(tmp_path, spoil):
    for compress in (False, True):
        folder = tmp_path / str(compress)
        write(folder, compress)
        path = folder / ("train-images-idx3-ubyte" + (".gz" if compress else ""))
        content = spoil(gzip.decompress(path.read_bytes()) if compress else path.read_bytes())
        path.write_bytes(gzip.compress(content) if compress else content)
        with pytest.raises(UserError, match=rf"source=mnist: data\.dir={path}: cannot be read as an IDX file of bytes"):
            mnist(str(folder))


def test_damaged_compression(tmp_path):
    write(tmp_path, compress=True)
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    sound = path.read_bytes()
    for content in (b"", sound[:-6], b"plain", sound[:12] + b"\xff" * 6 + sound[18:]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"cannot be read as an IDX file"):
            mnist(str(tmp_path))


def test_images_of_another_size_are_no_mnist(tmp_path):
    np.savez(tmp_path / "mnist.npz", x_train=X[:, :8, :8], y_train=Y, x_test=X[:3, :8, :8], y_test=Y[:3])
    with pytest.raises(UserError, match=r"mnist\.npz: x_train holds uint8 examples of shape \[1, 8, 8\]; .*\[1, 28, 28\]"):
        mnist(str(tmp_path))
    np.savez(tmp_path / "mnist.npz", x_train=X / 255, y_train=Y, x_test=X[:3] / 255, y_test=Y[:3])
    with pytest.raises(UserError, match=r"x_train holds float32 examples of shape \[28, 28\]"):
        mnist(str(tmp_path))


def test_the_npz_comes_first(tmp_path):
    write(tmp_path)
    np.savez(tmp_path / "mnist.npz", x_train=X[:3], y_train=Y[:3], x_test=X[:3], y_test=Y[:3])
    assert len(mnist(str(tmp_path)).train) == 3


def test_sources_get_their_place_from_data_dir(tmp_path):
    source = composed("environment.source=fashion_mnist", f"data.dir={tmp_path}", "data.download=true")["environment"]["source"]
    assert (source["dir"], source["download"]) == (str(tmp_path), True)


@pytest.mark.skipif(not os.environ.get("LAB_DATA"), reason="LAB_DATA is not set")
def test_the_real_mnist():
    data = mnist(os.environ["LAB_DATA"])
    assert tuple(data.train.inputs.shape) == (60000, 1, 28, 28)
    assert data.test.targets[:5].tolist() == [7, 2, 1, 0, 4]
    assert data.train.targets.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
