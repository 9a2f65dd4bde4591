"""A second way to train: one member after the other, by another library's loop, measured by our rules.

An :class:`lab.protocols.Engine` is given a :class:`lab.member.Member`: its network, its data, the order in which it meets them,
its optimiser. It tells the member what it does, and the member measures itself, by the same :class:`lab.evaluation.Evaluation`
as a population. A member that is finished is kept, so that a killed run repeats the unfinished one alone.
"""

from __future__ import annotations

import io
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from lab.cell import deciding
from lab.config import build
from lab.core import another
from lab.errors import UserError, invalid
from lab.evaluation import Evaluation
from lab.member import DivergedError, Member
from lab.optimizers import SGD, Adam, AdamW, StackedOptimizer
from lab.plan import WORTH_A_PROCESS, Plan
from lab.population import one_network
from lab.protocols import Engine
from lab.reader import Reader
from lab.results import Results, join, write_whole
from lab.seeding import derive
from lab.stream import Budget, Course
from lab.training import results_of
from lab.workers import Report, cores

if TYPE_CHECKING:
    from lab.experiment import Experiment

SECONDS_A_STEP = 5e-3
"""What a step of another library's loop takes at least."""


def refuse(config: dict[str, Any], engine: Engine) -> None:
    """Refuse what an engine cannot do, before training.

    Raises:
        UserError: says what, and what to leave out.
    """
    (name,) = config["strategy"]
    alone = f"strategy={name} trains member by member, by a loop that is not the lab's"
    precision, trainer = str(config["trainer"]["precision"]), config["trainer"]
    told = (
        (config["plan"]["stack"] is True, "plan.stack=true", "leave it out"),
        (config["clip"] is not None, f"clip={config['clip']}", "expected null"),
        (config["reset_optimizer"], "reset_optimizer=true", "expected false"),
        ("order" in deciding(config), "order", "it takes the data as they come; expected order=uniform"),
        ("averaging" in deciding(config), "averaging", "no step of it is seen; expected averaging=none"),
        ("schedule" in deciding(config), "schedule", "it takes the optimiser's rate as it is; expected the constant one"),
        (precision != "32", f"trainer.precision={precision}", "expected 32"),
        (config["evaluation"]["loss"], "evaluation.loss=true", "what it answers with need not be logits; leave it out"),
        (config["checkpoint"]["every"] is not None, "checkpoint.every", "a killed run repeats a member; leave it out"),
        (trainer["max_steps"] is not None, "trainer.max_steps", "it cannot go on inside a member's training; leave it out"),
        (bool(trainer["callbacks"]), "trainer.callbacks", "Lightning's Trainer is not there to call them; leave them out"),
    )  # fmt: skip
    for wrong, given, expected in told:
        if wrong:
            raise UserError(f"{given}: {alone}: {expected}")
    engine.refuse(config)


def settle(wish: dict[str, Any], members: int, steps: int, device: str) -> Plan:
    """The plan of a run by an engine: in turn; on a CPU in as many processes as are worth it."""
    processes = wish["processes"]
    if device != "cpu":
        processes = 1
    elif processes == "auto":
        processes = cores() if members * steps * SECONDS_A_STEP > WORTH_A_PROCESS else 1
    block = 1 if wish["block"] == "auto" else wish["block"]
    return Plan(False, min(processes, members), 1, block, "an engine of its own trains member by member", device)


def torch_optimizer(stacked: StackedOptimizer, place: int) -> Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]:
    """What makes torch's own optimiser with a member's settings of one of ours.

    Raises:
        UserError: for an optimiser that torch does not have.
    """
    own = {key: float(value[place]) if isinstance(value, Tensor) else value for key, value in stacked.values.items()}
    kind = type(stacked)
    if kind is SGD:
        return lambda parameters: torch.optim.SGD(parameters, **own, nesterov=stacked.nesterov)
    if kind in (Adam, AdamW):
        own["betas"] = own.pop("beta1"), own.pop("beta2")
        return lambda parameters: getattr(torch.optim, kind.__name__)(parameters, **own)
    raise invalid("optimizer._target_", kind.__name__, "one that torch has too (sgd, adam, adamw), since an engine steps by it")


def try_out(experiment: Experiment) -> None:
    """Have the engine put together what it would train the first member with, and refuse what it cannot."""
    with own_generators(0):
        experiment.engine.try_out(member_of(experiment, 0))


