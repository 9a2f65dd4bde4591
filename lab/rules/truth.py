"""How true a compiled rule is of probabilities, by three logics.

On truth values in [0, 1]; ``a or b`` is ``not (not a and not b)``, ``a -> b`` is ``not a or b``:

=========== ========== ====================== ============ ===============================================================
logic       not a      a and b                for all      a count
=========== ========== ====================== ============ ===============================================================
product     1 - a      a b                    product      its probability, where places are independent (exact)
lukasiewicz 1 - a      max(0, a + b - 1)      likewise     1 - how far its expectation is off, at least 0
godel       1 - a      min(a, b)              minimum      how well the best supported claims are that make it sure
=========== ========== ====================== ============ ===============================================================

An atom over one place is the sum of the probabilities of its classes; one over several, its expectation, where they are
independent. Of discrete probabilities every one of them is 1 where the rule holds, and 0 where it does not.

Letters in shapes: see :mod:`lab.rules.meaning`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from lab.rules.compiled import SOURCE, Leaf, Run, Spot, Tally
from lab.rules.counting import GODEL, LOGARITHMS, PROBABILITIES, at_least, at_most, chance_of, expectation, portions
from lab.rules.layout import UNSAYABLE
from lab.rules.meaning import Meaning


class Graded(Meaning):
    """The truth of log-probabilities ``[..., G, k, P, C]``, in single precision at least."""

    def __init__(self, *of, log_probs: Tensor):
        super().__init__(*of)
        self.log_probs = log_probs.to(torch.promote_types(log_probs.dtype, torch.float32))

    def logs(self, run: Run) -> Tensor:
        """Log-probabilities of a run's classes, ``[..., G, n, C]``."""
        first, (start, stop) = self.layout.outputs[run.output].first, self.slots(run)
        return self.log_probs[..., run.member, start:stop, first : first + run.classes]

    def chances(self, run: Run) -> Tensor:
        """Probabilities of a run's classes, ``[..., G, n, C]``; 0 at places that do not count."""
        return self.kept(("chances", run), lambda: self.logs(run).exp() * self.there(run).unsqueeze(-1))

    def leaf(self, leaf: Leaf):
        return self.certain(self.looked_up(leaf)) if _known(leaf) else self.chance(leaf)

    def certain(self, value: Tensor) -> Tensor:
        return value.to(self.log_probs.dtype)

    def negated(self, value: Tensor) -> Tensor:
        return 1 - value

    def _empty(self) -> Tensor:
        return self.log_probs.new_empty([1] * (self.depth + 1))

    def chance(self, leaf: Leaf, contrary: bool = False) -> Tensor:
        """The probability of a leaf (or of its contrary), 0 where an output's place is outside: ``[..., D axes]``."""
        table = self.tables.get(leaf.table, self.device)
        table = (~table if contrary else table).to(self.log_probs.dtype)
        return self._of_one(leaf.spots[0], table) if len(leaf.spots) == 1 else self._of_several(leaf.spots, table)

    def _of_one(self, spot: Spot, table: Tensor) -> Tensor:
        """The sum of a place's probabilities over a table ``[C + 1, D axes]``."""
        return self.placed(self.chances(spot.run) @ table[:-1].reshape(spot.run.classes, -1), spot, table.shape[1:], 0.0)

    def placed(self, values: Tensor, spot: Spot, names: torch.Size, fill: float) -> Tensor:
        """Values ``[..., n, names]`` of a spot's run as ``[..., D axes]``: the axes ``names`` have a size of their own there
        only where positions have none."""
        spread, depth = self.spread(values, spot, fill, tail=1), self.depth
        lead, positions = spread.shape[: -depth - 1], spread.shape[-depth - 1 : -1]
        pairs = [len(lead) + axis + half for axis in range(depth) for half in (0, depth)]
        apart = spread.reshape(*lead, *positions, *names).permute(*range(len(lead)), *pairs)
        return apart.reshape(*lead, *map(max, zip(positions, names, strict=True)))

    def _of_several(self, spots: tuple[Spot, ...], table: Tensor) -> Tensor:
        """The expectation of a table ``[C1 + 1, C2 + 1, ..., 1, ...]``; inputs first, then what has fewest places."""
        spots = [(spot, axis) for axis, spot in enumerate(spots)]
        spots.sort(key=lambda pair: (not _given(pair[0]), pair[0].axis is not None))
        known = [spot for spot, _ in spots if _given(spot)]
        rest = table.reshape(table.shape[: len(spots)]).permute([axis for _, axis in spots])
        rest = rest[tuple(slice(None) if _given(spot) else slice(-1) for spot, _ in spots)]
        sizes = rest.shape
        if known:
            cell = reduce(lambda cell, at: cell * sizes[at] + self.states(known[at]), range(len(known)), 0)
            rest = rest.reshape(sizes[: len(known)].numel(), -1)[cell]
        else:
            rest = rest.reshape(*[1] * self.depth, -1)
        for (spot, _), size in list(zip(spots, sizes, strict=True))[len(known) :]:
            chances = self.spread(self.chances(spot.run), spot, 0.0, tail=1)
            rest = torch.einsum("...cr,...c->...r", rest.unflatten(-1, (size, -1)), chances)
        return rest.squeeze(-1)


