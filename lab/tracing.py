"""Looking inside a population's networks: which layers there are, what goes into them, what they put out, factors on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vjp, vmap

from lab.errors import UserError
from lab.rules import UNSAYABLE

DOT = "/"  # parameter names of a module may not contain dots
INTO = "into "
"""Before a layer's path in :attr:`Tracing.watched`: what goes into it, and not what it puts out."""
ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.GELU, nn.Sigmoid, nn.LeakyReLU, nn.ELU, nn.SiLU)


class Sayable(nn.Module):
    """Gives the units that cannot be said at a place a logit of :data:`~lab.rules.UNSAYABLE`."""

    def __init__(self, places_and_units: Tensor | None):
        super().__init__()
        given = None if places_and_units is None or bool(places_and_units.all()) else ~places_and_units
        self.register_buffer("not_here", given, persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        return logits if self.not_here is None else logits.masked_fill(self.not_here, UNSAYABLE)

    def pulls(self, gradients: Tensor) -> Tensor:
        """What gradients of such logits are of the network's own: none of those that it does not decide."""
        return gradients if self.not_here is None else gradients.masked_fill(self.not_here, 0)


class RunTwiceError(UserError):
    """A layer is run more than once for each sample, where what goes into it is asked for."""


class Tracing:
    """A part of :class:`lab.population.Population`."""

    leaves: dict[str, nn.Parameter]
    watched: list[str]
    sayable: Sayable
    _skeleton: list[nn.Module]
    _each: Callable[..., Any]
    _state: Callable[..., list[Tensor]]
    _converted: Callable[[Tensor], Tensor]
    _filled: Callable[[list[Tensor]], AbstractContextManager[nn.Module]]

    def traced(
        self, inputs: Tensor, probes: dict[str, Tensor], gates: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits, and what goes into the layers that ``probes`` names, each ``[M, B, ...]``; probes are added to what those
        layers put out, so that the gradient of a zero is the gradient of the layer's output."""
        logits, _, into = self._each(self._traced, self._state(), self._converted(inputs), probes, gates or {})
        return self.sayable(widened(logits)), into

    @torch.no_grad()
    def pulled_back(
        self, of: Callable[[Tensor], Tensor], inputs: Tensor, pulls: Tensor, weights: Tensor, gates: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Of every parameter ``[M, ...]`` the sum over samples b and k of weights_bk of(d (pulls_bk . logits_b) / d parameter),
        with a gradient of its own for each sample.

        Args:
            of: what of the gradients is added up, number by number.
            inputs: ``[M, B, ...]``.
            pulls: ``[M, B, K, ..., C]``.
            weights: ``[M, B, K]``.
            gates: factors on what layers put out, ``[M, B, ...]``.
        """
        count, precise = len(self.leaves), next(iter(self.leaves.values())).dtype
        pulls = self.sayable.pulls(pulls)

        def of_sample(state: list[Tensor], given: Tensor, pulls: Tensor, weights: Tensor, gates: dict) -> list[Tensor]:
            alone = {path: gate.unsqueeze(0) for path, gate in gates.items()}

            def logits(leaves: list[Tensor]) -> Tensor:
                return self._traced([*leaves, *state[count:]], given.unsqueeze(0), {}, alone)[0].squeeze(0)

            with torch.enable_grad():
                answer, back = vjp(logits, state[:count])
            total: list[Tensor] = [0] * count  # one objective after the other: gradients are what is large
            for pull, weight in zip(pulls.unbind(0), weights.unbind(0), strict=True):
                gradients = back(pull.to(answer.dtype))[0]
                total = [old + of(own.to(precise)) * weight for old, own in zip(total, gradients, strict=True)]
            return total

        def of_member(state: list[Tensor], *samples: Any) -> list[Tensor]:
            return [each.sum(0) for each in vmap(partial(of_sample, state))(*samples)]

        sums = self._each(of_member, self._state(), self._converted(inputs), pulls, weights, gates)
        return dict(zip(self.leaves, sums, strict=True))

    def hidden(self, shape: tuple[int, ...], tokens: bool = False) -> dict[str, tuple[int, ...]]:
        """The layers of activations by their path in the network, and the shape that one input of ``shape`` has there.

        ``tokens``: whether inputs are whole numbers.

        Raises:
            UserError: for a network without any: its non-linearities are to be modules (``nn.ReLU``, ...).
        """
        layers = [path for path, module in self._skeleton[0].named_modules() if isinstance(module, ACTIVATIONS)]
        shapes = self.put_out(layers, shape, tokens)
        if not shapes:
            kind = type(self._skeleton[0]).__name__
            raise UserError(f"network: {kind} has no activation modules (nn.ReLU, nn.Tanh, ...), whose units are needed here")
        return shapes

    def put_out(self, paths: Iterable[str], shape: tuple[int, ...], tokens: bool = False) -> dict[str, tuple[int, ...]]:
        """What shape the layers at ``paths`` give to one input of ``shape``, in the order in which they are run."""
        shapes: dict[str, tuple[int, ...]] = {}
        with ExitStack() as hooks, torch.no_grad():
            for path in paths:
                note = lambda _module, _inputs, out, path=path: shapes.update({path: tuple(out.shape[1:])})  # noqa: E731
                hooks.callback(self._skeleton[0].get_submodule(path).register_forward_hook(note).remove)
            dtype = torch.int64 if tokens else next(self._skeleton[0].parameters()).dtype
            self._skeleton[0](torch.zeros(2, *shape, device="meta", dtype=dtype))
        return shapes

    @torch.no_grad()
    def put_out_for(self, inputs: Tensor, paths: Iterable[str]) -> dict[str, Tensor]:
        """What the layers at ``paths`` put out for inputs ``[M, B, ...]``, in the mode the networks are in: ``[M, B, ...]``."""
        watched, self.watched = self.watched, list(paths)
        try:
            return self._each(self._traced, self._state(), self._converted(inputs), {}, {})[1]
        finally:
            self.watched = watched

    def linear(self) -> dict[str, str] | None:
        """Paths of the linear layers and the name of their weights in :attr:`leaves`, where no other layer has parameters."""
        layers = self.layers(nn.Linear)
        return None if layers is None else {path: self.leaf_of(path, "weight") for path in layers}

    @staticmethod
    def leaf_of(path: str, name: str) -> str:
        """What a layer's parameter is called in :attr:`leaves`.

        >>> Tracing.leaf_of("hidden.0", "weight")
        'hidden/0/weight'
        """
        return f"{path}.{name}".lstrip(".").replace(".", DOT)

    def layers(self, *kinds: type[nn.Module]) -> dict[str, nn.Module] | None:
        """The layers of these kinds by path, without their values, where no other layer has parameters."""
        layers = {path: m for path, m in self._skeleton[0].named_modules() if type(m) in kinds}
        own = {self.leaf_of(path, name) for path, m in layers.items() for name, p in m._parameters.items() if p is not None}
        return layers if own == {*self.leaves} else None

    def _traced(
        self, state: list[Tensor], inputs: Tensor, probes: dict[str, Tensor], gates: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """One network's outputs, what its watched layers put out, and what went into the probed ones."""
        out: dict[str, Tensor] = {}
        into: dict[str, Tensor] = {}

        def hook(path: str) -> Callable:
            def changed(_module: nn.Module, given: tuple[Tensor, ...], put: Tensor) -> Tensor:
                if path in into:
                    raise RunTwiceError(f"network: layer {path} is run more than once")
                into.update({path: given[0]} if path in probes else {})
                put = put + probes[path].to(put.dtype) if path in probes else put
                put = put * gates[path].to(put.dtype) if path in gates else put
                out.update({path: put} if path in self.watched else {})
                out.update({f"{INTO}{path}": given[0]} if f"{INTO}{path}" in self.watched else {})
                return put

            return changed

        with self._filled(state) as network, ExitStack() as hooks:
            for path in {*probes, *gates, *(path.removeprefix(INTO) for path in self.watched)}:
                hooks.callback(network.get_submodule(path).register_forward_hook(hook(path)).remove)
            return network(inputs), out, into


def widened(values: Tensor) -> Tensor:
    """What networks in bfloat16 give, in float32: losses are no place to round."""
    return values.float() if values.dtype == torch.bfloat16 else values
