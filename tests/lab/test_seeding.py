"""Random numbers as functions of (seed, purpose, count): uniform, independent between members, steps and purposes."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lab.seeding import bits, derive, generator, integers, member_keys, uniform


def steps(count):
    return torch.arange(count)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**62), purpose=st.text(max_size=20), number=st.integers(0, 10**6))
def test_seeds_depend_on_all_that_they_are_derived_from(seed, purpose, number):
    one = derive(seed, purpose, number)
    assert 0 <= one < 2**63
    assert one == derive(seed, purpose, number)
    others = {derive(seed + 1, purpose, number), derive(seed, purpose + "x", number), derive(seed, purpose, number + 1)}
    assert len({one, *others}) == 4
    assert generator(seed, purpose).initial_seed() == derive(seed, purpose)


def test_seeds_are_those_of_earlier_versions():
    """A change here would silently make other results of every finished run."""
    assert derive(3, "order", 0, 1) == 1402850224566858
    assert member_keys([0, 1], "dropout/0").tolist() == [1478238134, 1380514179]
    assert bits(torch.tensor([5, 6]), torch.tensor([0, 9]), 3).tolist() == [
        [3568984768, 679409402, 2191090330],
        [1552449071, 1028916021, 1395041650],
    ]


def lowbias32(x):
    x ^= x >> 16
    x = x * 0x7FEB352D % 2**32
    x ^= x >> 15
    x = x * 0x846CA68B % 2**32
    return x ^ x >> 16


@settings(max_examples=30, deadline=None)
@given(key=st.integers(0, 2**32 - 1), step=st.integers(0, 2**40), place=st.integers(0, 50))
def test_bits_are_a_published_hash_on_any_step(key, step, place):
    golden = 0x9E3779B9
    word = lowbias32((key + step * golden) % 2**32)
    expected = lowbias32((word + place * golden) % 2**32)
    assert bits(torch.tensor(key), torch.tensor(step), place + 1)[place] == expected


def test_uniform_numbers_are_uniform_in_every_direction():
    numbers = uniform(member_keys(list(range(200)), "a test").unsqueeze(1), steps(50), 40)  # [200 members, 50 steps, 40]
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert stats.kstest(numbers.flatten().numpy(), "uniform").pvalue > 1e-3
    for axis in range(3):  # the means over one axis spread as those of independent numbers do
        means = numbers.double().mean(axis).flatten()
        z = (means - 0.5) * (12 * numbers.shape[axis]) ** 0.5
        assert abs(z.var().item() - 1) < 0.1


def test_neighbours_are_uncorrelated():
    numbers = uniform(member_keys(list(range(100)), "a test").unsqueeze(1), steps(100), 50).double() - 0.5
    for one, other in [(numbers[1:], numbers[:-1]), (numbers[:, 1:], numbers[:, :-1]), (numbers[..., 1:], numbers[..., :-1])]:
        correlation = (one * other).mean() * 12
        assert abs(correlation.item()) < 5 / one.numel() ** 0.5


def test_whole_numbers_are_uniform_below_their_bounds():
    below = torch.tensor([[1], [7], [1000]])
    drawn = integers(torch.tensor([4, 5, 6]), torch.zeros(3, dtype=torch.int64), 30000, below)
    assert (drawn >= 0).all()
    assert (drawn < below).all()
    assert stats.chisquare(torch.bincount(drawn[1]).numpy()).pvalue > 1e-3
    assert stats.chisquare(torch.bincount(drawn[2], minlength=1000).numpy()).pvalue > 1e-3


def test_numbers_do_not_depend_on_how_many_or_with_whom_they_are_drawn():
    keys, clock = member_keys([3, 4, 5], "a test"), torch.tensor([7, 8, 9])
    together = uniform(keys, clock, 10)
    assert torch.equal(uniform(keys[1], clock[1], 4), together[1, :4])
    assert torch.equal(torch.func.vmap(lambda k, c: uniform(k, c, 10))(keys, clock), together)
