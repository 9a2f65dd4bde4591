"""What samples weigh when batches are joined, by hand."""

import torch

from lab.batch import Steps


def steps(width, weights=None):
    examples = torch.zeros(1, 1, width, dtype=torch.int64)
    return Steps(examples, examples, width, weights, torch.zeros(1, 1, dtype=torch.int64))


def joined(own, count, balance=None, valid=1.0):
    new = torch.zeros(1, 1, count, dtype=torch.int64)
    return own.join(new, new, torch.full((1, 1, count), valid), balance)


def shares(of):
    weights = of.weights[0, 0]
    return weights / weights.sum()


def test_a_plain_join_is_one_mean_over_all():
    torch.testing.assert_close(shares(joined(joined(steps(2), 4), 2)), torch.full((8,), 1 / 8))


def test_a_balanced_join_is_two_means():
    torch.testing.assert_close(shares(joined(steps(2), 4, 0.25)), torch.tensor([1 / 8] * 2 + [3 / 16] * 4))


def test_what_was_balanced_counts_as_much_as_it_has_samples():
    """Two of the stream and two replayed, half and half; two more behind them are a third of all."""
    torch.testing.assert_close(shares(joined(joined(steps(2), 2, 0.5), 2)), torch.full((6,), 1 / 6))
    uneven = shares(joined(joined(steps(2), 2, 0.75), 2))
    torch.testing.assert_close(uneven, torch.tensor([0.25, 0.25, 1 / 12, 1 / 12, 1 / 6, 1 / 6]))


def test_where_weights_are_0_and_1_they_stay_so_to_the_bit():
    own = steps(3, torch.tensor([[[1.0, 0.0, 1.0]]]))
    assert joined(own, 2).weights.tolist() == [[[1.0, 0.0, 1.0, 1.0, 1.0]]]
