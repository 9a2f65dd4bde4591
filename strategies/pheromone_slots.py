"""Pheromone over the slots of a network that has slots (:class:`lab.networks.Pathways`): one field a layer.

The source does not say whether layers share a field; one each is our reconstruction. What a sample does to the transition from
slot a to slot b is the routing p(a -> b) that the network has for it.

How a multiplier m of transitions gets to weights that all tokens share the source leaves open, too. Our reconstruction: a
pathway from token i by slots a and b to token j has the weight Q_1(i, a) p(a, b) Q_2(j, b), so that what is said of transitions
is said of tokens through Q_1 m Q_2'; a token that asks, or is asked, gets the mean of m over all the pathways that begin, or
end, at it; and a row of an attention parameter of the fast lane, which pathways are there for, the mean over all tokens of the
step, each weighted by the size of what the row puts out there and by its sample's share in the loss. Rows that make queries,
and outputs, have tokens that ask; keys and values ones that are asked. m - 1 is carried, and 1 added: where all multipliers are
1, so are those of all weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lab.protocols import invalid

PARTS = ("routing", "grouper_1", "grouper_2", "fast.project", "fast.out")
"""Submodules of a layer whose outputs are looked at."""


def has_slots(learner) -> bool:
    """Whether the networks have fields of their own to be written to."""
    return "layers/0/field" in learner.population.held()


class Slots:
    """Where a population's fields lie, and how they act.

    Raises:
        UserError: ``slots`` is given, which is for networks without slots.
    """

    def __init__(self, learner, slots: int | None):
        population, held = learner.population, learner.population.held()
        self.layers = [n for n in range(len(held)) if f"layers/{n}/field" in held]
        self.shapes = [tuple(held[f"layers/{n}/field"].shape[1:]) for n in self.layers]
        if slots is not None:
            raise invalid("strategy.pheromone.slots", slots, f"null: the network has {self.shapes[0][0]} slots of its own")
        paths = [f"layers.{n}.{part}" for n in self.layers for part in PARTS]
        population.watched += [path for path in paths if path not in population.watched]

    def traffic(self, learner, batch, answers: Tensor, weights: Tensor) -> list[Tensor]:
        """For each layer sums over samples of weight times p, ``[M, ..., m, m]``; ``weights`` ``[M, ..., B]``."""
        routing = (put_out(learner, n, "routing", weights.dtype) for n in self.layers)
        return [torch.einsum("m...b,mbij->m...ij", weights, p) for p in routing]

    def scales(self, learner, batch, multipliers: list[Tensor]) -> list[dict[str, Tensor]]:
        """For each layer what multipliers ``[M, m, m]`` are of the updates of its fast lane's attention, by parameter name."""
        of_layers = zip(self.layers, multipliers, strict=True)
        return [self._scales(learner, n, multiplier, batch.shares(multiplier.dtype)) for n, multiplier in of_layers]

    def _scales(self, learner, layer: int, multiplier: Tensor, shares: Tensor) -> dict[str, Tensor]:
        p, first, second, projected, out = (put_out(learner, layer, part, multiplier.dtype) for part in PARTS)
        more = (multiplier - 1).unsqueeze(1)
        asking = _mean_of_pathways(first, p, more, second)
        asked = _mean_of_pathways(second, p.mT, more.mT, first)
        queries, others = projected.split([out.shape[3], projected.shape[3] - out.shape[3]], 3)
        rows = {
            "project": torch.cat([_mean_of_tokens(asking, queries, shares), _mean_of_tokens(asked, others, shares)], 1) + 1,
            "out": _mean_of_tokens(asking, out, shares) + 1,
        }
        names = {f"layers/{layer}/fast/{part}": scale for part, scale in rows.items()}
        leaves = learner.population.leaves
        weights = {f"{name}/weight": scale.unsqueeze(2) for name, scale in names.items()}
        return weights | {f"{name}/bias": scale for name, scale in names.items() if f"{name}/bias" in leaves}

    def write(self, learner, what: str, values: Sequence[Tensor], who: Tensor) -> None:
        """Put values ``[M, ...]``, one a layer, where the networks read them, for members ``who`` ``[M]``."""
        held = learner.population.held()
        for layer, value in zip(self.layers, values, strict=True):
            old = held[f"layers/{layer}/{what}"]
            old.copy_(torch.where(who.view(-1, *[1] * (old.dim() - 1)), value, old))


def put_out(learner, layer: int, part: str, dtype: torch.dtype) -> Tensor:
    """What a part of a layer put out in the step's forward pass, ``[M, B, ...]``, without its gradient."""
    return learner.activations[f"layers.{layer}.{part}"].detach().to(dtype)


def _mean_of_pathways(mine: Tensor, p: Tensor, values: Tensor, others: Tensor) -> Tensor:
    """Of each token with slots ``mine`` ``[M, B, N, m]`` the mean of values over the pathways to all others, ``[M, B, N]``."""
    reach = others.sum(2).unsqueeze(3)
    weighted, weight = (mine @ (each @ reach) for each in (p * values, p))
    return (weighted / weight.clamp(min=torch.finfo(weight.dtype).tiny)).squeeze(3)


def _mean_of_tokens(values: Tensor, put: Tensor, shares: Tensor) -> Tensor:
    """Means over tokens of values ``[M, B, N]``, for each row weighted by the size of what it puts out, ``[M, B, N, rows]``,
    and by the sample's share in the loss ``[M, B]``."""
    size = (put.abs() * shares[..., None, None]).flatten(1, 2)
    weighted, weight = (values.flatten(1).unsqueeze(1) @ size).squeeze(1), size.sum(1)
    return weighted / weight.clamp(min=torch.finfo(weight.dtype).tiny)