class Product(Graded):
    def together(self, values: list[Tensor]) -> Tensor:
        return reduce(torch.mul, values)

    def every(self, value: Tensor, dims: list[int], inside: Tensor | None) -> Tensor:
        value = value if inside is None else torch.where(inside, value, 1)
        return reduce(_product, dims, value)

    def tally(self, tally: Tally) -> Tensor:
        return chance_of(*portions(self, tally), tally.sign, PROBABILITIES, self._empty())[0]


class Lukasiewicz(Graded):
    def together(self, values: list[Tensor]) -> Tensor:
        return (sum(values) - (len(values) - 1)).clamp(min=0)

    def every(self, value: Tensor, dims: list[int], inside: Tensor | None) -> Tensor:
        off = 1 - value if inside is None else torch.where(inside, 1 - value, 0)
        return (1 - off.sum(dims, keepdim=True)).clamp(min=0)

    def tally(self, tally: Tally) -> Tensor:
        off = expectation(*portions(self, tally))
        return (1 - (off.abs() if tally.sign == "=" else off.clamp(min=0))).clamp(min=0)


class Godel(Graded):
    def together(self, values: list[Tensor]) -> Tensor:
        return reduce(torch.minimum, values)

    def every(self, value: Tensor, dims: list[int], inside: Tensor | None) -> Tensor:
        return (value if inside is None else torch.where(inside, value, 1)).amin(dims, keepdim=True)

    def tally(self, tally: Tally) -> Tensor:
        """A place supports that it adds at most w with the probability that it does (at most the largest w: with 1); a sum of
        such claims is supported as well as the weakest of them, and ``<=`` as well as the best that makes it sure."""
        constant, parts = portions(self, tally)
        upper = chance_of(constant, [at_most(part) for part in parts], "<=", GODEL, self._empty())[0]
        if tally.sign == "<=":
            return upper
        return torch.minimum(upper, chance_of(constant, [at_least(part) for part in parts], ">=", GODEL, self._empty())[0])


class Logs:
    """The logarithms of a truth and of its contrary's; each is worked out when it is asked for, since few are needed."""

    def __init__(self, truth: Callable[[], Tensor], contrary: Callable[[], Tensor]):
        self._truth, self._contrary = truth, contrary

    @cached_property
    def truth(self) -> Tensor:
        return self._truth()

    @cached_property
    def contrary(self) -> Tensor:
        return self._contrary()


