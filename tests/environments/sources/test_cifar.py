"""CIFAR-10 and CIFAR-100, from arrays, JPEG bytes and the pickles that Python 2 wrote."""

import io
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from environments.sources.cifar10 import cifar10
from environments.sources.cifar100 import cifar100
from lab.errors import UserError

X = np.random.default_rng(0).integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)
Y = np.arange(10) % 5


# --- arrays and JPEG --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [X, X.transpose(0, 2, 3, 1)], ids=["channels first", "channels last"])
def test_plain_arrays(tmp_path, images):
    for source, name in ((cifar10, "cifar10"), (cifar100, "cifar100")):
        np.savez(tmp_path / f"{name}.npz", x_train=images, y_train=Y, x_test=images[:5], y_test=Y[:5])
        data = source(str(tmp_path))
        assert np.array_equal(data.train.inputs.numpy(), X)
        assert (data.name, data.classes, len(data.test)) == (name, 5, 5)


def smooth(colour: int) -> np.ndarray:
    """An image ``[32, 32, 3]`` that JPEG hardly changes."""
    ramp = np.linspace(0, 100, 32)
    return np.stack([ramp[:, None] + colour * np.ones(32), ramp[None] + np.zeros((32, 1)), np.full((32, 32), 7 * colour)], 2)


def encoded(image: np.ndarray, **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image.astype(np.uint8)).save(out, "JPEG", quality=95, subsampling=0, **options)
    return out.getvalue()


def write_jpeg(path: Path, files: list[bytes], **changes) -> str:
    blob, offsets = np.frombuffer(b"".join(files), np.uint8), np.cumsum([0, *map(len, files)])
    splits = {f"{kind}_{split}": array for split in ("train", "test") for kind, array in (("jpeg", blob), ("offsets", offsets))}
    labels = {f"y_{split}": np.arange(len(files)) for split in ("train", "test")}
    np.savez(path / "cifar10_jpeg.npz", **splits | labels | changes)
    return str(path)


FILES = [encoded(smooth(colour)) for colour in range(4)]


