"""One process's share of a run: some members, one `Trainer.fit` over the whole stream, checkpoints, results."""

from __future__ import annotations

import inspect
import io
import logging
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.model_helpers import is_overridden

from lab.config import build, nearest
from lab.core import another, core, together
from lab.errors import UserError
from lab.evaluation import Evaluation
from lab.learner import ContinualLearner
from lab.metrics import with_h
from lab.results import ENCOUNTERED, Results, write_whole
from lab.scheduled import scheduled
from lab.stream import Block, Course, StreamDataModule
from lab.workers import Report

OURS = ("callbacks", "max_steps", "precision", "enable_progress_bar")
"""Options that the lab itself carries out."""
NEVER_CALLED = ("on_before_backward", "on_after_backward", "on_before_zero_grad")
"""Hooks of callbacks that a population's step has no place for."""

for _name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(_name).setLevel(logging.ERROR)


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are there whole or not at all."""

    def save_checkpoint(self, checkpoint, path, storage_options=None) -> None:
        # To memory first: torch.save wraps a full disk's OSError in a RuntimeError about its own file format.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_whole(Path(path), lambda file: file.write(content.getbuffer()))


SLOW_TO_SAVE = 0.1
"""Seconds. Checkpoints that take longer are saved at task ends only where no more than a twentieth of the time goes into it:
the accuracy tensor of a thousand tasks, say, may take longer to write than a task takes to train."""
SHARE_OF_TIME = 20


class Keeper(Callback):
    """Saves checkpoints where blocks ask for it, keeps the newest two, and carries the run's digest, its core, its step and its
    clock.

    Those at task ends are left out where they would take up too much of the time (:data:`SLOW_TO_SAVE`); those that
    `checkpoint.every` asks for, and the last one, never.
    """

    def __init__(self, folder: Path, digest: str, resumed_from: int | None):
        self.folder, self.digest, self.resumed_from, self.step = folder, digest, resumed_from, resumed_from or 0
        self.seconds_before, self._begun, self.core = 0.0, 0.0, core()
        self._took, self._saved = 0.0, 0.0

    @property
    def seconds(self) -> float:
        """Wall time of training so far, earlier sittings included."""
        return self.seconds_before + time.perf_counter() - self._begun

    def state_dict(self) -> dict:
        return {"digest": self.digest, "core": self.core, "seconds": self.seconds}

    def load_state_dict(self, state: dict) -> None:
        self.seconds_before = state["seconds"]
        self.core = together([state.get("core"), self.core])

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._begun = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs, batch: Block, batch_idx: int) -> None:
        self.step = batch.stop
        if batch.checkpoint and (self._asked_for(module.course, batch.stop) or self._worth_it()):
            begun = time.perf_counter()
            trainer.save_checkpoint(self.folder / f"step-{batch.stop:09d}.ckpt")
            for old in checkpoints(self.folder)[2:]:
                old.unlink()
            self._saved = time.perf_counter()
            self._took = self._saved - begun

    @staticmethod
    def _asked_for(course: Course, step: int) -> bool:
        every = course.every["checkpoint"]
        return step == course.stop or bool(every and step % every == 0)

    def _worth_it(self) -> bool:
        """Whether it is time for another one, judging by what the last one took."""
        return self._took <= SLOW_TO_SAVE or time.perf_counter() - self._saved >= SHARE_OF_TIME * self._took


class Watch(Callback):
    """Reports progress in steps, and ends a run early: at ``stop``, or when all its members have diverged."""

    def __init__(self, report: Report, stop: int | None):
        self.report, self.stop = report, stop

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs, batch: Block, batch_idx: int) -> None:
        self.report(batch.stop)
        if batch.stop == self.stop or (batch.checkpoint and bool((module.diverged_at >= 0).all())):
            trainer.should_stop = True


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the newest first."""
    return sorted(folder.glob("step-*.ckpt"), reverse=True)


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was saved."""
    return int(checkpoint.stem.split("-")[1])


def newest_whole(folder: Path, digest: str) -> Path | None:
    """The newest checkpoint that can be read; those that cannot are told of, and put aside as `damaged-*`. One that was saved
    by another core serves, and is told of.

    Raises:
        UserError: if it belongs to another cell than ``digest``.
    """
    for path in checkpoints(folder):
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            kept = content["callbacks"][Keeper.__name__]
            given = kept["digest"]
        except Exception:  # whatever a damaged file raises: the next older one serves
            aside = path.rename(path.with_name(f"damaged-{path.name}"))
            print(f"lab: {path.name} cannot be read; an older checkpoint serves, and it is kept as {aside}", file=sys.stderr)
            continue
        if given != digest:
            raise UserError(f"{path}: is a checkpoint of another configuration ({given}, not {digest}); move it away")
        if other := another(kept.get("core")):
            print(f"lab: {path}: was saved by {other}; the run goes on from there, and is of both", file=sys.stderr)
        return path
    return None


def trainer_of(options: dict, callbacks: list[Callback]) -> Trainer:
    """Lightning's Trainer: the user's options (section ``trainer``), and what one fit over one stream needs.

    Raises:
        UserError: for an option that Lightning does not know or does not take.
    """
    passed = {name: value for name, value in options.items() if name not in OURS}
    known = inspect.signature(Trainer).parameters
    for name in passed:
        if name not in known:
            raise UserError(f"trainer.{name}: Lightning's Trainer has no such option. {nearest(name, list(known))}")
    own = {name: build(f"trainer.callbacks.{name}", node) for name, node in (options["callbacks"] or {}).items()}
    for name, callback in own.items():
        if not isinstance(callback, Callback):
            raise UserError(f"trainer.callbacks.{name}: is a {type(callback).__name__}; expected a lightning.pytorch.Callback")
        for hook in NEVER_CALLED:
            if is_overridden(hook, callback, Callback):
                told = "a step has several losses and its own loop; on_before_optimizer_step sees all gradients"
                raise UserError(f"trainer.callbacks.{name}: {hook} is never called here: {told}")
    fixed = {"devices": 1, "max_epochs": 1, "logger": False, "enable_checkpointing": False, "use_distributed_sampler": False}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    try:
        return Trainer(**quiet | passed | fixed, plugins=[WholeCheckpoints()], callbacks=[*own.values(), *callbacks])
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise UserError(f"trainer: Lightning refuses these options ({error})") from None


def train(learner: ContinualLearner, options: dict, folder: Path, digest: str, report: Report) -> Keeper:
    """Fit the learner over its course, from the newest checkpoint in ``folder`` if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in folder.glob(".*.part"):  # left by a process that was killed while it wrote
        part.unlink()
    newest, stop = newest_whole(folder, digest), options["max_steps"]
    if newest and stop and step_of(newest) >= stop:
        raise UserError(f"trainer.max_steps={stop}: the run is at step {step_of(newest)} already; name a later one, or none")
    keeper = Keeper(folder, digest, step_of(newest) if newest else None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        fitter = trainer_of(options, [Watch(report, stop), keeper])
        try:
            fitter.fit(learner, datamodule=StreamDataModule(learner.course), ckpt_path=newest, weights_only=True)
        except RuntimeError as error:
            if "loading state_dict" not in str(error):
                raise
            reason = " ".join(str(error).partition(":")[2].splitlines()[1].split())
            why = f"{newest}: is of another version of the lab or of a strategy ({reason})"
            raise UserError(f"{why}; move the run directory away, and the run begins anew") from None
    return keeper


def restored(learner: ContinualLearner, path: Path, digest: str) -> Keeper:
    """A new learner as it was when a checkpoint was saved, to be looked at."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    learner.on_load_checkpoint(content)
    learner.load_state_dict(content["state_dict"])
    keeper = Keeper(path.parent, digest, step_of(path))
    keeper.load_state_dict(content["callbacks"][Keeper.__name__])
    keeper.on_train_start(None, None)
    return keeper


def finished(learner: ContinualLearner, keeper: Keeper) -> bool:
    """Whether the learner came to the end of its course, or nobody is left to train."""
    return keeper.step == learner.course.total or bool((learner.diverged_at >= 0).all())


def results_of(learner: ContinualLearner, keeper: Keeper, config: dict, provenance: dict) -> Results:
    """What the learner's buffers hold, as results."""
    evaluation, course = learner.evaluation, learner.course
    diverged = [None if step < 0 else step for step in learner.diverged_at.tolist()]
    measured = _measured(evaluation, diverged)
    curves = None
    if evaluation.steps:
        begun = [course.phases[p].completes + 1 if p >= 0 else 0 for p in map(course.phase_at, evaluation.steps)]
        curves = {"steps": evaluation.steps, "task": begun, "accuracy": measured["curves"]}
        fresh = [phase.completes for phase in course.phases if phase.fresh]
        curves |= {"fresh": fresh} if fresh else {}
    wall = keeper.seconds
    cost = {
        "steps": course.total,
        "samples": [course.samples(m) for m in range(learner.members)],
        "wall_seconds": wall,
        "wall_seconds_per_member": wall / learner.members,
        "state_bytes": sum(strategy.state_bytes() for strategy in learner.strategies),
        "passes": dict(learner.passes),
        "resumed_from_step": keeper.resumed_from,
    }
    online = _decimal(learner.right_before / learner.met_before) if learner.prequential else None
    baselines = [stream.baseline for stream in course.streams if stream.baseline is not None]
    baseline = _decimal(torch.stack(baselines)) if online is not None and baselines else None
    diagnostics = {
        f"{name}.{figure}": _decimal(values)
        for name, strategy in zip(config["strategy"], learner.strategies, strict=False)  # another engine has none
        for figure, values in strategy.diagnostics().items()
    }
    for figure in course.streams[0].figures:
        diagnostics[f"environment.{figure}"] = np.array([stream.figures[figure] for stream in course.streams])
    met = None
    if learner.encounters is not None:
        met = {what: getattr(learner.encounters, what).cpu().numpy() for what in ENCOUNTERED}
        met |= {"task": [phase.completes for phase in course.phases]}
    of_steps = None
    if learner.averaging is not None:
        of_steps = scheduled(course, learner.averaging, learner.reader.quality)
    return Results(
        config, learner.seeds, measured["accuracy"], curves, diverged, cost, measured["accuracy_without_task"], online,
        baseline, provenance, diagnostics=diagnostics, encounters=met, loss=measured["loss"],
        beside={kind: _measured(o, diverged) | _matrices(o, diverged) for kind, o in learner.beside.items()},
        recorded=None if learner.recorder is None else learner.recorder.kept([*config["strategy"]]),
        scheduled=of_steps, matrices=_matrices(evaluation, diverged), violated=evaluation.violated,
    )  # fmt: skip


def _measured(evaluation: Evaluation, diverged: list[int | None]) -> dict[str, np.ndarray | None]:
    """What an evaluation holds, by the names of its buffers; None for what it was not asked for."""
    made = dict.fromkeys(("accuracy", "accuracy_without_task", "loss", "curves"))
    for name in ("accuracy", "accuracy_without_task", "loss"):
        asked_for = evaluation.scenario == "task" if name == "accuracy_without_task" else getattr(evaluation, name) is not None
        if asked_for:
            made[name] = _without_diverged(_decimal(getattr(evaluation, name)), diverged, evaluation.course)
    if evaluation.steps:
        made["curves"] = _decimal(evaluation.curves)
        for member, step in enumerate(diverged):
            if step is not None:
                made["curves"][member, np.array(evaluation.steps) >= step] = np.nan
    return made


def _matrices(evaluation: Evaluation, diverged: list[int | None]) -> dict[str, np.ndarray]:
    """Further matrices over pairs of tasks, by name; none where outputs have no names."""
    if evaluation.matrices is None:
        return {}
    found = {name: _decimal(matrix) for name, matrix in zip(evaluation.ruled.names, evaluation.matrices, strict=True)}
    found = {name: _without_diverged(matrix, diverged, evaluation.course) for name, matrix in found.items()}
    metric = {"accuracy": _without_diverged(_decimal(evaluation.accuracy), diverged, evaluation.course)} | found
    return with_h(found, metric[evaluation.ruled.layout.metric])


def _without_diverged(accuracy: np.ndarray, diverged: list[int | None], course) -> np.ndarray:
    """NaN in the rows that a member reached after it diverged."""
    for member, step in enumerate(diverged):
        for phase, end in enumerate(course.ends):
            if step is not None and end >= step:
                accuracy[member, course.phases[phase].completes + 1] = np.nan
    return accuracy


def _decimal(tensor: torch.Tensor) -> np.ndarray:
    """float32 as the float64 with the same shortest decimal: 0.91 and not 0.9100000262260437."""
    return tensor.cpu().numpy().astype(str).astype(np.float64)
