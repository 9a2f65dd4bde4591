"""Ordered tables, and standardising without knowing the future."""

import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst

from environments.sources.elec2 import elec2
from environments.sources.table import running, table
from environments.sources.weather import weather
from lab.errors import UserError

X = np.random.default_rng(0).normal(3, 2, (40, 3))
Y = np.arange(40) % 2


def write(path, x=X, y=Y):
    np.savez(path, x=x, y=y)
    return str(path)


ROWS = nst.arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.integers(-50, 50).map(float))


@given(x=ROWS)
@settings(max_examples=60, deadline=None)
def test_rows_are_standardised_by_the_rows_so_far(x):
    scaled = running(x)
    assert scaled.dtype == np.float32
    for i in range(len(x)):
        so_far = x[: i + 1]
        deviation = so_far.std(0)
        expected = np.where(deviation > 0, (x[i] - so_far.mean(0)) / np.where(deviation > 0, deviation, 1), 0).clip(-5, 5)
        assert np.allclose(scaled[i], expected, atol=1e-5)


@given(x=ROWS, seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_the_future_changes_nothing(x, seed):
    cut = len(x) // 2
    other = x.copy()
    other[cut:] = np.random.default_rng(seed).normal(size=x[cut:].shape) * 1e6
    assert np.array_equal(running(x)[:cut], running(other)[:cut])


def test_a_feature_that_begins_to_change_does_not_explode():
    x = np.full((1000, 1), 0.1, np.float32)
    x[900:] = 0.2
    scaled = running(x)
    assert (scaled[:900] == 0).all()
    assert scaled[900] == 5
    assert np.abs(scaled).max() == 5


def test_large_offsets_do_not_drown_the_deviation():
    x = 1e6 + np.random.default_rng(0).normal(size=(500, 1))
    assert abs(running(x)[100:].std() - 1) < 0.1


def test_the_latest_fifth_are_test_examples(tmp_path):
    data = table(write(tmp_path / "own.npz"), standardise="none")
    assert data.ordered
    assert data.name == "own"
    assert np.array_equal(torch.cat([data.train.inputs, data.test.inputs]).numpy(), X.astype(np.float32))
    assert (len(data.train), len(data.test), data.classes) == (32, 8, 2)
    assert data.test.targets.tolist() == Y[32:].tolist()
    scaled = table(write(tmp_path / "own.npz"))
    assert np.array_equal(torch.cat([scaled.train.inputs, scaled.test.inputs]).numpy(), running(X))
    assert data.digest != scaled.digest


def test_a_class_may_come_late(tmp_path):
    late = np.r_[np.zeros(35, int), np.ones(5, int)]
    data = table(write(tmp_path / "own.npz", y=late))
    assert data.classes == 2
    assert data.train.targets.max() == 0


@pytest.mark.parametrize(
    ("x", "y", "told"),
    [
        (X[:0], Y[:0], r"x_train has shape \[0, 3\]"),
        (X[0], Y, r"x_train has shape \[3\]"),
        (X[:1], Y[:1], r"x has one row; expected at least two"),
        (np.where(X > 4, np.nan, X), Y, r"x_train holds NaN or infinite"),
        (X, Y[:30], r"x_train has 40 rows and y_train has 30"),
        (X, Y + 1, r"0 is missing"),
        (X, Y / 2, r"y_train is of type float64"),
        (X.astype(str), Y, r"x_train is of type <U"),
        (X.astype(object), Y, r"pickled objects"),
    ],
)
def test_mistakes_are_told(tmp_path, x, y, told):
    file = write(tmp_path / "own.npz", x, y)
    with pytest.raises(UserError, match=rf"^environment\.source\.path={file}: .*({told})"):
        table(file)


def test_what_is_not_there_is_told(tmp_path):
    for source in (elec2, weather):
        name = source.__name__
        told = rf"environment\.source={name}: .*{tmp_path}/{name}\.npz.*data\.dir \(or LAB_DATA\)"
        with pytest.raises(UserError, match=told):
            source(str(tmp_path))
        with pytest.raises(UserError, match=r"no place \(data\.dir is not set\)"):
            source()
    with pytest.raises(UserError, match=r"environment\.source\.path=null: expected an \.npz file with x \[N, F\]"):
        table()
    with pytest.raises(UserError, match=r"environment\.source\.path=.*there is no such file"):
        table(str(tmp_path / "none.npz"))
    with pytest.raises(UserError, match=r"environment\.source\.standardise=future: expected one of running, none"):
        table(write(tmp_path / "own.npz"), "future")
    np.savez(tmp_path / "elec2.npz", x=X)
    with pytest.raises(UserError, match=r"source=elec2: data\.dir=.*elec2\.npz: holds no array y; expected x, y, and"):
        elec2(str(tmp_path))


@pytest.mark.skipif(not os.environ.get("LAB_DATA"), reason="LAB_DATA is not set")
@pytest.mark.parametrize(("source", "rows"), [(elec2, 45312), (weather, 18159)])
def test_the_real_tables(source, rows):
    data = source(os.environ["LAB_DATA"])
    assert len(data.train) + len(data.test) == rows
    assert data.train.inputs.abs().max() <= 5
    assert data.train.inputs.isfinite().all()
