"""The user's own arrays: what is taken, and what each mistake is told."""

import numpy as np
import pytest
import torch

from environments.permuted import Permuted
from environments.sources.arrays import arrays
from environments.split import Split
from lab.errors import UserError
from lab.reader import Reader

IMAGES = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def write(path, **changes):
    """A sound file but for the changes; None leaves an array out."""
    held = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:3], "y_test": LABELS[:3]} | changes
    np.savez(path, **{name: array for name, array in held.items() if array is not None})
    return str(path)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "own.npz"


def test_images_get_a_channel_axis_and_stay_bytes(file):
    data = arrays(write(file))
    assert (data.name, data.classes, data.ordered) == ("own", 3, False)
    assert data.train.inputs.dtype == torch.uint8
    assert torch.equal(data.train.inputs, torch.from_numpy(IMAGES)[:, None])
    assert data.train.targets.tolist() == LABELS.tolist()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_come_first(file, channels):
    last = np.random.default_rng(0).integers(0, 256, (6, 8, 9, channels), dtype=np.uint8)
    data = arrays(write(file, x_train=last, x_test=last[:3]))
    assert np.array_equal(data.train.inputs.numpy(), np.moveaxis(last, 3, 1))
    first = np.moveaxis(last, 3, 1)
    assert np.array_equal(arrays(write(file, x_train=first, x_test=first[:3])).train.inputs.numpy(), first)


@pytest.mark.parametrize("shape", [(7,), (2, 3), (3, 4, 5), (2, 2, 2, 2)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_features_of_any_shape(file, shape, dtype):
    x = np.random.default_rng(0).normal(size=(6, *shape)).astype(dtype)
    data = arrays(write(file, x_train=x, x_test=x[:3]))
    assert data.train.inputs.dtype == torch.float32
    assert np.array_equal(data.train.inputs.numpy(), x.astype(np.float32))
    for environment in (Split(data, 3), Permuted(data, 2)):
        reader = Reader(data, [environment.stream(0)])
        inputs, _ = reader.read(torch.tensor([[0, 5]]), torch.zeros(1, 1, dtype=torch.int64))
        assert inputs.shape == (1, 2, *shape)


def test_tokens_with_a_label_each(file):
    tokens = np.arange(6 * 4).reshape(6, 4).astype(np.int32)
    tags = tokens % 3
    tags[0, 2:] = -100
    data = arrays(write(file, x_train=tokens, y_train=tags, x_test=tokens[:3], y_test=tags[:3]))
    assert data.train.inputs.dtype == data.train.targets.dtype == torch.int64
    assert data.classes == 3
    reader = Reader(data, [Permuted(data, 2, "task").stream(0)])
    shown, answers = reader.read(torch.tensor([[0]]), torch.ones(1, 1, dtype=torch.int64))
    assert sorted(shown.flatten().tolist()) == [0, 1, 2, 3]
    assert answers.flatten().tolist() == [3, 4, -100, -100], "the second task's own three units"


def test_the_digest_follows_the_content(file):
    one, again = arrays(write(file)).digest, arrays(write(file)).digest
    changed = IMAGES.copy()
    changed[3, 1, 1] += 1
    assert one == again
    assert len({one, arrays(write(file, x_train=changed)).digest, arrays(write(file, y_train=LABELS[::-1])).digest}) == 3


FLOATS = np.ones((6, 3), np.float32)


def with_value(value, dtype=np.float32):
    x = FLOATS.astype(dtype)
    x[4, 1] = value
    return x


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"x_test": None}, r"holds no array x_test; expected x_train, y_train, x_test, y_test"),
        ({"x_train": IMAGES[:5]}, r"x_train has 5 rows and y_train has 6"),
        ({"y_test": LABELS}, r"x_test has 3 rows and y_test has 6"),
        ({"y_train": LABELS[:0]}, r"x_train has 6 rows and y_train has 0"),
        ({"x_train": IMAGES[:0], "y_train": LABELS[:0]}, r"x_train has shape \[0, 4, 5\]; expected \[examples, \.\.\.\]"),
        ({"x_test": IMAGES[:0], "y_test": LABELS[:0]}, r"x_test has shape \[0, 4, 5\]"),
        ({"x_train": IMAGES[:, :, :0], "x_test": IMAGES[:3, :, :0]}, r"x_train has shape \[6, 4, 0\]"),
        ({"x_train": np.arange(6, dtype=np.uint8)}, r"x_train has shape \[6\]"),
        ({"x_train": np.uint8(3)}, r"x_train has shape \[\]"),
        ({"x_test": IMAGES[:3, :2]}, r"uint8 of shape \[1, 4, 5\], those of x_test uint8 of shape \[1, 2, 5\]"),
        ({"x_test": IMAGES[:3].astype(np.float32)}, r"x_train are uint8.*x_test float32"),
        ({"x_train": IMAGES.astype(complex)}, r"x_train is of type complex128"),
        ({"x_train": IMAGES > 3}, r"x_train is of type bool"),
        ({"x_train": IMAGES.astype(str)}, r"x_train is of type <U"),
        ({"x_train": with_value(np.nan), "x_test": FLOATS[:3]}, r"x_train holds NaN or infinite values"),
        ({"x_train": with_value(-np.inf), "x_test": FLOATS[:3]}, r"x_train holds NaN or infinite values"),
        ({"x_train": with_value(1e300, np.float64), "x_test": FLOATS[:3]}, r"x_train holds NaN or infinite values"),
        ({"x_train": FLOATS, "x_test": with_value(np.nan)[3:]}, r"x_test holds NaN"),
        ({"x_train": with_value(-4, np.int64), "x_test": FLOATS[:3].astype(int)}, r"x_train holds -4; whole numbers are"),
        ({"y_train": LABELS.astype(np.float32)}, r"y_train is of type float32; expected whole numbers 0\.\.C-1"),
        ({"y_test": LABELS[:3] == 1}, r"y_test is of type bool"),
        ({"y_train": LABELS - 1}, r"y_train holds the label -1; expected 0\.\.C-1"),
        ({"y_train": np.full(6, -100)}, r"y_train holds the label -100"),
        ({"y_train": LABELS + 1}, r"0 is missing, and 3 is there"),
        ({"y_train": np.array([0, 1, 3, 0, 1, 3])}, r"2 is missing, and 3 is there"),
        ({"y_train": np.array([0, 1, 2**62, 0, 1, 2])}, r"3 is missing"),
        ({"y_train": np.array([0, 1, 2**64 - 1, 0, 1, 2], np.uint64)}, r"y_train holds the label -1"),
        ({"y_test": np.array([0, 1, 3])}, r"y_test holds the label 3, and y_train none above 2"),
        ({"y_train": np.uint8(3)}, r"y_train has shape \[\]"),
        ({"y_train": LABELS[:, None, None]}, r"y_train has shape \[6, 1, 1\]"),
        ({"y_train": np.zeros((6, 3), int)}, r"y_train has shape \[6, 3\]; expected one label an example, or one for"),
        ({"y_train": np.full((6, 1), -100), "y_test": np.zeros((3, 1), int)}, r"y_train holds no label"),
        ({"y_train": np.full((6, 1), -7)}, r"y_train holds the label -7; expected 0\.\.C-1, or -100"),
    ],
)
def test_mistakes_are_told(file, changes, told):
    with pytest.raises(UserError, match=f"^environment\\.source\\.path={file}: .*{told}"):
        arrays(write(file, **changes))


