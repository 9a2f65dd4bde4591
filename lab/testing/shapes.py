"""Do a strategy's hooks give what the contract says, of the shapes that it says? Looked at while it trains."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from lab.protocols import Batch, Steps, Strategy
from lab.testing.device import ContractError
from lab.testing.subject import kind


def watch_shapes(strategy: Strategy, members: int, leaves: dict[str, nn.Parameter]) -> None:
    """Have a strategy's hooks check what they give, from now on."""
    who, loss, extend = kind(strategy), strategy.loss, strategy.extend
    scale, rehearse = strategy.update_scale, strategy.rehearse
    strategy.loss = lambda *given: _loss(who, loss(*given), members)
    strategy.extend = lambda learner, batch: _extended(who, extend(learner, batch), batch, members)
    strategy.rehearse = lambda learner, steps: _rehearsed(who, rehearse(learner, steps), steps)
    strategy.update_scale = lambda *given: _scales(who, scale(*given), leaves)


def _loss(who: str, term: Any, members: int) -> Any:
    if term is not None and term.shape != (members,):
        raise ContractError(
            f"{who}.loss returned shape {list(term.shape)}; expected [{members}], one value a member: average over "
            "samples, not over members"
        )
    return term


def _extended(who: str, extended: Batch, batch: Batch, members: int) -> Batch:
    for part in fields(Batch):
        value = getattr(extended, part.name)
        if isinstance(value, Tensor) and value.shape[:1] != (members,):
            raise ContractError(
                f"{who}.extend gave a batch whose {part.name} have shape {list(value.shape)}; expected [{members}, ...]"
            )
    if extended.current != batch.current:
        raise ContractError(f"{who}.extend changed how many of the batch's columns are current; new samples go behind them")
    return extended


def _rehearsed(who: str, longer: Steps, steps: Steps) -> Steps:
    own = steps.examples.shape
    for part in ("examples", "tasks", "weights"):
        value = getattr(longer, part)
        if value is not None and value.shape[:2] != own[:2]:
            raise ContractError(
                f"{who}.rehearse gave steps whose {part} have shape {list(value.shape)}; expected [{own[0]}, {own[1]}, ...]"
            )
    if longer.current != steps.current or not torch.equal(longer.examples[..., : own[2]], steps.examples):
        raise ContractError(f"{who}.rehearse changed the samples that were there; new ones go behind them (steps.join)")
    return longer


def _scales(who: str, scales: dict[str, Tensor] | None, leaves: dict[str, nn.Parameter]) -> dict[str, Tensor] | None:
    for name, factor in (scales or {}).items():
        if name not in leaves:
            raise ContractError(f"{who}.update_scale names {name}, which is no parameter; there are {', '.join(leaves)}")
        target = leaves[name].shape
        fits = factor.dim() == len(target) and all(a in (1, b) for a, b in zip(factor.shape, target, strict=True))
        if not fits:
            raise ContractError(
                f"{who}.update_scale gives {name} shape {list(factor.shape)}; expected {list(target)}, or 1 in its places"
            )
    return scales
