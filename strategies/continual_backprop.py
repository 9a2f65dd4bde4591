"""Continual backpropagation: Dohare et al. 2024, "Loss of plasticity in deep continual learning", Nature 632, algorithm 1.

After every step each hidden unit i of layer l gets older, a_l[i] + 1, and its contribution utility is updated (equation 1):

    u_l[i] <- eta u_l[i] + (1 - eta) |h_l,i,t| sum_k |w_l,i,k,t|

with its activation h (here the mean of |h| over the batch) and its outgoing weights w. Each step adds rho times the number of
units older than the maturity threshold m to c_l, the units due for replacement. When c_l reaches 1, the least useful unit
older than m gets incoming weights (and a bias) as at initialisation, outgoing weights of 0, utility 0 and age 0, and c_l falls
by 1.

Their text has this utility; the code that they published can also take h without its running mean, divide by the size of the
incoming weights, correct for the average's start at 0, and add what the old unit put out on average to the next layer's
biases. New incoming weights are drawn here, with replacement, from those that the member's layer began with, which is the
initial distribution whatever that is, and biases likewise (theirs become 0). The optimiser's momenta of a new unit's weights
are set to 0. As in their code Adam corrects the bias of each weight's momenta by the weight's own age (without which a new
unit's first hundred steps would be 3 to 7 times as large as others'): here by a factor on the update, for weights between two
new units that of the one whose factor is smaller.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from lab.protocols import Strategy, UserError, fraction, integers, strength, whole


@dataclass(frozen=True)
class Layer:
    """A hidden layer: its activation's path in the network, and the names of the parameters around it."""

    path: str
    incoming: tuple[str, ...]
    """Weights ``[M, units, in]``, and biases ``[M, units]`` where there are any."""
    outgoing: str
    """Weights ``[M, out, units]``."""


