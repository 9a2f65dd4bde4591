"""M networks of one architecture as one module: stacked parameters ``[M, ...]``, run at once or member by member."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import stack_module_state, vmap

from lab.errors import UserError
from lab.seeding import derive, member_keys

_DOT = "/"  # parameter names of a module may not contain dots


class Population(nn.Module):
    """``population(inputs [M, B, ...]) -> logits [M, B, ..., C]``, every member on its own inputs.

    Args:
        make: builds one network; called once for each seed, with torch's global generator seeded for it.
        seeds: the initialisation seed of each member.
        stack: run all members at once under ``vmap``, or one after the other; same parameters, same interface.
        dtype: what the networks compute in. Parameters stay float32 (float64 for float64) whatever this is.
        own_seeds: of the members, for their dropout masks; None for ``seeds``.
    """

    def __init__(
        self,
        make: Callable[[], nn.Module],
        seeds: list[int],
        stack: bool = True,
        dtype: torch.dtype = torch.float32,
        own_seeds: list[int] | None = None,
    ):
        super().__init__()
        networks = [_initialised(make, seed) for seed in seeds]
        for number, network in enumerate(networks):
            _key_dropout(network, (own_seeds or seeds)[number])
        self.dtype, self.stack, self.members = dtype, stack, len(seeds)
        parameters, buffers = stack_module_state(networks)
        keep = self.precise
        turned = _linear_weights(networks[0]) if stack else set()
        for name, value in parameters.items():
            value = value.detach().to(keep)
            value = value.mT.contiguous().mT if name in turned else value
            self.register_parameter(name.replace(".", _DOT), nn.Parameter(value))
        for name, value in buffers.items():
            self.register_buffer(name.replace(".", _DOT), value.to(keep) if value.is_floating_point() else value)
        self.clocks = [name for name in self._buffers if name.split(_DOT)[-1] == "clock"]
        # The skeleton gives structure alone; in a list, so that its parameters are not the population's.
        self._skeleton = [copy.deepcopy(networks[0]).to("meta")]
        self._slots = _slots(networks[0], self._skeleton[0], [*parameters, *buffers])
        self._wide = _widen_normalisation(self._skeleton[0], dtype) if dtype == torch.bfloat16 else set()

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

    def train(self, mode: bool = True) -> Population:
        self._skeleton[0].train(mode)
        return super().train(mode)

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.is_floating_point():
            inputs = inputs.to(self.dtype)
        state = self._state()
        outputs = vmap(self._one)(state, inputs) if self.stack else self._in_turn(state, inputs)
        return outputs.float() if outputs.dtype == torch.bfloat16 else outputs

    def _state(self) -> list[Tensor]:
        """Parameters in the dtype of the computation, then buffers: what the skeleton's slots are filled with."""
        if self.dtype != torch.bfloat16:
            return [*self._parameters.values(), *self._buffers.values()]
        narrow = (p if name in self._wide else p.to(self.dtype) for name, p in self._parameters.items())
        return [*narrow, *self._buffers.values()]

    def _one(self, state: list[Tensor], inputs: Tensor) -> Tensor:
        """One network's outputs: `torch.func.functional_call` without its search for names at every call."""
        before = [(holder, name, holder[name]) for holder, name, _ in self._slots]
        try:
            for holder, name, number in self._slots:
                holder[name] = state[number]
            return self._skeleton[0](inputs)
        finally:
            for holder, name, value in before:
                holder[name] = value

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
        return {name.replace(_DOT, "."): value[index].detach().clone() for name, value in self.state_dict().items()}


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
            wide |= {f"{path}.{name}".lstrip(".").replace(".", _DOT) for name in module._parameters}
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
