"""What strategies hold outside of what a checkpoint saves, made comparable."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lab.learner import ContinualLearner
from lab.population import Population
from lab.stream import Blocks

_MODULE = frozenset(vars(nn.Module())) | {"loss", "extend", "update_scale", "rehearse"}
_OPAQUE = (ContinualLearner, Population, Blocks)


def memories(learner: ContinualLearner) -> dict[str, Any]:
    """All that strategies hold outside of what a checkpoint saves, by name: plain attributes and unsaved buffers."""
    found = {}
    for strategy in learner.strategies:
        for path, module in strategy.named_modules():
            prefix = f"{type(strategy).__name__}.{path + '.' if path else ''}"
            kept = {name: value for name, value in vars(module).items() if name not in _MODULE}
            kept |= {name: module._buffers[name] for name in module._non_persistent_buffers_set}
            found |= {f"{prefix}{name} ({type(value).__name__})": plain(value) for name, value in kept.items()}
    return found


def plain(value: Any, depth: int = 6) -> Any:
    """A value as it is now, comparable later."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy()) if value.dtype.kind in "biuf" else value.tolist()
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, random.Random):
        return value.getstate()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if depth == 0 or callable(value) or isinstance(value, (*_OPAQUE, nn.Module)):
        return None
    if isinstance(value, dict):
        return {str(key): plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return [plain(item, depth - 1) for item in value]
    if is_dataclass(value) or hasattr(value, "__dict__"):
        return {key: plain(item, depth - 1) for key, item in vars(value).items()}
    return None


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return same_bits(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or a != a)


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether all values are equal, NaN to NaN."""
    return a.shape == b.shape and a.dtype == b.dtype and bool(((a == b) | ((a != a) & (b != b))).all())