def train_members(experiment: Experiment, places: list[int], plan: Plan, report: Report) -> Results:
    """Train some of a run's members, one after the other; those that are kept already are not trained again."""
    parts, total, before = [], experiment.course(places, 1).total, 0
    for number, place in enumerate(places):
        path = experiment.folder / f"member-{experiment.seeds[place]}.ckpt"
        results = kept(path, experiment.digest)
        before += total if results else 0
        if results is None:
            results = _trained(experiment, place, plan, lambda step, number=number: report(number * total + step))
            keep(results, path, experiment.digest)
        report((number + 1) * total)
        parts.append(results)
    joined = in_turn(parts)
    joined.cost["resumed_from_step"] = before or None
    return joined


def in_turn(parts: list[Results]) -> Results:
    """Members that were trained one after the other as one result: their times add up."""
    joined = join(parts, [seed for part in parts for seed in part.seeds])
    wall = sum(part.cost["wall_seconds"] for part in parts)
    joined.cost |= {"wall_seconds": wall, "wall_seconds_per_member": wall / len(parts)}
    return joined


def _trained(experiment: Experiment, place: int, plan: Plan, report: Report) -> Results:
    member = member_of(experiment, place, report)
    begun = time.perf_counter()
    with own_generators(derive(member.seed, "engine")), suppress(DivergedError):
        experiment.engine.train(member)
    clock = SimpleNamespace(seconds=time.perf_counter() - begun, resumed_from=None)
    results = results_of(member, clock, experiment.config, experiment.provenance(plan))
    if member.needs_task and results.accuracy_without_task is not None:
        results.accuracy_without_task[:] = np.nan
    as_planned = member.steps == sum(lengths[0] for lengths in member.course.lengths)
    steps = member.course.total if as_planned else member.steps
    results.cost |= {"steps": steps, "samples": [member.sampled], "state_bytes": None}
    return results


def member_of(experiment: Experiment, place: int, report: Report = lambda step: None) -> Member:
    """One of a run's members, new."""
    config, stream = experiment.config, experiment.streams[place]
    seed, init, order = experiment.seeds[place], *(experiment.seeds_for(p)[place] for p in ("initialisation", "order"))
    budget = Budget(config["batch_size"], config["epochs"], config["steps"])
    every = config["evaluation"]["every"]
    course = Course([stream], [order], budget, 64, every, company=experiment.streams)
    reader = Reader(experiment.environment.data, [stream])
    options = config["evaluation"]
    at_once = options["batch"] or max(32, reader.at_once(2))
    layout = experiment.environment.data.layout
    # What an engine answers with need not be probabilities, and it answers all places at once.
    rest = (options["at_most"], False, None if layout and layout.decoded else layout, 0)
    evaluation = Evaluation(course, [seed], options["split"], options["tasks"], options["samples"], at_once, *rest)
    node = {"": nn.Parameter(torch.zeros(len(experiment.seeds), 1))}
    optimizer = torch_optimizer(build("optimizer", config["optimizer"], node), place)
    network = one_network(experiment.make_network, init, seed)
    data = experiment.environment.data
    return Member(seed, network, data, course, evaluation, optimizer, config["outputs"], experiment.device, report)


@contextmanager
def own_generators(seed: int) -> Iterator[None]:
    """Global generators seeded for a member, so that its result is its own whoever was trained before it."""
    before = np.random.get_state(), random.getstate()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(before[0])
            random.setstate(before[1])


def keep(results: Results, path: Path, digest: str) -> None:
    """Keep a finished member, so that a killed run need not train it again."""
    content = {"digest": digest, "results": _plain(asdict(results))}
    file = io.BytesIO()
    torch.save(content, file)
    write_whole(path, lambda out: out.write(file.getbuffer()))


def kept(path: Path, digest: str) -> Results | None:
    """The member that was kept; None for none, or one that cannot be read. One of another core is told of.

    Raises:
        UserError: it belongs to another cell than ``digest``.
    """
    for part in path.parent.glob(f".{path.name}.*.part"):  # left by a process that was killed while it wrote
        part.unlink()
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        given, results = content["digest"], Results(**_numpy(content["results"]))
    except Exception:  # whatever a damaged file raises
        print(f"lab: {path.name} cannot be read; this member is trained again", file=sys.stderr)
        return None
    if given != digest:
        raise UserError(f"{path}: is a member of another configuration ({given}, not {digest}); move it away")
    if other := another(results.provenance.get("core")):
        print(f"lab: {path}: was trained by {other}; it is taken as it is", file=sys.stderr)
    return results


def _plain(node: Any) -> Any:
    """Arrays as tensors, which a checkpoint may hold."""
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    return torch.from_numpy(np.asarray(node).copy()) if isinstance(node, (np.ndarray, np.generic)) else node


def _numpy(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _numpy(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_numpy(value) for value in node]
    return node.numpy() if isinstance(node, Tensor) else node
