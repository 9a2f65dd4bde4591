"""Does a computation make the host wait for the device? Found out on machines that have none.

Three nets of different mesh: on the ``meta`` device there are no values, so reading one raises; fake CUDA tensors
(:class:`FakeTensorMode`) have a device but no values either, and show copies that ``meta`` hides; :class:`OneDevice`, put
over both, refuses by name what neither minds - index tensors left on the CPU, copies to and fro - and says it in words.
None of them sees a ``.cpu()`` of a tensor that is on the CPU by mistake; a real GPU under
``torch.cuda.set_sync_debug_mode("error")`` does.
"""

from __future__ import annotations

import linecache
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lab.errors import UserError
from lab.optimizers import StackedOptimizer

_VALUE = "reads a tensor's value (a Python branch on a tensor, .item(), float(), int(), bool(), printing one)"
_SHAPE = (
    "makes a tensor whose shape depends on values (a boolean mask as an index, nonzero, unique); "
    "use torch.where, or a weight of 0"
)
READS = {
    "_local_scalar_dense": _VALUE,
    "equal": "compares whole tensors on the host (torch.equal); compare element by element",
    "allclose": "compares whole tensors on the host (torch.allclose); compare element by element",
    "nonzero": _SHAPE,
    "masked_select": _SHAPE,
    "_unique": _SHAPE,
    "_unique2": _SHAPE,
    "unique_dim": _SHAPE,
    "unique_consecutive": _SHAPE,
    "bincount": "makes a tensor whose shape depends on values (bincount); use zeros(...).scatter_add_",
    "_linalg_check_errors": "checks for errors on the host (torch.linalg.solve, inv, cholesky, ...); use its _ex variant",
}
"""ATen operations that need a value on the host, and what is wrong with them."""


class ContractError(AssertionError):
    """What a strategy does against the contract, in words."""


class OneDevice(TorchDispatchMode):
    """Refuses operations that read values back, and operations across devices (0-dim CPU tensors are exempt: they travel
    as arguments of a kernel).

    Raises:
        ContractError: naming the line at fault: the innermost one outside torch and the lab, or the lab's own.
    """

    def __enter__(self):
        self._depth = len(traceback.extract_stack())
        return super().__enter__()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        namespace, _, name = func._schema.name.partition("::")
        if namespace == "aten":
            wrong = self._wrong(name, func._overloadname, args, kwargs)
            if wrong:
                raise ContractError(f"{wrong}, at {innermost(traceback.extract_stack()[self._depth :])}")
        return func(*args, **kwargs)

    @staticmethod
    def _wrong(name: str, overload: str, args: tuple, kwargs: dict) -> str | None:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        devices = {tensor.device.type for tensor in tensors if tensor.dim() or tensor.device.type != "cpu"}
        if name in READS and devices != {"cpu"}:
            return READS[name]
        if name == "repeat_interleave" and overload == "Tensor" and kwargs.get("output_size") is None:
            return _SHAPE
        if name in ("index", "index_put", "index_put_") and any(
            t.dtype in (torch.bool, torch.uint8) for t in tree_leaves(args[1]) if isinstance(t, Tensor)
        ):
            # x[mask] = 0 is a masked fill; on `meta` the number is a meta tensor, where a device would get it from the host.
            filled = name != "index" and args[2].dim() == 0 and args[2].device.type in ("cpu", "meta")
            return None if filled else _SHAPE
        if name in ("_to_copy", "copy_") and tensors:  # a number beside a member's own one is no tensor
            to = torch.device(kwargs.get("device") or tensors[0].device).type
            if devices | {to} == {"cpu"} or not devices:
                return None
            return f"copies a tensor from {tensors[-1].device.type} to {to}" if devices != {to} else None
        if len(devices) > 1:
            which = " and ".join(sorted(devices))
            return f"mixes devices ({which}): a tensor or index was made on the CPU; make it a buffer, or give device="
        return None


def innermost(frames: traceback.StackSummary) -> str:
    """The line at fault in words: the innermost outside torch and the lab, else the innermost of the lab."""
    ours = [f for f in frames if not _within(f.filename, torch) and not f.filename.startswith(str(Path(__file__).parent))]
    own = [f for f in ours if not _within(f.filename, sys.modules["lab"])]
    if not (own or ours):
        return "an unknown place"
    frame = (own or ours)[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}: {linecache.getline(frame.filename, frame.lineno).strip()}"


def _within(filename: str, package: Any) -> bool:
    return filename.startswith((str(Path(package.__file__).parent), "<"))


def move(module: nn.Module, convert: Callable[[Tensor], Tensor], optimizer: StackedOptimizer | None = None) -> None:
    """Put all parameters and buffers, and what the optimiser holds, through ``convert``, in place.

    ``Module.to`` does not serve: it keeps no optimiser, and fake tensors cannot take a parameter's place.
    """
    new: dict[Tensor, nn.Parameter] = {}
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                new[parameter] = part._parameters[name] = nn.Parameter(convert(parameter.detach()), parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = convert(buffer)
    if optimizer is not None:
        optimizer.param_groups[0]["params"] = [new[p] for p in optimizer.param_groups[0]["params"]]
        for old in list(optimizer.state):
            optimizer.state[new[old]] = {key: convert(value) for key, value in optimizer.state.pop(old).items()}
        for key, value in optimizer.values.items():
            optimizer.values[key] = convert(value) if isinstance(value, Tensor) else value


def to_meta(tensor: Tensor) -> Tensor:
    """The tensor without its values."""
    return tensor.to("meta")


def to_fake_cuda(mode: FakeTensorMode) -> Callable[[Tensor], Tensor]:
    """What makes CUDA tensors without values like CPU ones; to be called outside of ``mode``."""

    def convert(tensor: Tensor) -> Tensor:
        with mode:
            return torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")

    return convert


@contextmanager
def in_words(doing: str) -> Iterator[None]:
    """Turn any exception but the user's and ours into a :class:`ContractError`: what failed, why and where."""
    try:
        yield
    except (ContractError, UserError):
        raise
    except Exception as error:
        why = str(error).strip().split("\n")[0] or type(error).__name__
        raise ContractError(f"{doing}: {why}, at {innermost(traceback.extract_tb(error.__traceback__))}") from error
