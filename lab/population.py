"""M networks of one architecture as one module: stacked parameters ``[M, ...]``, run at once or member by member."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import stack_module_state, vmap
from torch.utils._pytree import tree_map

from lab.errors import UserError
from lab.seeding import derive, member_keys
from lab.tracing import DOT, Sayable, Tracing, widened


class Population(Tracing, nn.Module):
    """``population(inputs [M, B, ...]) -> logits [M, B, ..., C]``, every member on its own inputs.

    Args:
        make: builds one network; called once for each seed, with torch's global generator seeded for it.
        seeds: the initialisation seed of each member.
        stack: run all members at once under ``vmap``, or one after the other; same parameters, same interface.
        dtype: what the networks compute in. Parameters stay float32 (float64 for float64) whatever this is.
        own_seeds: of the members, for their dropout masks; None for ``seeds``.
        sayable: which output units may answer at which places, bool ``[P, C]`` (:class:`lab.rules.Layout`); None for all.
    """

    def __init__(
        self,
        make: Callable[[], nn.Module],
        seeds: list[int],
        stack: bool = True,
        dtype: torch.dtype = torch.float32,
        own_seeds: list[int] | None = None,
        sayable: Tensor | None = None,
    ):
        super().__init__()
        self.sayable = Sayable(sayable)
        networks = [one_network(make, seed, own) for seed, own in zip(seeds, own_seeds or seeds, strict=True)]
        self._make, self._seeds = make, seeds
        self.dtype, self.stack, self.members = dtype, stack, len(seeds)
        parameters, buffers = stack_module_state(networks)
        keep = self.precise
        turned = _linear_weights(networks[0]) if stack else set()
        for name, value in parameters.items():
            value = value.detach().to(keep)
            value = value.mT.contiguous().mT if name in turned else value
            self.register_parameter(name.replace(".", DOT), nn.Parameter(value))
        for name, value in buffers.items():
            self.register_buffer(name.replace(".", DOT), value.to(keep) if value.is_floating_point() else value)
        self.clocks, self.timed = (
            [name for name in self._buffers if name.split(DOT)[-1] == last] for last in ("clock", "progress")
        )
        # The skeleton gives structure alone; in a list, so that its parameters are not the population's.
        self._skeleton = [copy.deepcopy(networks[0]).to("meta")]
        self._slots = _slots(networks[0], self._skeleton[0], [*parameters, *buffers])
        self._wide = _widen_normalisation(self._skeleton[0], dtype) if dtype == torch.bfloat16 else set()
        self.watched: list[str] = []
        """Paths of layers whose outputs :meth:`forward` is to keep in ``activations``, or, with :data:`lab.tracing.INTO` in
        front, what goes into them; strategies add to it in ``setup``."""
        self.activations: dict[str, Tensor] = {}
        """What the watched layers put out, or were given, in the last forward pass, ``[M, B, ...]``."""

    @property
    def precise(self) -> torch.dtype:
        """What parameters and losses are kept in: float64 for float64, float32 for all else."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    @property
    def leaves(self) -> dict[str, nn.Parameter]:
        """The stacked parameters ``[M, ...]`` by name.

        Weights of linear layers lie in memory as ``[M, in, out]`` when stacked (the order in which their gradients come from
        batched products, which would otherwise be copied at every step): ``reshape`` and ``flatten`` them, do not ``view``.
        """
        return self._parameters

    def tick(self, active: Tensor | None = None) -> None:
        """Advance the clocks of the members' dropout masks; those that are not ``active`` ``[M]`` stay."""
        for name in self.clocks:
            self._buffers[name].add_(1 if active is None else active.long())

    def note_progress(self, part: Tensor) -> None:
        """Tell networks that ask for it, by buffers called ``progress``, which part ``[M]`` of a phase is behind them."""
        for name in self.timed:
            self._buffers[name].copy_(part)

    def train(self, mode: bool = True) -> Population:
        self._skeleton[0].train(mode)
        return super().train(mode)

    def forward(self, inputs: Tensor, state: dict[str, Tensor] | None = None, gates: dict[str, Tensor] | None = None) -> Tensor:
        """Logits ``[M, B, ..., C]``.

        Args:
            state: parameters and buffers to answer with in place of the members' own, by their names (:meth:`held`).
            gates: factors on what layers put out, by the layer's path (:meth:`hidden`): ``[M, B, ...]`` or ``[M, 1, ...]``.
        """
        values = self._state(state)
        watching = bool(self.watched) and state is None and self.training
        if gates or watching:
            logits, self.activations = self._each(self._traced, values, self._converted(inputs), {}, gates or {})[:2]
        else:
            inputs = self._converted(inputs)
            logits = vmap(self._one)(values, inputs) if self.stack else self._in_turn(values, inputs)
        return self.sayable(widened(logits))

    @torch.no_grad()
    def decode(self, inputs: Tensor, noise: Tensor | None = None, beams: int = 1) -> Tensor:
        """What the networks say where each place depends on those before it, by their own `decode`: K answers to each of
        inputs ``[M, B, ...]``, classes int64 ``[M, B, K, P]``.

        Args:
            noise: Gumbel noise ``[M, B, K, P, C]``, with which answers are drawn; None: the ``beams`` most probable ones that
                a beam search finds, the best first.

        Raises:
            UserError: for a network that has no such method.
        """
        if not hasattr(self._skeleton[0], "decode"):
            kind = type(self._skeleton[0]).__name__
            raise UserError(f"network: {kind} has no method `decode`, which is needed to answer one place after the other")

        def one(state: list[Tensor], inputs: Tensor, noise: Tensor | None = None) -> Tensor:
            with self._filled(state) as network:
                return network.decode(inputs, noise, beams)

        return self._each(one, self._state(), self._converted(inputs), *(() if noise is None else (noise,)))

    def features(self, inputs: Tensor, state: dict[str, Tensor] | None = None) -> Tensor:
        """What the networks' ``features`` give, ``[M, B, D]``: the last hidden layer's activations.

        Raises:
            UserError: for a network that has no such method.
        """
        self.require_features()
        return widened(self._each(self._features, self._state(state), self._converted(inputs)))

    def require_features(self) -> None:
        """Refuse a network that does not tell features from head."""
        if not hasattr(self._skeleton[0], "features"):
            kind = type(self._skeleton[0]).__name__
            raise UserError(
                f"network: {kind} has no method `features`, inputs [B, ...] to activations [B, D], which is needed here"
            )

    def held(self) -> dict[str, Tensor]:
        """Parameters and buffers ``[M, ...]`` by name, without what dropout's masks are drawn with."""
        held = {**self._parameters, **self._buffers}
        return {name: value for name, value in held.items() if name.split(DOT)[-1] not in ("clock", "key")}

    def fresh(self, *purpose: object) -> dict[str, Tensor]:
        """Parameters and buffers as another initialisation makes them, from the members' seeds and a purpose. Not in a step:
        networks are made on the host."""
        parameters, buffers = stack_module_state([_initialised(self._make, derive(s, "fresh", *purpose)) for s in self._seeds])
        made = {name.replace(".", DOT): value.detach() for name, value in (parameters | buffers).items()}
        return {name: made[name].to(value) for name, value in self.held().items()}

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Copy parameters and buffers ``[M, ...]`` into the members'."""
        for name, value in state.items():
            (self._parameters if name in self._parameters else self._buffers)[name].copy_(value)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """In evaluation mode for a while: no dropout, running statistics used and left alone."""
        training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(training)

    def _converted(self, inputs: Tensor) -> Tensor:
        return inputs.to(self.dtype) if inputs.is_floating_point() else inputs

    def _state(self, given: dict[str, Tensor] | None = None) -> list[Tensor]:
        """Parameters in the dtype of the computation, then buffers: what the skeleton's slots are filled with."""
        if given is None and self.dtype != torch.bfloat16:
            return [*self._parameters.values(), *self._buffers.values()]
        own = {**self._parameters, **self._buffers} | (given or {})
        if self.dtype == torch.bfloat16:
            own |= {n: own[n].to(self.dtype) for n in self._parameters if n not in self._wide}
        return list(own.values())

    @contextmanager
    def _filled(self, state: list[Tensor]) -> Iterator[nn.Module]:
        """The skeleton with one network's tensors in it: `torch.func.functional_call` without its search for names."""
        before = [(holder, name, holder[name]) for holder, name, _ in self._slots]
        try:
            for holder, name, number in self._slots:
                holder[name] = state[number]
            yield self._skeleton[0]
        finally:
            for holder, name, value in before:
                holder[name] = value

    def _one(self, state: list[Tensor], inputs: Tensor) -> Tensor:
        """One network's outputs."""
        with self._filled(state) as network:
            return network(inputs)

    def _features(self, state: list[Tensor], inputs: Tensor) -> Tensor:
        with self._filled(state) as network:
            return network.features(inputs)

    def _each(self, method: Callable[..., Any], state: list[Tensor], *given: Any) -> Any:
        """A method of one network for all members, at once or in turn; ``given`` and its answers are trees of ``[M, ...]``."""
        if self.stack:
            return vmap(method)(state, *given)
        own = [tree_map(lambda tensor, m=m: tensor[m], (state, *given)) for m in range(self.members)]
        return tree_map(lambda *tensors: torch.stack(tensors), *[method(*each) for each in own])

    def _in_turn(self, state: list[Tensor], inputs: Tensor) -> Tensor:
        if self.members == 1:
            return self._one([value.squeeze(0) for value in state], inputs.squeeze(0)).unsqueeze(0)
        # unbind, not indexing: its backward is one stack, where indexing would add up M zero-filled gradients.
        each = zip(*(value.unbind(0) for value in state), strict=True)
        return torch.stack([self._one(own, inputs[m]) for m, own in enumerate(each)])

    def finite(self) -> Tensor:
        """Whose parameters are all finite, bool ``[M]``."""
        return torch.stack([value.isfinite().reshape(self.members, -1).all(1) for value in self._parameters.values()]).all(0)

    def snapshot(self) -> list[Tensor]:
        """Copies of what forward passes change (running statistics)."""
        return [buffer.clone() for buffer in self._buffers.values()]

    def restore(self, snapshot: list[Tensor], active: Tensor) -> None:
        """Put the snapshot back for the members that are not ``active`` ``[M]``; between forward and backward pass too."""
        for (name, buffer), old in zip(self._buffers.items(), snapshot, strict=True):
            # A new tensor: autograd saved the old one for the backward pass of batch normalisation.
            self._buffers[name] = torch.where(active.view(-1, *[1] * (buffer.dim() - 1)), buffer, old)

    def member(self, index: int) -> dict[str, Tensor]:
        """One member's parameters and buffers under the network's own names, as ``load_state_dict`` takes them."""
        return {name.replace(DOT, "."): value[index].detach().clone() for name, value in self.state_dict().items()}