class Armed:
    """An object whose unpickling would show."""

    ran = False

    def __reduce__(self):
        return setattr, (Armed, "ran", True)


def test_pickled_objects_are_refused_unread(file):
    with pytest.raises(UserError, match=r"environment\.source\.path=.*pickled objects, which could run code"):
        arrays(write(file, x_train=np.array([Armed()] * 6, object)))
    import pickle

    file.write_bytes(pickle.dumps(Armed()))
    with pytest.raises(UserError, match=r"another kind of file; pickles are not read"):
        arrays(str(file))
    assert not Armed.ran


def test_files_that_are_something_else(file):
    with pytest.raises(UserError, match=r"there is no such file"):
        arrays(str(file))
    write(file)
    whole = file.read_bytes()
    for content in (b"", b"no zip", b"PK\x03\x04 cut off", whole[: len(whole) // 2], whole[:-30]):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"^environment\.source\.path=.*cannot be read as an \.npz file of plain arrays"):
            arrays(str(file))
    np.savez_compressed(file, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:3], y_test=LABELS[:3])
    spoilt = bytearray(file.read_bytes())
    spoilt[60:90] = bytes(30)
    file.write_bytes(spoilt)
    with pytest.raises(UserError, match=r"cannot be read as an \.npz file"):
        arrays(str(file))
    with open(file, "wb") as stream:
        np.save(stream, IMAGES)
    with pytest.raises(UserError, match=r"\(it is a single array\)"):
        arrays(str(file))
    with pytest.raises(UserError, match=r"cannot be read as an \.npz file"):
        arrays(str(file.parent))


@pytest.mark.parametrize("path", [5, True, "", ["a"], "a\0b"])
def test_a_path_is_a_text(path):
    with pytest.raises(UserError, match=r"environment\.source\.path=.*: expected the name of a file or folder"):
        arrays(path)


def test_a_path_is_needed():
    with pytest.raises(UserError, match=r"environment\.source\.path=null: expected an \.npz file with x_train"):
        arrays()


def test_scores_of_quality_reach_the_learner(file):
    scores = np.array([0.5, 1, 0, 0.25, 3, 2])
    data = arrays(write(file, quality_train=scores))
    assert data.digest != arrays(write(file)).digest
    data = arrays(write(file, quality_train=scores))
    reader = Reader(data, [Permuted(data, 2).stream(0)] * 2)
    assert reader.quality_of(torch.tensor([[0, 4], [2, 2]])).tolist() == [[0.5, 3], [0, 0]]
    assert Reader(arrays(write(file)), [Permuted(data, 2).stream(0)]).quality is None


@pytest.mark.parametrize("scores", [np.ones(5), np.ones((6, 1)), np.array([0, 1, 2, 3, 4, np.nan]), np.array(list("abcdef"))])
def test_scores_that_are_none_are_refused(file, scores):
    with pytest.raises(UserError, match=r"quality_train is .*; expected one finite number for each of 6 training examples"):
        arrays(write(file, quality_train=scores))
