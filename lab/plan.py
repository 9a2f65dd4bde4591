"""How a population is computed: stacked or in turn, in how many processes. Settled once for a run directory and kept there,
since another plan means other kernels and other bits."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lab.errors import UserError, invalid
from lab.population import Population, why_not_stacked
from lab.results import write_whole


@dataclass(frozen=True)
class Plan:
    """``why`` says in words what decided."""

    stack: bool
    processes: int
    threads: int
    block: int
    why: str


def settled(folder: Path, settle: Callable[[], Plan]) -> Plan:
    """The plan kept in the run directory, or a new one, kept from now on."""
    path = folder / "plan.json"
    if path.exists():
        return Plan(**json.loads(path.read_text()))
    plan = settle()
    write_whole(path, lambda file: file.write(json.dumps(asdict(plan)).encode()))
    return plan


def settle(wish: dict, make: Callable[[], nn.Module], inputs: Tensor, members: int, steps: int, device: str) -> Plan:
    """Settle what ``plan=`` leaves open (``auto``) by a short measurement.

    Args:
        inputs: one member's batch ``[B, ...]``, to measure with.
        steps: of the whole run.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    refusal = why_not_stacked(make, inputs)
    if refusal and "randomness" in refusal:
        raise UserError("network: draws random numbers by itself (functional dropout?); use lab.networks.Dropout, whose masks belong to the member")
    if wish["stack"] is True and refusal:
        raise UserError(f"plan.stack=true: this network cannot be stacked ({refusal}); plan.stack=false runs it member by member")
    stack, why = _stacked(wish["stack"], refusal, make, inputs, members, device)
    processes = wish["processes"]
    if processes == "auto":
        # Work below about a second is not worth a second process.
        size = sum(p.numel() for p in make().parameters()) * inputs.shape[0] * steps * members
        processes = min(cores, members) if device == "cpu" and size > 1e10 else 1
    if not isinstance(processes, int) or isinstance(processes, bool) or processes < 1:
        raise invalid("plan.processes", processes, "auto or a whole number from 1 on")
    processes = min(processes, members) if device == "cpu" else 1
    threads = 1
    if processes == 1 and cores > 1 and device == "cpu":
        threads, measured = _threads(min(cores, 4), lambda: _seconds(Population(make, [0] * min(members, 4), stack), inputs))
        why = f"{why}; {measured}"
    return Plan(stack, processes, threads, wish["block"], why)


def _threads(most: int, seconds: Callable[[], float]) -> tuple[int, str]:
    """One thread or ``most``, which must be clearly faster: threads that wait for each other lose most on a busy machine."""
    before, times = torch.get_num_threads(), []
    for threads in (1, most):
        torch.set_num_threads(threads)
        times.append(seconds())
    torch.set_num_threads(before)
    words = f"1 thread {1e3 * times[0]:.2f} ms a step, {most} threads {1e3 * times[1]:.2f} ms"
    return (most if times[1] < 0.7 * times[0] else 1), words


def _stacked(wish, refusal: str | None, make, inputs: Tensor, members: int, device: str) -> tuple[bool, str]:
    if wish not in ("auto", True, False):
        raise invalid("plan.stack", wish, "auto, true or false")
    if refusal:
        return False, f"this network cannot be stacked: {refusal}"
    if wish != "auto":
        return wish, "as plan.stack says"
    if members == 1:
        return False, "there is one member"
    if device != "cpu":
        return True, "on an accelerator, stacking spares launches"
    few = min(members, 4)
    seconds = {stack: _seconds(Population(make, list(range(few)), stack), inputs) for stack in (True, False)}
    return seconds[True] <= seconds[False], "measured, %d members: stacked %.2f ms a step, in turn %.2f ms" % (
        few, 1e3 * seconds[True], 1e3 * seconds[False],
    )  # fmt: skip


def _seconds(population: Population, inputs: Tensor) -> float:
    """The shortest of several forward and backward passes."""
    stacked = torch.stack([inputs] * population.members)
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        population(stacked).sum().backward()
        times.append(time.perf_counter() - begin)
    return min(times)
