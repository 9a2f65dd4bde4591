import torch
from sklearn.datasets import load_digits

from environments.sources.digits import digits


def test_every_digit_is_there_once_as_bytes():
    data = digits()
    assert tuple(data.train.inputs.shape[1:]) == (1, 8, 8)
    assert data.train.inputs.dtype == torch.uint8
    assert (len(data.train) + len(data.test), data.classes) == (1797, 10)
    ours = torch.cat([data.train.inputs, data.test.inputs]).flatten(1)
    theirs = torch.from_numpy(load_digits().data) * (255 / 16)
    assert sorted(map(tuple, ours.tolist())) == sorted(map(tuple, theirs.round().to(torch.uint8).tolist()))


def test_a_fifth_of_every_class_is_for_testing():
    data = digits()
    for train, test in zip(data.train.targets.bincount().tolist(), data.test.targets.bincount().tolist(), strict=True):
        assert test == (train + test) // 5