def one_network(make: Callable[[], nn.Module], seed: int, own_seed: int) -> nn.Module:
    """A member's network as it is at first: initialised from ``seed``, its dropout masks those of the member ``own_seed``."""
    network = _initialised(make, seed)
    _key_dropout(network, own_seed)
    return network


def why_not_stacked(make: Callable[[], nn.Module], inputs: Tensor) -> str | None:
    """Why this network cannot be run under ``vmap``, in the library's words; None where it can. ``inputs`` ``[B, ...]``."""
    try:
        population = Population(make, [0, 1], stack=True)
        population.train()
        population(torch.stack([inputs, inputs])).sum().backward()
    except RuntimeError as error:
        return str(error).strip().splitlines()[0]
    return None


def _linear_weights(network: nn.Module) -> set[str]:
    """Names of the weights ``[out, in]`` of linear layers."""
    return {f"{name}.weight".lstrip(".") for name, module in network.named_modules() if type(module) is nn.Linear}


def _slots(network: nn.Module, skeleton: nn.Module, names: list[str]) -> list[tuple[dict, str, int]]:
    """Where each tensor belongs: (a submodule's dictionary, key, position in ``names``), shared ones at every place.

    What is shared is seen in the network alone: on its way to `meta` the skeleton's tensors went apart.
    """
    named = [*network.named_parameters(), *network.named_buffers()]
    number = {id(tensor): names.index(name) for name, tensor in named}
    return [
        (holder, key, number[id(tensor)])
        for module, empty in zip(network.modules(), skeleton.modules(), strict=True)
        for own, holder in ((module._parameters, empty._parameters), (module._buffers, empty._buffers))
        for key, tensor in own.items()
        if tensor is not None
    ]


def _widen_normalisation(skeleton: nn.Module, dtype: torch.dtype) -> set[str]:
    """Have batch normalisation compute in the precision of its statistics, float32, between layers in ``dtype``; the names of
    its parameters."""
    wide = set()
    for path, module in skeleton.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(lambda _module, inputs: (inputs[0].float(),))
            module.register_forward_hook(lambda _module, _inputs, output: output.to(dtype))
            wide |= {f"{path}.{name}".lstrip(".").replace(".", DOT) for name in module._parameters}
    return wide


def _initialised(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "initialisation"))
        return make()


def _key_dropout(network: nn.Module, seed: int) -> None:
    """Give every dropout layer of the lab its member's key; torch's own would share masks or depend on the company."""
    for number, (name, module) in enumerate(network.named_modules()):
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            kind = type(module).__name__
            advice = "use lab.networks.Dropout, whose masks belong to the member"
            raise UserError(f"network: layer {name} is torch's {kind}; {advice}")
        if hasattr(module, "key") and hasattr(module, "clock"):
            module.key.copy_(member_keys([seed], f"dropout/{number}")[0])
