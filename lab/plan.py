"""How a population is computed: stacked or in turn, in how many processes. Settled once for a run directory and kept there,
since another plan means other kernels and other bits."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lab.errors import UserError, invalid, one_of
from lab.population import Population, why_not_stacked
from lab.results import write_whole
from lab.workers import cores

WORTH_A_PROCESS = 2.0
"""Seconds of training from which on a population is split over processes."""
WORTH_MEASURING_THREADS = 4.0
STACKED_BONUS = 0.95
"""Where the two are alike, stacked it is: a whole step has more small operations than the pass that is measured."""
CLEARLY_FASTER = 0.8
"""Threads that wait for each other lose much on a busy machine: they must win this much on a quiet one."""
LONGEST_TRIAL = 0.2
SECONDS_A_BLOCK, LONGEST_BLOCK = 0.2, 64
"""Between two calls of the Trainer's hooks: they cost about a millisecond, and progress and interrupts wait for them."""


@dataclass(frozen=True)
class Plan:
    """``why`` says in words what decided."""

    stack: bool
    processes: int
    threads: int
    block: int
    why: str
    device: str = "cpu"


def device_for(accelerator: str) -> str:
    """`cpu` or `cuda`: what `trainer.accelerator` comes to on this machine.

    Raises:
        UserError: it is no accelerator's name, or of one that is not here.
    """
    accelerator = one_of("trainer.accelerator", accelerator, ("auto", "cpu", "gpu"))
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise invalid("trainer.accelerator", "gpu", "auto or cpu: this machine has no CUDA device that torch can use")
    return "cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu"


def name_of(device: str) -> str:
    """`cpu`, or the card's name as its maker gives it."""
    return torch.cuda.get_device_name() if device == "cuda" else device


def settled(folder: Path, wish: dict, device: str, settle: Callable[[], Plan]) -> Plan:
    """The plan kept in the run directory, or a new one, kept from now on.

    Raises:
        UserError: where what is kept cannot be read, or is not what is wished for now.
    """
    path = folder / "plan.json"
    if path.exists():
        try:
            plan = Plan(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}: is not a plan of this lab ({error}); move the run directory away to begin anew") from None
        _refuse_another(plan, wish, device, folder)
        return plan
    plan = settle()
    write_whole(path, lambda file: file.write(json.dumps(asdict(plan)).encode()))
    return plan


def _refuse_another(plan: Plan, wish: dict, device: str, folder: Path) -> None:
    """Another plan means other kernels, hence other bits than the run would have had."""
    remedy = f"the run was begun so and goes on so; leave it out, or move {folder} away to begin anew"
    if device != plan.device:
        raise UserError(f"trainer.accelerator: this is {device}, expected {plan.device}: {remedy}")
    for key in ("stack", "processes", "block"):
        if wish[key] not in ("auto", getattr(plan, key)):
            raise UserError(f"plan.{key}={wish[key]}: expected {getattr(plan, key)}: {remedy}")


def why_in_turn(wish: dict, make: Callable[[], nn.Module], inputs: Tensor, device: str) -> str | None:
    """Why a network's members must run one after the other; None where they may be stacked. ``inputs`` ``[B, ...]``.

    Raises:
        UserError: for a network that no plan can run, or not the plan that is wished for.
    """
    if device != "cpu" and wish["processes"] not in ("auto", 1):
        raise invalid("plan.processes", wish["processes"], "1 or auto: on an accelerator one process runs all members")
    refusal = why_not_stacked(make, inputs)
    if refusal and "randomness" in refusal:
        remedy = "use lab.networks.Dropout, whose masks belong to the member"
        raise UserError(f"network: draws random numbers by itself (functional dropout?); {remedy}")
    if wish["stack"] is True and refusal:
        remedy = "plan.stack=false runs it member by member"
        raise UserError(f"plan.stack=true: this network cannot be stacked ({refusal}); {remedy}")
    return refusal


def settle(wish: dict, make: Callable[[], nn.Module], inputs: Tensor, members: int, steps: int, device: str) -> Plan:
    """Settle what ``plan=`` leaves open (``auto``) by a short measurement.

    Args:
        inputs: one member's batch ``[B, ...]``, to measure with.
        steps: of the whole run, what it takes to evaluate counted in steps.
    """
    refusal = why_in_turn(wish, make, inputs, device)
    if device != "cpu":
        stack = not refusal if wish["stack"] == "auto" else wish["stack"]
        block = 16 if wish["block"] == "auto" else wish["block"]
        return Plan(stack, 1, 1, block, refusal or "on an accelerator, stacking spares launches", device)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _settle_on_cpu(wish, _Trial(make, inputs, members), steps, refusal)
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class _Trial:
    """Short trainings of a few of the members, to time them."""

    make: Callable[[], nn.Module]
    inputs: Tensor
    members: int

    def seconds(self, stack: bool, threads: int = 1) -> float:
        """Of a step of all members: the shortest of at least 5 forward and backward passes, of 50 where they are quick."""
        few = min(self.members, 4)
        torch.set_num_threads(threads)
        population, stacked, times = Population(self.make, list(range(few)), stack), torch.stack([self.inputs] * few), []
        while len(times) < 5 or (len(times) < 50 and sum(times) < LONGEST_TRIAL):
            begin = time.perf_counter()
            population(stacked).sum().backward()
            times.append(time.perf_counter() - begin)
        return min(times) * self.members / few


def _settle_on_cpu(wish: dict, trial: _Trial, steps: int, refusal: str | None) -> Plan:
    choices = [False] if refusal or trial.members == 1 else [True, False]
    choices = choices if wish["stack"] == "auto" else [wish["stack"]]
    seconds = {stack: trial.seconds(stack) for stack in choices}
    stack = min(seconds, key=lambda choice: seconds[choice] * (STACKED_BONUS if choice else 1))
    names = {True: "stacked", False: "in turn"}
    words = [refusal or "", *(f"{names[choice]} {1e3 * value:.2f} ms a step" for choice, value in seconds.items())]
    run = steps * seconds[stack]
    processes, at_hand = wish["processes"], cores()
    if processes == "auto":
        processes = at_hand if run > WORTH_A_PROCESS else 1
    processes, threads = min(processes, trial.members), 1
    if processes == 1 and at_hand > 1 and run > WORTH_MEASURING_THREADS:
        most = min(at_hand, 4)
        several = trial.seconds(stack, most)
        words.append(f"with {most} threads {1e3 * several:.2f} ms")
        threads = most if several < CLEARLY_FASTER * seconds[stack] else 1
    block = wish["block"]
    if block == "auto":
        block = min(max(int(SECONDS_A_BLOCK * processes / seconds[stack]), 1), LONGEST_BLOCK)
    return Plan(stack, processes, threads, block, ", ".join(filter(None, words)))