class ContinualBackprop(Strategy):
    """Replace the least useful hidden units: of each layer the share ``rate`` (rho, [0, 1], or a list of one a member) a step,
    at most one unit a step.

    ``maturity`` (m): steps that a new unit is safe for. ``decay`` (eta) in [0, 1): of the running average of utilities.
    For perceptrons, whose linear layers and activations take turns.
    """

    moves = True

    def __init__(self, rate: float | list[float] = 1e-4, maturity: int = 100, decay: float = 0.99):
        super().__init__()
        self.given = strength("strategy.continual_backprop.rate", rate, most=1)
        self.maturity = whole("strategy.continual_backprop.maturity", maturity, 0)
        self.decay = fraction("strategy.continual_backprop.decay", decay)

    def setup(self, learner):
        members, leaves, precise = learner.members, learner.population.leaves, learner.population.precise
        self.layers = hidden_layers(learner)
        learner.population.watched += [layer.path for layer in self.layers if layer.path not in learner.population.watched]
        self.register_buffer("rate", learner.value("strategy.continual_backprop.rate", self.given))
        self.register_buffer("due", torch.zeros(members, len(self.layers), dtype=precise))
        for n, layer in enumerate(self.layers):
            units = leaves[layer.incoming[0]].shape[1]
            self.register_buffer(f"utility_{n}", torch.zeros(members, units, dtype=precise))
            self.register_buffer(f"age_{n}", torch.zeros(members, units, dtype=torch.int64))
            for name in layer.incoming:
                self.register_buffer(f"initial/{name}", leaves[name].detach().flatten(1).clone())
                self.register_buffer(f"keys/{name}", learner.keys(f"continual backprop/{name}"))

    def update_scale(self, learner, batch):
        beta1, beta2 = (learner.optimizer.values.get(name) for name in ("beta1", "beta2"))
        states = [learner.optimizer.state.get(learner.population.leaves[layer.outgoing], {}) for layer in self.layers]
        if beta1 is None or not all("count" in state for state in states):
            return None

        def factor(steps: Tensor) -> Tensor:
            """Of Adam's step after so many of a weight ``[M, units]``, over sqrt(mean square) of its gradients."""
            first, second = (b.unsqueeze(1) if isinstance(b, Tensor) else b for b in (beta1, beta2))
            return (1 - second**steps).sqrt() / (1 - first**steps)

        scales: dict[str, Tensor] = {}
        for n, (layer, state) in enumerate(zip(self.layers, states, strict=True)):
            count = state["count"].double().unsqueeze(1)
            scale = factor(torch.minimum(self._buffers[f"age_{n}"], count) + 1) / factor(count + 1)
            scale = scale.to(self.due.dtype)
            weights, *biases = layer.incoming
            # As [in, out], the order in which weights lie in memory.
            scales[weights] = torch.minimum(scales[weights].mT, scale.unsqueeze(1)).mT if n else scale.unsqueeze(2)
            scales |= dict.fromkeys(biases, scale) | {layer.outgoing: scale.unsqueeze(1)}
        return scales

    def after_step(self, learner, batch):
        takes_part, shares = batch.taking_part(), batch.shares(learner.population.precise)
        for n, layer in enumerate(self.layers):
            utility, age = self._buffers[f"utility_{n}"], self._buffers[f"age_{n}"]
            outgoing = learner.population.leaves[layer.outgoing]
            size = learner.activations[layer.path].detach().abs().to(shares.dtype)
            contribution = torch.einsum("mb,mbh->mh", shares, size) * torch.linalg.vector_norm(outgoing, 1, 1)
            utility.copy_(torch.where(takes_part.unsqueeze(1), torch.lerp(contribution, utility, self.decay), utility))
            age.add_(takes_part.unsqueeze(1))
            mature = age > self.maturity
            self.due[:, n] += torch.where(takes_part, self.rate * mature.sum(1), 0)
            now = takes_part & (self.due[:, n] >= 1) & mature.any(1)
            self.due[:, n] -= now.to(self.due.dtype)
            self._replace(learner, n, utility.masked_fill(~mature, torch.inf).argmin(1), now)

    def _replace(self, learner, n: int, unit: Tensor, now: Tensor) -> None:
        """Make a new unit of number ``unit`` ``[M]`` in layer n, for those members whose time it is, ``now`` ``[M]``."""
        layer, member = self.layers[n], torch.arange(len(unit), device=unit.device)
        ins, outs = (member, unit), (member, slice(None), unit)
        _put(self._buffers[f"utility_{n}"], ins, now, 0)
        _put(self._buffers[f"age_{n}"], ins, now, 0)
        for name in layer.incoming:
            leaf, initial = learner.population.leaves[name], self._buffers[f"initial/{name}"]
            drawn = integers(self._buffers[f"keys/{name}"], learner.clock, leaf[0, 0].numel(), initial.shape[1])
            _put(leaf, ins, now, initial.gather(1, drawn).view_as(leaf[:, 0]))
            _forget(learner, name, ins, now)
        _put(learner.population.leaves[layer.outgoing], outs, now, 0)
        _forget(learner, layer.outgoing, outs, now)


def hidden_layers(learner) -> list[Layer]:
    """The network's, from the input on.

    Raises:
        UserError: for a network that is no perceptron.
    """
    leaves, hidden = learner.population.leaves, learner.population.hidden(learner.reader.shape, learner.reader.tokens)
    around = list(pairwise((learner.population.linear() or {}).values()))
    fits = len(around) == len(hidden) and all(
        shape == (leaves[before].shape[1],) == (leaves[after].shape[2],)
        for shape, (before, after) in zip(hidden.values(), around, strict=True)
    )
    if not fits:
        raise UserError(
            "network: continual_backprop replaces hidden units of perceptrons, in which linear layers and activations take "
            "turns; expected network=mlp, or one like it"
        )
    return [
        Layer(path, tuple(n for n in (before, before.removesuffix("weight") + "bias") if n in leaves), after)
        for path, (before, after) in zip(hidden, around, strict=True)
    ]


def _put(tensor: Tensor, index: tuple, now: Tensor, new: Tensor | float) -> None:
    """Write ``new`` to a place of each member, for those whose time it is."""
    old = tensor[index]
    tensor[index] = torch.where(now.view(-1, *[1] * (old.dim() - 1)), new, old)


def _forget(learner, name: str, index: tuple, now: Tensor) -> None:
    """The optimiser's momenta of these weights."""
    leaf = learner.population.leaves[name]
    for state in learner.optimizer.state.get(leaf, {}).values():
        if state.shape == leaf.shape:
            _put(state, index, now, 0)
