"""Hydra's spelling as distributions."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from lab.errors import UserError
from lab.sweep.space import combinations, distribution, grid, is_number, word


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("choice(200, 500)", CategoricalDistribution([200, 500])),
        ("choice(er, [er,ewc], true)", CategoricalDistribution(["er", "[er,ewc]", True])),
        ("choice([1,2], [3])", CategoricalDistribution(["[1,2]", "[3]"])),
        ("200, 500", CategoricalDistribution([200, 500])),
        ("interval(0, 0.9)", FloatDistribution(0.0, 0.9)),
        ("tag(log, interval(0.001, 1))", FloatDistribution(0.001, 1.0, log=True)),
        ("int(interval(1, 64))", IntDistribution(1, 64)),
        ("tag(log, int(interval(1, 64)))", IntDistribution(1, 64, log=True)),
        ("tag(log, int, interval(1, 64))", IntDistribution(1, 64, log=True)),
        ("range(1, 10, 3)", IntDistribution(1, 7, step=3)),
        ("range(5)", IntDistribution(0, 4)),
        ("range(0.1, 0.7, 0.2)", FloatDistribution(0.1, 0.5, step=0.2)),
    ],
)
def test_a_spelling(text, expected):
    assert distribution("key", text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("interval(1, 0.1)", r"vary.key=interval\(1, 0.1\): expected an interval that is not empty"),
        ("interval(1, 1)", "an interval that is not empty"),
        ("range(5, 1)", "a range that is not empty"),
        ("range(1, 5, -1)", "a range that is not empty"),
        ("choice()", "expected choice"),
        ("choice(1, 1)", "values that all differ"),
        ("tag(log, interval(0, 1))", "an interval above 0, since it is logarithmic"),
        ("tag(lgo, interval(0.1, 1))", "the tags log and int alone, and not lgo"),
        ("tag(int, interval(0.5, 2))", "whole numbers at both ends"),
        ("0.1", "expected choice"),
        ("shuffle(choice(1, 2))", "expected choice"),
        ("glob(*)", "expected choice"),
        (0.1, "expected choice"),
        (["a", "b"], "expected choice"),
    ],
)
def test_what_is_no_space(text, message):
    with pytest.raises(UserError, match=message):
        distribution("key", text)


def test_a_grid_is_all_combinations_and_there_is_none_of_an_interval():
    space = {"a": distribution("a", "choice(x, y)"), "b": distribution("b", "range(1, 7, 2)")}
    space |= {"c": distribution("c", "range(0, 0.3, 0.1)")}
    assert grid(space) == {"a": ["x", "y"], "b": [1, 3, 5], "c": [0.0, 0.1, 0.2]}
    assert combinations(space) == 18
    with pytest.raises(UserError, match=r"vary\.d: is an interval, of which there is no grid"):
        grid({"d": distribution("d", "interval(0, 1)")})


@pytest.mark.parametrize("value", [1e-05, 0.1 + 0.2, 2**0.5 * 1e-17, 1e300, 3, True, False, [1e-05, 1 / 3], [1, 2]])
def test_a_word_says_a_value_to_the_bit(value):
    read = OverridesParser.create().parse_override(word("key", value)).value()
    assert read == value
    assert type(read) is type(value)


def test_which_distributions_are_of_numbers():
    texts = {"interval(0, 1)": True, "choice(1, 2.5)": True, "choice(1, a)": False, "choice(true, false)": False}
    assert {text: is_number(distribution("key", text)) for text in texts} == texts
