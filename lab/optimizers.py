"""SGD, Adam and AdamW on stacked parameters ``[M, ...]``: exactly M separate optimisers, stepped at once.

``torch.optim`` is not used because it holds one learning rate and one step count for all members; here every
hyperparameter may be one number or one a member, a member may sit a step out (``active``), and strategies may scale the
update of single weights (``scale``) - the update, not the gradient, since Adam cancels a gradient's scale (ADR 2).

Torch's fused kernels take every member's slices of the leaves by themselves. On a CPU memory is passed over once, whoever rests
is left out, and what a member gets does not depend on its company or on who rested before. On a CUDA device, where values must
not be read, all members take the step and those who rest get back what they had. Where no fused kernel serves there, since
members have hyperparameters of their own, and elsewhere, foreach operations do.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lab.errors import require

Value = float | Sequence[float]
Who = list[tuple[slice, dict[str, float]]]
"""Who takes a step: the places of their slices, and their hyperparameters."""


def per_member(key: str, value: Value, members: int, below: float = float("inf")) -> float | Tensor:
    """A hyperparameter in [0, ``below``) as a float, or as float64 ``[M]`` where a list gives one for each member."""
    numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    sound = all(isinstance(n, (int, float)) and not isinstance(n, bool) and 0 <= n < below for n in numbers)
    wanted = "a number from 0 on" if below == float("inf") else f"a number in [0, {below:g})"
    require(sound and len(numbers) in (1, members), key, value, f"{wanted}, or a list of {members} (one a member)")
    return float(numbers[0]) if len(numbers) == 1 else torch.tensor(numbers, dtype=torch.float64)


class StackedOptimizer(torch.optim.Optimizer):
    """What the three share: per-member values, members that sit out, and scaled updates."""

    def __init__(self, parameters: dict[str, nn.Parameter], **values: Value):
        self.names = list(parameters)
        self.members = len(next(iter(parameters.values())))
        self.values = {
            key: per_member(f"optimizer.{key}", value, self.members, 1 if key.startswith("beta") else float("inf"))
            for key, value in values.items()
        }
        super().__init__(list(parameters.values()), {})
        self._each = [{key: _of(value, m) for key, value in self.values.items()} for m in range(self.members)]
        self._own_slices: tuple[list[int], list[list[Tensor]] | None] = ([], None)
        self.active: Tensor | None = None
        """Bool ``[M]``: who takes the next step; None for everyone."""
        self.scale: dict[str, Tensor] | None = None
        """Factors on the next update, by parameter name."""
        self.rate: float | Tensor = 1.0
        """What a schedule multiplies the learning rate by: a number or ``[M]``."""

    keeps: tuple[str, ...] = ()
    """What it remembers of every parameter, by name."""

    def directions(self, parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """The updates for a learning rate of 1, signed so that they are to be subtracted."""
        raise NotImplementedError

    def fused(self, slices: list[list[Tensor]], values: dict[str, float]) -> None:
        """One step of torch's fused kernel on slices of parameters, of gradients, and of each of what it ``keeps``."""
        raise NotImplementedError

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As torch's, without a record for profilers: it is called at every step."""
        for p in self.param_groups[0]["params"]:
            p.grad = None if set_to_none or p.grad is None else torch.zeros_like(p.grad)

    def reset(self) -> None:
        """Forget all momentum and counts."""
        self.state.clear()
        self._own_slices = ([], None)

    @torch.no_grad()
    def step(self, closure=None):
        loss = closure() if closure is not None else None
        named = [(n, p) for n, p in zip(self.names, self.param_groups[0]["params"], strict=True) if p.grad is not None]
        parameters = [p for _, p in named]
        slices = self._slices(parameters)
        if slices is not None and self._may_read(parameters):
            self._step_fused(named, slices, self._who())
            return loss
        before = self._tensors(parameters) if self.active is not None else None
        before = [tensor.clone() for tensor in before] if before is not None else None
        if slices is None:
            self._step_together(named)
        else:
            self._step_fused(named, slices, self._everyone())
        if before is not None:
            self._restore(parameters, before)
        return loss

    # --- by fused kernels ---------------------------------------------------------------------------------------------

    def _step_fused(self, named: list[tuple[str, Tensor]], slices: list[list[Tensor]], who: Who) -> None:
        scaled = [(p, p.clone(), self.scale[n]) for n, p in named if self.scale and n in self.scale]
        gradients = [p.grad if p.grad.stride() == p.stride() else torch.empty_like(p).copy_(p.grad) for _, p in named]
        slices = [slices[0], _rows(gradients), *slices[1:]]
        self._count([p for _, p in named])
        for places, values in who:
            self.fused([each[places] for each in slices], values)
        for parameter, before, scale in scaled:
            torch.lerp(before, parameter, scale.to(parameter.dtype), out=parameter)

    def _slices(self, parameters: list[Tensor]) -> list[list[Tensor]] | None:
        """Every member's slices of the parameters and of what is kept of each: those of the first leaf, of the second, ...

        None where no kernel serves or members do not lie in blocks. Kept for the next step, since a view costs a microsecond.
        """
        if not parameters or not self._has_kernels(parameters):
            return None
        self._prepare(parameters)
        columns = [parameters, *([self.state[p][name] for p in parameters] for name in self.keeps)]
        places = [tensor.data_ptr() for column in columns for tensor in column]
        if places != self._own_slices[0]:
            alike = all(_in_members(p) and _lie_alike(p, *self.state[p].values()) for p in parameters)
            self._own_slices = (places, [_rows(column) for column in columns] if alike else None)
        return self._own_slices[1]

    def _has_kernels(self, parameters: list[Tensor]) -> bool:
        """They take their numbers from the host: off the CPU, all members have the same ones or have no kernel. What only
        looks like a tensor (a fake one) has none."""
        if self._may_read(parameters):
            return True
        plain = parameters[0].device.type in ("cpu", "cuda") and type(parameters[0]) in (Tensor, nn.Parameter)
        return plain and self._are_alike()

    def _may_read(self, parameters: list[Tensor]) -> bool:
        """Whether reading a value costs nothing: on a CPU."""
        return parameters[0].device.type == "cpu"

    def _are_alike(self) -> bool:
        return not isinstance(self.rate, Tensor) and all(own == self._each[0] for own in self._each)

    def _count(self, parameters: list[Tensor]) -> None:
        """Count the step, for those who take it."""

    def _everyone(self) -> Who:
        return [(slice(None), self._at(0, self.rate))]

    def _who(self) -> Who:
        """Who takes the step; all in one where their hyperparameters are alike."""
        if self.active is None and self._are_alike():
            return self._everyone()
        active = [True] * self.members if self.active is None else self.active.tolist()
        rates = self.rate.tolist() if isinstance(self.rate, Tensor) else [self.rate] * self.members
        members = [m for m in range(self.members) if active[m]]
        return [(slice(m, None, self.members), self._at(m, rates[m])) for m in members]

    def _at(self, member: int, rate: float) -> dict[str, float]:
        """A member's hyperparameters at a rate."""
        own = self._each[member]
        return own | {"lr": own["lr"] * rate}

    # --- by foreach operations ----------------------------------------------------------------------------------------

    def _step_together(self, named: list[tuple[str, Tensor]]) -> None:
        parameters = [p for _, p in named]
        self._place_values(self.param_groups[0]["params"][0])
        updates = self.directions(parameters, [p.grad for p in parameters])
        if self.scale:
            updates = [u * self.scale[n] if n in self.scale else u for (n, _), u in zip(named, updates, strict=True)]
        self._descend(parameters, updates)

    def _descend(self, parameters: list[Tensor], updates: list[Tensor]) -> None:
        lr = self.values["lr"] * self.rate
        if isinstance(lr, float):
            torch._foreach_add_(parameters, updates, alpha=-lr)
        else:
            torch._foreach_sub_(parameters, torch._foreach_mul(updates, self._spread(lr, parameters)))

    def _place_values(self, parameter: Tensor) -> None:
        """Have the lists of values where the parameters are, once: a step must not copy from the host."""
        for key, value in self.values.items():
            if isinstance(value, Tensor) and (value.device != parameter.device or value.dtype != parameter.dtype):
                self.values[key] = value.to(parameter)

    def _spread(self, value: float | Tensor, parameters: list[Tensor]) -> float | list[Tensor]:
        """A value as foreach operations take it: the float, or ``[M, 1, ...]`` for every parameter."""
        if not isinstance(value, Tensor):
            return value
        return [value.to(p.device, p.dtype).view(-1, *[1] * (p.dim() - 1)) for p in parameters]

    def _memory(self, parameters: list[Tensor], name: str) -> list[Tensor]:
        """The state ``name`` of every parameter, zeros at first."""
        for p in parameters:
            if name not in self.state[p]:
                self.state[p][name] = torch.zeros_like(p)
        return [self.state[p][name] for p in parameters]

    def _tensors(self, parameters: list[Tensor]) -> list[Tensor]:
        """Everything a step changes."""
        self._prepare(parameters)
        return [*parameters, *(tensor for p in parameters for tensor in self.state[p].values())]

    def _prepare(self, parameters: list[Tensor]) -> None:
        """Make the state that the first step would make."""
        for name in self.keeps:
            self._memory(parameters, name)

    def _restore(self, parameters: list[Tensor], before: list[Tensor]) -> None:
        for tensor, old in zip(self._tensors(parameters), before, strict=True):
            active = self.active.view(-1, *[1] * (tensor.dim() - 1))
            tensor.copy_(torch.where(active, tensor, old))

    def _decayed(self, parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """Gradients with L2 decay, ``g + weight_decay p``."""
        decay = self._spread(self.values["weight_decay"], parameters)
        if isinstance(decay, float):
            return torch._foreach_add(gradients, parameters, alpha=decay) if decay else gradients
        return torch._foreach_add(gradients, torch._foreach_mul(parameters, decay))


class SGD(StackedOptimizer):
    """Stochastic gradient descent with momentum and L2 decay, as ``torch.optim.SGD`` (dampening 0)."""

    def __init__(self, parameters, lr: Value = 0.1, momentum: Value = 0.0, weight_decay: Value = 0.0, nesterov: bool = False):
        require(isinstance(nesterov, bool), "optimizer.nesterov", nesterov, "true or false")
        none = not any(momentum) if isinstance(momentum, Sequence) else not momentum
        require(not (nesterov and none), "optimizer.nesterov", nesterov, "false where optimizer.momentum is 0")
        super().__init__(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay)
        self.nesterov = nesterov
        self.keeps = () if none else ("momentum",)

    def fused(self, slices, values):
        parameters, gradients, *velocity = slices
        velocity = velocity[0] if values["momentum"] else []
        rest = {"dampening": 0.0, "nesterov": self.nesterov, "maximize": False, "is_first_step": False}
        torch._fused_sgd_(parameters, gradients, velocity, **values, **rest)

    def directions(self, parameters, gradients):
        gradients = self._decayed(parameters, gradients)
        momentum = self._spread(self.values["momentum"], parameters)
        if isinstance(momentum, float) and not momentum:
            return gradients
        velocity = self._memory(parameters, "momentum")
        torch._foreach_mul_(velocity, momentum)
        torch._foreach_add_(velocity, gradients)
        if self.nesterov:
            return torch._foreach_add(gradients, torch._foreach_mul(velocity, momentum))
        return velocity


class Adam(StackedOptimizer):
    """Adam (Kingma & Ba 2015) with L2 decay, as ``torch.optim.Adam``; every member has its own step count."""

    decoupled = False
    keeps = ("mean", "square", "count")

    def __init__(
        self,
        parameters,
        lr: Value = 1e-3,
        beta1: Value = 0.9,
        beta2: Value = 0.999,
        eps: Value = 1e-8,
        weight_decay: Value = 0.0,
    ):
        super().__init__(parameters, lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay)

    def _prepare(self, parameters):
        for p in parameters:
            count = self.state[p].get("count")
            if count is None:
                self.state[p]["count"] = torch.zeros(self.members, dtype=torch.float32, device=p.device)
            elif count.dtype != torch.float32:
                # Torch casts what it loads to the parameter's type, and a card's kernel reads a count as float32 unasked.
                self.state[p]["count"] = count.float()
        super()._prepare(parameters)

    def _count(self, parameters):
        counts = [self.state[p]["count"] for p in parameters]
        if self.active is None or not self._may_read(parameters):
            torch._foreach_add_(counts, 1.0)
        else:
            torch._foreach_add_(counts, [self.active.float()] * len(counts))

    def fused(self, slices, values):
        kernel = torch._fused_adamw_ if self.decoupled else torch._fused_adam_
        parameters, gradients, mean, square, count = slices
        kernel(parameters, gradients, mean, square, [], count, **values, amsgrad=False, maximize=False)

    def directions(self, parameters, gradients):
        self._prepare(parameters)
        counts = [self.state[p]["count"] for p in parameters]
        torch._foreach_add_(counts, 1.0)
        beta1, beta2 = self.values["beta1"], self.values["beta2"]
        gradients = gradients if self.decoupled else self._decayed(parameters, gradients)
        mean, square = self._memory(parameters, "mean"), self._memory(parameters, "square")
        self._average(mean, gradients, beta1)
        self._average(square, torch._foreach_mul(gradients, gradients), beta2)
        steps = torch.stack(counts).double()  # [P, M]; in float32, 1 - 0.999 has but four good digits
        correct1, correct2 = 1 - beta1**steps, 1 - beta2**steps
        scaled = torch._foreach_sqrt(square)
        torch._foreach_mul_(scaled, _spread_each(correct2.rsqrt(), parameters))
        torch._foreach_add_(scaled, self._spread(self.values["eps"], parameters))
        updates = torch._foreach_div(mean, scaled)
        torch._foreach_mul_(updates, _spread_each(1 / correct1, parameters))
        return self._decayed(parameters, updates) if self.decoupled else updates

    def _average(self, averages: list[Tensor], news: list[Tensor], beta: float | Tensor) -> None:
        beta = self._spread(beta, averages)
        if isinstance(beta, float):
            torch._foreach_lerp_(averages, news, 1 - beta)
        else:
            torch._foreach_lerp_(averages, news, torch._foreach_mul(torch._foreach_sub(beta, 1.0), -1.0))


class AdamW(Adam):
    """Adam with decoupled decay (Loshchilov & Hutter 2019), as ``torch.optim.AdamW``."""

    decoupled = True

    def __init__(
        self,
        parameters,
        lr: Value = 1e-3,
        beta1: Value = 0.9,
        beta2: Value = 0.999,
        eps: Value = 1e-8,
        weight_decay: Value = 0.01,
    ):
        super().__init__(parameters, lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay)


def _in_members(parameter: Tensor) -> bool:
    """Whether every member's part is a block of memory without gaps; its axes may lie in any order."""
    dense = torch.empty_like(parameter).stride() == parameter.stride()  # which is what ``empty_like`` keeps
    return dense and parameter.stride(0) * len(parameter) == parameter.numel()


def _lie_alike(parameter: Tensor, *states: Tensor) -> bool:
    """Whether states lie in memory as their parameter does; those of one number a member have no choice."""
    return all(state.stride() == parameter.stride() or state.dim() == 1 for state in states)


def _rows(tensors: list[Tensor]) -> list[Tensor]:
    """Every member's part of each tensor as a row of memory ``[N]``: of the first tensor all members', and so on."""
    members = len(tensors[0])
    sizes = [tensor.numel() // members for tensor in tensors]
    blocks = [tensor.as_strided((members, size), (size, 1)) for tensor, size in zip(tensors, sizes, strict=True)]
    return [row for block in blocks for row in block.unbind()]


def _spread_each(values: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    """``[P, M]``, a value for each parameter and member, as foreach operations take it: ``[M, 1, ...]`` for every parameter."""
    rows = values.to(parameters[0].dtype).unbind()
    return [row.view(-1, *[1] * (p.dim() - 1)) for row, p in zip(rows, parameters, strict=True)]


def _of(value: float | Tensor, member: int) -> float:
    return float(value[member]) if isinstance(value, Tensor) else value


def clip_by_member(parameters: list[Tensor], limit: float | Tensor) -> None:
    """Scale each member's gradient to a norm of at most ``limit``, as ``torch.nn.utils.clip_grad_norm_`` does for one model."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norms = torch.stack([g.reshape(len(g), -1).norm(dim=1) for g in gradients], 1).norm(dim=1)
    factor = (limit / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor.view(-1, *[1] * (gradient.dim() - 1)))