def test_jpeg_bytes_are_decoded(tmp_path):
    data = cifar10(write_jpeg(tmp_path, FILES))
    assert data.train.inputs.dtype == torch.uint8
    expected = np.stack([smooth(colour) for colour in range(4)]).transpose(0, 3, 1, 2)
    assert np.abs(data.train.inputs.numpy() - expected).mean() < 2
    assert data.train.targets.tolist() == [0, 1, 2, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["cifar10_jpeg.npz"], "nothing is kept on disk"


def test_damaged_jpeg_bytes(tmp_path):
    offsets = np.cumsum([0, *map(len, FILES)])
    wide = io.BytesIO()
    Image.new("RGB", (64, 64)).save(wide, "JPEG")
    png = io.BytesIO()
    Image.new("RGB", (32, 32)).save(png, "PNG")
    for file, told in (
        (FILES[2][:200], "cannot be decoded"),
        (FILES[2][:-20], "cannot be decoded"),
        (b"no image", "cannot be decoded"),
        (png.getvalue(), "cannot be decoded"),
        (wide.getvalue(), r"cannot be decoded \(it has 64x64 pixels, not 32x32\)"),
    ):
        with pytest.raises(UserError, match=rf"source=cifar10: data\.dir=.*cifar10_jpeg\.npz: image 2 of jpeg_train: {told}"):
            cifar10(write_jpeg(tmp_path, [*FILES[:2], file, FILES[3]]))
    for wrong in (offsets[::-1], offsets + 1, offsets - 1, offsets.astype(float), offsets[:, None], offsets[:0], offsets * 0):
        with pytest.raises(UserError, match=r"offsets_test must be ascending places in jpeg_test"):
            cifar10(write_jpeg(tmp_path, FILES, offsets_test=wrong))
    with pytest.raises(UserError, match=r"x_train has 4 rows and y_train has 3"):
        cifar10(write_jpeg(tmp_path, FILES, y_train=np.arange(3)))
    with pytest.raises(UserError, match=r"x_test has shape \[0, 3, 32, 32\]"):
        cifar10(write_jpeg(tmp_path, FILES, offsets_test=offsets[:1], y_test=Y[:0]))
    with pytest.raises(UserError, match="pickled objects, which could run code"):
        cifar10(write_jpeg(tmp_path, FILES, y_test=np.array([None] * 4)))


# --- pickles ----------------------------------------------------------------------------------------------------------


def of_python_2(value: object) -> bytes:
    """Opcodes of protocol 2 as Python 2 and the NumPy of its time wrote them: text is a string of bytes."""
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(of_python_2, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(of_python_2(part) for pair in value.items() for part in pair) + b"u"
    dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    shape = b"(" + b"".join(map(of_python_2, value.shape)) + b"t"
    return empty + b"(K\x01" + shape + dtype + b"\x89" + of_python_2(value.tobytes()) + b"tb"


def written_by_python_2(content: dict) -> bytes:
    return b"\x80\x02" + of_python_2(content) + b"."


def write_cifar10(root: Path) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(6):
        rows = slice(2 * number, 2 * number + 2) if number < 5 else slice(0, 5)
        name = f"data_batch_{number + 1}" if number < 5 else "test_batch"
        content = {b"data": X[rows].reshape(-1, 3072), b"labels": Y[rows].tolist(), b"batch_label": b"one"}
        (folder / name).write_bytes(written_by_python_2(content))
    return folder


def write_cifar100(root: Path) -> None:
    folder = root / "cifar-100-python"
    folder.mkdir()
    for name, count in (("train", 10), ("test", 5)):
        labels = {b"fine_labels": Y[:count].tolist(), b"coarse_labels": [0] * count}
        (folder / name).write_bytes(written_by_python_2({b"data": X[:count].reshape(-1, 3072)} | labels))


def test_torchvisions_layout(tmp_path):
    write_cifar10(tmp_path)
    write_cifar100(tmp_path)
    for source in (cifar10, cifar100):
        data = source(str(tmp_path))
        assert np.array_equal(data.train.inputs.numpy(), X)
        assert np.array_equal(data.test.inputs.numpy(), X[:5])
        assert data.train.targets.tolist() == Y.tolist()


def test_torchvision_reads_the_same(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    write_cifar10(tmp_path)
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(CIFAR10, "_load_meta", lambda self: None)
    theirs, ours = CIFAR10(str(tmp_path)), cifar10(str(tmp_path))
    assert np.array_equal(theirs.data.transpose(0, 3, 1, 2), ours.train.inputs.numpy())
    assert theirs.targets == ours.train.targets.tolist()


@pytest.mark.parametrize("protocol", range(5))
def test_pickles_of_python_3_are_read_too(tmp_path, protocol):
    folder = write_cifar10(tmp_path)
    content = {b"data": X[:5].reshape(-1, 3072), b"labels": Y[:5].tolist()}
    (folder / "test_batch").write_bytes(pickle.dumps(content, protocol))
    assert np.array_equal(cifar10(str(tmp_path)).test.inputs.numpy(), X[:5])


class Armed:
    """An object whose unpickling would show."""

    ran = False

    def __reduce__(self):
        return setattr, (Armed, "ran", True)


def global_call(module: str, name: str, argument: str) -> bytes:
    return f"c{module}\n{name}\n(V{argument}\ntR.".encode()


HOSTILE = {
    "an object": pickle.dumps({b"data": Armed(), b"labels": [0]}),
    "within an array": pickle.dumps({b"data": np.array([Armed()], object), b"labels": [0]}),
    "os.system": global_call("os", "system", "exit 1"),
    "builtins.eval": global_call("builtins", "eval", "1/0"),
    "a name with dots": b"\x80\x04\x8c\x05numpy\x8c\x13f2py.os.path.exists\x93\x8c\x01.\x85R.",
    "a codec": b"c_codecs\nencode\n(Vx\nVzlib_codec\ntR.",
    "numpy.load": global_call("numpy", "load", "x"),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_pickles_that_would_run_code_are_refused(tmp_path, content):
    folder = write_cifar10(tmp_path)
    (folder / "data_batch_3").write_bytes(content)
    with pytest.raises(UserError, match=r"data_batch_3: cannot be read as a file of CIFAR images \(it asks for"):
        cifar10(str(tmp_path))
    assert not Armed.ran


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        written_by_python_2({b"data": X[:2].reshape(-1, 3072), b"labels": [0, 1]})[:-400],
        written_by_python_2({b"labels": [0, 1]}),
        written_by_python_2({b"data": X[:2].reshape(-1, 3072)}),
        written_by_python_2({b"data": X[:2].reshape(-1, 1024), b"labels": [0] * 6}),
        written_by_python_2({b"data": X[0].ravel(), b"labels": [0]}),
        written_by_python_2({b"data": [1, 2], b"labels": [0, 1]}),
        written_by_python_2({b"data": X[:2].reshape(-1, 3072), b"labels": 5}),
        written_by_python_2([b"data", b"labels"]),
        pickle.dumps({b"data": X[:2].reshape(-1, 3072).astype(float), b"labels": [0, 1]}),
        pickle.dumps({b"data": X[:2].reshape(-1, 3072), b"labels": [0, [1, 2]]}),
    ],
)
def test_damaged_pickles(tmp_path, content):
    folder = write_cifar10(tmp_path)
    (folder / "test_batch").write_bytes(content)
    with pytest.raises(UserError, match=r"^environment\.source=cifar10: data\.dir=.*test_batch: cannot be read as a file of"):
        cifar10(str(tmp_path))


def test_labels_that_are_no_numbers(tmp_path):
    folder = write_cifar10(tmp_path)
    (folder / "test_batch").write_bytes(written_by_python_2({b"data": X[:2].reshape(-1, 3072), b"labels": [b"cat", b"dog"]}))
    with pytest.raises(UserError, match=r"y_test is of type .*; expected whole numbers"):
        cifar10(str(tmp_path))


# --- where ------------------------------------------------------------------------------------------------------------


def test_what_is_not_there_is_told_with_the_ways_to_get_it(tmp_path):
    for source, layout in ((cifar10, "cifar-10-batches-py"), (cifar100, "cifar-100-python")):
        with pytest.raises(UserError) as told:
            source(str(tmp_path))
        name = source.__name__
        for part in (f"environment.source={name}", tmp_path / f"{name}.npz", tmp_path / f"{name}_jpeg.npz", tmp_path / layout):
            assert str(part) in str(told.value)
        for part in ("data.dir", "LAB_DATA", "data.download=true"):
            assert part in str(told.value)
        with pytest.raises(UserError, match=r"no place \(data\.dir is not set\)"):
            source()
        with pytest.raises(UserError, match=r"data\.download=true: data\.dir is not set"):
            source(None, True)


def test_downloading_is_only_done_when_asked_for(tmp_path, monkeypatch):
    calls = []

    class Fetched:
        def __init__(self, root, download):
            calls.append((root, download))
            write_cifar10(Path(root))

    monkeypatch.setattr("torchvision.datasets.CIFAR10", Fetched)
    with pytest.raises(UserError):
        cifar10(str(tmp_path))
    assert len(cifar10(str(tmp_path), True).train) == len(cifar10(str(tmp_path), True).train) == 10
    assert calls == [(str(tmp_path), True)]


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("LAB_DATA"), reason="LAB_DATA is not set")
def test_the_real_cifar10():
    data = cifar10(os.environ["LAB_DATA"])
    assert tuple(data.train.inputs.shape) == (50000, 3, 32, 32)
    assert data.test.targets.bincount().tolist() == [1000] * 10
    # the means that the literature normalises by
    assert torch.allclose(data.train.inputs.float().mean((0, 2, 3)) / 255, torch.tensor([0.4914, 0.4822, 0.4465]), atol=2e-3)