class LogProduct(Graded):
    """The product logic in log space: values are :class:`Logs`.

    The contrary of a conjunction is that its first part is false, or this is true and its second one false, and so on. These
    exclude each other, and so their probabilities add up: 1 - exp(log a + log b) would be rounded to nothing where both are
    nearly certain, and with it the gradient of a rule that is confidently broken.
    """

    def leaf(self, leaf: Leaf) -> Logs:
        if _known(leaf):
            return self.certain(self.looked_up(leaf))
        here = reduce(torch.logical_and, [self.spread(self.there(s.run), s, False) for s in leaf.spots if not _given(s)])
        return Logs(
            lambda: torch.where(here, self._log_chance(leaf), UNSAYABLE),
            lambda: torch.where(here, _log(self.chance(leaf, contrary=True)), 0.0),
        )

    def _log_chance(self, leaf: Leaf) -> Tensor:
        """The logarithm of a leaf's probability, of few classes one by one (so that it does not underflow)."""
        if leaf.few is None:
            return _log(self.chance(leaf))
        (spot,), classes = leaf.spots, self.tables.get(leaf.few, self.device)
        columns = self.kept(
            ("columns", spot.run), lambda: F.pad(self.logs(spot.run).clamp(min=UNSAYABLE), (0, 1), value=UNSAYABLE)
        )
        chosen = [columns.index_select(-1, column) for column in classes.view(-1, classes.shape[-1]).unbind(-1)]
        return self.placed(reduce(torch.logaddexp, chosen).clamp(max=0), spot, classes.shape[:-1], UNSAYABLE)

    def certain(self, value: Tensor) -> Logs:
        yes, no = (torch.where(half, 0.0, UNSAYABLE).to(self.log_probs.dtype) for half in (value, ~value))
        return Logs(lambda: yes, lambda: no)

    def negated(self, value: Logs) -> Logs:
        return Logs(lambda: value.contrary, lambda: value.truth)

    def together(self, values: list[Logs]) -> Logs:
        return reduce(_both, values)

    def every(self, value: Logs, dims: list[int], inside: Tensor | None) -> Logs:
        truth, contrary = value.truth, value.contrary  # now: what is inside can be worked out inside alone
        if inside is not None:
            truth, contrary = torch.where(inside, truth, 0.0), torch.where(inside, contrary, UNSAYABLE)
        for dim in dims:
            contrary = _not_all(truth, contrary, dim)
            truth = truth.sum(dim, keepdim=True)
        return Logs(lambda: truth, lambda: contrary)

    def tally(self, tally: Tally) -> Logs:
        constant, parts = portions(self, tally)
        logs = [(dim, {weight: _log(chance) for weight, chance in part.items()}) for dim, part in parts]
        both = chance_of(constant, logs, tally.sign, LOGARITHMS, self._empty())
        truth, contrary = (one.clamp(UNSAYABLE, 0) for one in both)
        return Logs(lambda: truth, lambda: contrary)


LOGICS = {"product": Product, "lukasiewicz": Lukasiewicz, "godel": Godel}


def _given(spot: Spot) -> bool:
    return spot.run.output == SOURCE


def _known(leaf: Leaf) -> bool:
    """Whether a leaf looks at inputs alone."""
    return all(map(_given, leaf.spots))


def _product(values: Tensor, dim: int) -> Tensor:
    """The product along an axis, which stays, by halves: the gradient of torch's own reads values where there are zeros."""
    odd = []
    while values.shape[dim] > 1:
        half = values.shape[dim] // 2
        if values.shape[dim] % 2:
            odd.append(values.narrow(dim, 2 * half, 1))
        values = values.narrow(dim, 0, half) * values.narrow(dim, half, half)
    return reduce(torch.mul, odd, values)


def _log(chance: Tensor) -> Tensor:
    return chance.clamp(min=torch.finfo(chance.dtype).tiny, max=1).log()


def _both(one: Logs, other: Logs) -> Logs:
    """Of a conjunction of two."""
    return Logs(lambda: one.truth + other.truth, lambda: torch.logaddexp(one.contrary, one.truth + other.contrary).clamp(max=0))


def _not_all(truth: Tensor, contrary: Tensor, dim: int) -> Tensor:
    """The contrary of a conjunction along an axis, which stays."""
    before = truth.narrow(dim, 0, truth.shape[dim] - 1).cumsum(dim)
    before = torch.cat([torch.zeros_like(truth.narrow(dim, 0, 1)), before], dim)
    return (before + contrary).logsumexp(dim, keepdim=True).clamp(max=0)
