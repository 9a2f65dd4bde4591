"""A population cut down, at a task's end, to those of its members that are worth training on.

What is cut is a checkpoint: it holds all that a run goes on from, so who is left goes on as if the run had been stopped there,
in a learner made for them alone. Sums over samples keep the widths that they had (``Course.crowd``); on a CPU every number is
then, to the bit, what it would have been in a population from which nobody was cut (a check of :mod:`lab.testing`), as long as
two are left, and among them who has the longest tasks: one network alone may be convolved by other kernels, and batches padded
to the longest (`icarl`) added up in another order.

Which axis of a tensor is the members' is seen by laying the state of the many beside the state of the few.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lab.learner import ContinualLearner
from lab.training import WholeCheckpoints


def cut(checkpoint: dict[str, Any], learner: ContinualLearner) -> dict[str, Any]:
    """The checkpoint (as Lightning has it) of those members alone that a ``learner`` was made for; all of its are in it.

    Raises:
        RuntimeError: a buffer has not one axis for members and else the same shape.
    """
    before, left = checkpoint["members"], learner.places[0]
    keep = torch.tensor([before.index(member) for member in left])
    state = {
        name: _kept(name, checkpoint["state_dict"][name], keep, value.shape) for name, value in learner.state_dict().items()
    }
    optimizers = [_of_optimizer(each, keep) for each in checkpoint["optimizer_states"]]
    return checkpoint | {"state_dict": state, "optimizer_states": optimizers, "members": left}


def cut_file(path: Path, learner: ContinualLearner) -> None:
    """Have a checkpoint's file hold those members alone that a learner was made for; one that does is left as it is."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    if content["members"] != learner.places[0]:
        WholeCheckpoints().save_checkpoint(cut(content, learner), path)


def _of_optimizer(state: dict[str, Any], keep: Tensor) -> dict[str, Any]:
    """An optimiser's state; all of it leads with the members' axis."""
    own = {
        number: {name: _kept(name, value, keep, value.shape and (len(keep), *value.shape[1:])) for name, value in each.items()}
        for number, each in state["state"].items()
    }
    return state | {"state": own}


def _kept(name: str, value: Tensor, keep: Tensor, shape: torch.Size) -> Tensor:
    """What of a tensor belongs to the members ``keep``, where that is to be of this shape."""
    axes = [axis for axis, (many, few) in enumerate(zip(value.shape, shape, strict=True)) if many != few]
    if not axes:  # nobody's own
        return value
    if len(axes) > 1 or shape[axes[0]] != len(keep):
        told = f"it has shape {list(value.shape)}, and {list(shape)} for {len(keep)} members"
        raise RuntimeError(f"members cannot be cut from {name}: {told}; pad to the longest of learner.course.crowd")
    # As they lie in memory: stacked weights are transposed there, and kernels go by it.
    order = sorted(range(value.dim()), key=value.stride, reverse=True)
    taken = value.permute(order).index_select(order.index(axes[0]), keep)
    return taken.permute([order.index(axis) for axis in range(value.dim())])
