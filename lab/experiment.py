"""The main job, top to bottom: configuration -> parts -> fit -> results."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
import yaml

from lab import arranging, trial
from lab import engine as engines
from lab.averaging import Averaging
from lab.cell import NOT_IN_DIGEST, deciding, digest, for_each_member, sources, without_places
from lab.company import refuse_rivals
from lab.config import build, build_network, check, seeds_of
from lab.consistency import announcements
from lab.core import core
from lab.errors import IncompleteError, UserError, invalid, one_of, whole
from lab.evaluation import Evaluation
from lab.learner import ContinualLearner, overrides
from lab.order import Uniform
from lab.plan import LONGEST_BLOCK, Plan, device_for, name_of, settle, settled
from lab.population import Population
from lab.progress import Progress
from lab.protocols import Data, Engine, Environment, Method, Strategy, Stream
from lab.reader import Reader
from lab.results import Results, join, save, write_whole
from lab.schedules import Curve
from lab.stages import Decide, Stages
from lab.stream import Budget, Course
from lab.training import finished, results_of, train
from lab.workers import locked, side_by_side

PRECISIONS = {"32": torch.float32, "bf16": torch.bfloat16, "64": torch.float64}


@dataclass
class Experiment:
    """One cell for all its seeds, from its resolved configuration (a plain dict).

    Args:
        repeated: whether several members may have one seed: trials of a sweep, side by side.
    """

    config: dict[str, Any]
    repeated: bool = False

    def __post_init__(self):
        check(self.config)
        self.seeds = list(self.config["seeds"]) if self.repeated else seeds_of(self.config["seeds"])
        first, *_ = self.strategies()
        self.engine = first if isinstance(first, Engine) else None
        if self.engine:
            engines.refuse(self.config, self.engine)
        trial.refuse_loss(self)
        self.order: Uniform = build("order", self.config["order"])
        if not isinstance(self.order, Uniform):
            raise invalid("order._target_", self.config["order"]["_target_"], "a lab.order.Uniform")
        self.environment: Environment = build("environment", self.config["environment"])
        if not (isinstance(getattr(self.environment, "data", None), Data) and hasattr(self.environment, "stream")):
            target = self.config["environment"]["_target_"]
            raise invalid("environment._target_", target, "an environment: `data`, and `stream(seed)`; see lab.protocols")
        arranging.check(self.order, self.environment.data)
        streams = {seed: trial.stream_for(self, seed) for seed in dict.fromkeys(self.seeds_for("stream"))}
        self.streams = [streams[seed] for seed in self.seeds_for("stream")]
        self.device = device_for(self.config["trainer"]["accelerator"])
        precision = str(self.config["trainer"]["precision"])
        if precision.startswith("16"):
            raise invalid(
                "trainer.precision", precision, "bf16: float16 needs a gradient scale, and all members would share one"
            )
        self.dtype = PRECISIONS[one_of("trainer.precision", precision, tuple(PRECISIONS))]
        trial.try_parts(self)

    # --- what it is ---------------------------------------------------------------------------------------------------

    def seeds_for(self, purpose: str) -> list[int]:
        """The members' seeds for a purpose (`seed_for.*`): their own unless one is given for all."""
        given = self.config["seed_for"][purpose]
        return self.seeds if given is None else [whole(f"seed_for.{purpose}", given, 0)] * len(self.seeds)

    @property
    def trainer_options(self) -> dict[str, Any]:
        return self.config["trainer"] | {"accelerator": "cpu" if self.device == "cpu" else "gpu"}

    def strategies(self) -> list[Method]:
        """New, empty ones, in the order of listing; or an engine."""
        made = [build(f"strategy.{name}", node or {}) for name, node in self.config["strategy"].items()]
        for name, strategy in zip(self.config["strategy"], made, strict=True):
            if not isinstance(strategy, (Strategy, Engine)):
                raise invalid(f"strategy.{name}._target_", type(strategy).__name__, "a lab.protocols.Strategy or Engine")
            if isinstance(strategy, Engine) and len(made) > 1:
                rest = "trains by a loop of its own, which strategies of the lab take no part in; list it alone"
                raise UserError(f"strategy=[{','.join(self.config['strategy'])}]: {name} {rest}")
        if isinstance(made[0], Engine):
            return made
        refuse_rivals(dict(zip(self.config["strategy"], made, strict=True)))
        return made

    @cached_property
    def digest(self) -> str:
        """The cell: everything that decides the numbers, without seeds, paths, tracking, progress and hardware."""
        kept = deciding(self.config)
        kept["environment"] = without_places(kept["environment"])
        if content := arranging.content(self.order, self.environment.data):
            kept["order"] = kept["order"] | {"score": content}
        for name, method in zip(self.config["strategy"], self.strategies(), strict=True):
            if digests := method.file_digests():
                kept["strategy"] = kept["strategy"] | {name: kept["strategy"][name] | digests}
        kept["precision"] = str(self.config["trainer"]["precision"])
        kept["callbacks"] = self.config["trainer"]["callbacks"] or {}  # they may change what is trained
        code = sources({key: node for key, node in self.config.items() if key in kept or key in NOT_IN_DIGEST})
        return digest(yaml.safe_dump(kept, sort_keys=True), self.environment.data.digest, *code)

    @property
    def folder(self) -> Path:
        return Path(self.config["paths"]["runs"]).expanduser() / self.digest / digest(str(self.seeds))

    def make_network(self) -> torch.nn.Module:
        network = build_network(self.config["network"], self.environment.data, self.streams[0].outputs)
        if not isinstance(network, torch.nn.Module):
            raise invalid("network._target_", type(network).__name__, "a torch.nn.Module")
        return network

    # --- its parts ----------------------------------------------------------------------------------------------------

    @cached_property
    def arranged(self) -> tuple[list[Stream], list[Uniform]]:
        """The members' streams in order, and the orders of their samples; for these, reference learners may be trained."""
        folder = Path(self.config["paths"]["runs"]).expanduser()
        rest = (self.environment.data, self.config["network"], folder, self.device)
        return arranging.arranged(self.order, self.streams, self.seeds_for("order"), *rest)

    def course(self, members: list[int], block: int, crowd: list[int] | None = None) -> Course:
        return self._course(*self.arranged, members, block, crowd)

    @property
    def waits_for_scores(self) -> bool:
        """Whether :meth:`course` has reference learners trained, unless their scores are there."""
        return arranging.waits(self.order, self.environment.data)

    def course_at_random(self) -> Course:
        """All members' course without the scores: of the same steps and rates, the samples in random order."""
        return self._course(self.streams, None, list(range(len(self.seeds))), LONGEST_BLOCK)

    def _course(
        self,
        streams: list[Stream],
        orders: list[Uniform] | None,
        members: list[int],
        block: int,
        crowd: list[int] | None = None,
    ) -> Course:
        budget = Budget(self.config["batch_size"], self.config["epochs"], self.config["steps"])
        seeds = self.seeds_for("order")
        return Course(
            [streams[m] for m in members], [seeds[m] for m in members], budget, block,
            self.config["evaluation"]["every"], self.config["checkpoint"]["every"], self.config["trainer"]["max_steps"],
            streams, self.schedule(members), orders and [orders[m] for m in members], crowd and [streams[m] for m in crowd],
        )  # fmt: skip

    def averaging(self, members: list[int]) -> Averaging:
        averaging = build("averaging", _of_members(self.config["averaging"], members, len(self.seeds)))
        if not isinstance(averaging, Averaging):
            raise invalid("averaging._target_", self.config["averaging"]["_target_"], "a lab.averaging.Averaging")
        return averaging

    def schedule(self, members: list[int]) -> Curve:
        curve = build("schedule", _of_members(self.config["schedule"], members, len(self.seeds)))
        if not isinstance(curve, Curve):
            raise invalid("schedule._target_", self.config["schedule"]["_target_"], "a lab.schedules.Curve")
        return curve

    def learner(self, members: list[int], plan: Plan, crowd: list[int] | None = None) -> ContinualLearner:
        """The learner of some of the members (positions in ``seeds``), who are left of a ``crowd`` (:mod:`lab.compacting`)."""
        own, init = [self.seeds[m] for m in members], self.seeds_for("initialisation")
        course = self.course(members, plan.block, crowd)
        layout = self.environment.data.layout
        sayable = layout.sayable if layout and layout.sayable.shape[1] == course.streams[0].outputs else None
        population = Population(self.make_network, [init[m] for m in members], plan.stack, self.dtype, own, sayable)
        optimizer = build("optimizer", _of_members(self.config["optimizer"], members, len(self.seeds)), population.leaves)
        evaluation = self.evaluation(course, own)
        reader = Reader(self.environment.data, course.streams)
        rest = (self.config["outputs"], self.config["clip"], self.config["reset_optimizer"])
        strategies = self.strategies()
        places, averaging = (members, len(self.seeds)), self.averaging(members)
        return ContinualLearner(population, strategies, optimizer, reader, course, evaluation, own, *rest, places, averaging)

    @property
    def wish(self) -> dict[str, Any]:
        """What the user wishes of the plan, no more processes than members."""
        wish = self.config["plan"]
        processes = wish["processes"]
        return wish | {"processes": processes if processes == "auto" else min(processes, len(self.seeds))}

    def evaluation(self, course: Course, seeds: list[int]) -> Evaluation:
        options = self.config["evaluation"]
        names = ("split", "tasks", "samples", "batch", "at_most", "loss")
        # Constrained decoding needs probabilities, which scores of a strategy's own are not known to be.
        scores = any(overrides(one, "predict") and not one.predicts_logits for one in self.strategies())
        constrained = 0 if scores else options["constrained"]
        return Evaluation(course, seeds, *(options[name] for name in names), self.environment.data.layout, constrained)

    def settle_plan(self) -> Plan:
        if self.engine:
            steps = self.course(list(range(len(self.seeds))), LONGEST_BLOCK).total
            return engines.settle(self.wish, len(self.seeds), steps, self.device)
        course = self.course(list(range(len(self.seeds))), LONGEST_BLOCK)
        # A forward pass is a third of a step.
        steps = course.total + self.evaluation(course, self.seeds).count() // (3 * self.config["batch_size"])
        reader = Reader(self.environment.data, self.streams)
        rows = torch.arange(self.config["batch_size"]) % len(self.environment.data.train)
        inputs = reader.read(rows.expand(len(self.seeds), -1), torch.zeros(len(self.seeds), 1, dtype=torch.int64))[0][0]
        return settle(self.wish, self.make_network, inputs, len(self.seeds), steps, self.device)

    # --- the job ------------------------------------------------------------------------------------------------------

    def run(self, progress: Progress, decide: Decide | None = None) -> Path:
        """Train, or go on training, and leave `results.json`; a finished run is left as it is.

        Args:
            decide: who goes on after each task's end (:mod:`lab.stages`); the results are of those who came to the last one,
                and there are none where nobody did. None: everyone does.
        """
        if not (self.folder / "config.yaml").exists():
            trial.try_strategies(self)
        with locked(self.folder):
            if (self.folder / "results.json").exists():
                self._incomplete.unlink(missing_ok=True)
                return self.folder
            write_whole(
                self.folder / "config.yaml", lambda file: file.write(yaml.safe_dump(self.config, sort_keys=False).encode())
            )
            self._incomplete.touch()
            self._announce()
            plan = settled(self.folder, self.wish, self.device, self.settle_plan)
            shares = [list(range(len(self.seeds)))[p :: plan.processes] for p in range(plan.processes)]
            left, parts = list(range(len(self.seeds))), []
            if decide:
                left, parts = Stages(self, shares, plan, progress, decide).run()
            else:
                parts = self._alone(shares[0], plan, progress) if plan.processes == 1 else self._split(shares, plan, progress)
            if left:
                places = [left.index(place) for share in shares for place in share if place in left]
                save(join(parts, [self.seeds[place] for place in left], places), self.folder)
            self._incomplete.unlink()
        return self.folder

    def _announce(self) -> None:
        """Say what the environment, the rules and the strategies want to be known before training, on standard error."""
        parameters = sum(p.numel() for p in self.make_network().parameters())
        size = 8 if self.dtype == torch.float64 else 4
        told = [*announcements(self.environment, self.streams[0])]
        for part in (*self.strategies(), self.averaging(list(range(len(self.seeds))))):
            told.append(part.announcement(len(self.seeds), parameters, size))
        for sentence in filter(None, told):
            print(f"lab: {sentence}", file=sys.stderr)

    @property
    def _incomplete(self) -> Path:
        """The file that marks a run without results, whatever stopped it."""
        return self.folder / "incomplete"

    def _alone(self, members: list[int], plan: Plan, progress: Progress) -> list[Results]:
        torch.set_num_threads(plan.threads)
        progress.begin(self._steps_of(members, plan), 1)
        return [self._train(members, plan, self.folder, partial(progress.report, 0))]

    def _split(self, shares: list[list[int]], plan: Plan, progress: Progress) -> list[Results]:
        """Every share in a process of its own, of one thread each."""
        torch.set_num_threads(1)
        progress.begin(self._steps_of(shares[0], plan), len(shares))
        jobs = [partial(self._train, members, plan, self.folder / f"part-{number}") for number, members in enumerate(shares)]
        return side_by_side(jobs, progress.report, (UserError, IncompleteError, OSError))

    def _steps_of(self, members: list[int], plan: Plan) -> int:
        """Steps that a process reports for its members: an engine's take theirs one after the other."""
        return self.course(members, plan.block).stop * (len(members) if self.engine else 1)

    def _train(self, members: list[int], plan: Plan, folder: Path, report) -> Results:
        if self.engine:
            return engines.train_members(self, members, plan, report)
        learner = self.learner(members, plan)
        keeper = train(learner, self.trainer_options, folder, self.digest, report)
        if not finished(learner, keeper):
            at = f"stopped at step {keeper.step} of {learner.course.total}"
            raise IncompleteError(f"{at}; the same command without trainer.max_steps goes on")
        return results_of(learner, keeper, self.config, self.provenance(plan) | {"core": keeper.core})

    def provenance(self, plan: Plan) -> dict[str, Any]:
        from importlib.metadata import version

        packages = self.engine.packages if self.engine else ()
        return {
            "versions": {name: version(name) for name in ("torch", "lightning", "numpy", *packages)}
            | {"python": platform.python_version()},
            "commit": _commit(),
            "core": core(),
            "hardware": {"device": name_of(self.device), "cores": os.cpu_count(), "machine": platform.machine()},
            "data": {"name": self.environment.data.name, "digest": self.environment.data.digest},
            "cell": self.digest,
            "plan": vars(plan),
        }


def _of_members(node: dict, members: list[int], count: int) -> dict:
    """A node with lists of one value a member cut down to some members."""
    return {k: [v[m] for m in members] if for_each_member(k, v, count) else v for k, v in node.items()}


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
