"""How good each training example is, for who orders data by it: from a file, from the environment, or from reference learners.

All give float32 ``[N]``, a score for each row of ``data.train``; higher is better.
"""

from __future__ import annotations

import inspect
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from lab import optimizers
from lab.batch import Batch
from lab.cell import digest, sources
from lab.config import build_network
from lab.core import core
from lab.errors import UserError, number, one_of, require, whole
from lab.evaluation import Evaluation, Rows
from lab.learner import ContinualLearner
from lab.plan import LONGEST_BLOCK, why_in_turn
from lab.population import Population
from lab.protocols import Data, Stream, Task, derive, generator, phase_per_task
from lab.reader import Reader
from lab.results import write_whole
from lab.stream import Blocks, Budget, Course
from lab.workers import locked

QUALITY = "quality"
"""The name of the array in an ``.npz`` of several."""
UNREADABLE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile)
"""What NumPy raises for a file that is damaged or something else than its name says."""
OPTIMIZERS = {"sgd": optimizers.SGD, "adam": optimizers.Adam}
SCORED_AT_ONCE = 256
"""Examples of a network in one forward pass: the same everywhere, since another width could mean other bits."""


# --- given ------------------------------------------------------------------------------------------------------------


def of_file(key: str, path: str | Path, count: int) -> Tensor:
    """The scores float32 ``[count]`` in a ``.npy``, or in a ``.npz``: its array ``quality``, or its only one.

    Args:
        key: the configuration key, for errors.
    Raises:
        UserError: for a file that is none, or without one finite number for each example.
    """
    given = f"{key}={path}"
    try:
        found = np.load(Path(path).expanduser(), allow_pickle=False)
        if isinstance(found, np.lib.npyio.NpzFile):
            with found:
                found = found[_name_of_scores(list(found), given)]
        if not isinstance(found, np.ndarray):
            raise ValueError("another kind of file within it")
    except FileNotFoundError:
        raise UserError(f"{given}: there is no such file; expected a .npy or .npz file, quality or reference") from None
    except UNREADABLE as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if "allow_pickle" in reason or "pickled" in reason:  # NumPy takes whatever it does not know for a pickle
            reason = "another kind of file, or pickled objects, which could run code"
        raise UserError(f"{given}: cannot be read as a .npy or .npz file of numbers ({reason})") from None
    require(found.dtype.kind in "buif", key, path, f"numbers, and these are of type {found.dtype}")
    with np.errstate(over="ignore"):
        return _sound(given, torch.from_numpy(found.astype(np.float32)), count)


def of_environment(key: str, data: Data) -> Tensor:
    """The scores float32 ``[N]`` that the environment's data come with.

    Raises:
        UserError: where they come with none, or not with one finite number for each example.
    """
    if data.train.quality is None:
        instead = f"environment=graded, a source's quality_train, a file ({key}=FILE), or {key}=reference"
        raise UserError(f"{key}=quality: nothing says how good the examples of {data.name} are; expected {instead}")
    return _sound(f"{key}=quality", data.train.quality.to(torch.float32), len(data.train))


def _name_of_scores(names: list[str], given: str) -> str:
    if QUALITY in names or len(names) == 1:
        return QUALITY if QUALITY in names else names[0]
    held = ", ".join(names) or "nothing"
    raise UserError(f"{given}: expected an array named {QUALITY}, or one array alone, and it holds {held}")


def _sound(given: str, scores: Tensor, count: int) -> Tensor:
    """``scores``, which must be one finite number for each of ``count`` training examples."""
    if scores.dim() != 1 or len(scores) != count:
        held = f"{len(scores)} scores" if scores.dim() == 1 else f"an array of shape {list(scores.shape)}"
        raise UserError(f"{given}: holds {held}; expected {count}, one for each training example")
    lost = (~scores.isfinite()).nonzero().squeeze(1)
    if len(lost):
        where = f"{len(lost)} of its {count} scores are NaN, or infinite in float32, the first of them in row {int(lost[0])}"
        raise UserError(f"{given}: {where}; expected a finite number for each training example")
    return scores


# --- worked out -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """How reference learners are trained (``order.reference``).

    Args:
        folds: K: the examples are dealt into so many parts, and each part is scored by a network trained on all others.
        repeats: how often, each time with other parts and another initialisation; a score is the mean.
        epochs: over the K - 1 parts. Few are best: a network that has memorised wrong labels gives them to other examples too.
        batch_size, optimizer, lr: of plain training; ``sgd`` without momentum, or ``adam``.
    """

    folds: int = 5
    repeats: int = 1
    epochs: int = 1
    batch_size: int = 32
    optimizer: str = "sgd"
    lr: float = 0.1

    def __post_init__(self):
        whole("order.reference.folds", self.folds, 2)
        for name in ("repeats", "epochs", "batch_size"):
            whole(f"order.reference.{name}", getattr(self, name), 1)
        one_of("order.reference.optimizer", self.optimizer, tuple(OPTIMIZERS))
        number("order.reference.lr", self.lr)
        require(self.lr > 0, "order.reference.lr", self.lr, "a number above 0")


def reference(
    data: Data, network: dict[str, Any], settings: Reference, seed: int, rows: Tensor, folder: Path, device: str = "cpu"
) -> Tensor:
    """Minus each example's cross-entropy under networks that were not trained on it, float32 ``[N]``; NaN outside ``rows``.

    Cross-fitting: the rows are dealt into K folds; for each a network is trained on the other K - 1 and scores that one. An
    example that a network was trained on would look better than it is, the more so the better it was memorised: a wrong label
    would soon be none. Where examples are there twice, under two rows, nothing keeps these apart.

    With a label for each token, a score is minus the mean over an example's labels. Labels and inputs are those of the data,
    before tasks rename or change them.

    On a CPU equal arguments give equal bits; what was worked out is kept in ``folder/scores``, and read again.

    Args:
        network: the node of the configuration that networks are built from, with an output unit for each class of the data.
        rows: int64 ``[n]``, the examples that may be used, once or more each: both scored, and trained on to score others.
            Labels of any other example have no part in the scores. Give the rows that members are trained on: with those held
            out for validation, their labels would influence the order, and so what is validated by them.
        folder: of all runs.
    Raises:
        UserError: for more folds than rows, an example without label, or a learner that diverges.
    """
    rows = rows.unique()  # ascending; a row that came twice could be both trained on and scored by one network
    _check(data, settings, rows)
    path = folder / "scores" / f"{_digest(data, network, settings, seed, rows, device)}.npy"
    if not path.exists():
        with locked(path.parent, f".{path.stem}.lock", wait=True):
            if not path.exists():  # another process may have been at it
                scores = _worked_out(data, network, settings, seed, rows, device)
                write_whole(path, lambda file: np.save(file, scores.numpy()))
    return _kept(path, len(data.train))


def _check(data: Data, settings: Reference, rows: Tensor) -> None:
    fold = f"at most {len(rows)}, as many as there are examples"
    require(settings.folds <= len(rows), "order.reference.folds", settings.folds, fold)
    bare = rows[~(data.train.targets[rows] >= 0).view(len(rows), -1).any(1)]
    if len(bare):
        raise UserError(f"order.score=reference: training example {int(bare[0])} has no label, so no loss to be scored by")


def _digest(data: Data, network: dict, settings: Reference, seed: int, rows: Tensor, device: str) -> str:
    """Of everything that decides the scores."""
    said = (data.digest, yaml.safe_dump(network, sort_keys=True), repr(settings), seed, rows.tolist(), device, core())
    return digest(*map(str, said), *sources(network), inspect.getsource(optimizers))


def _kept(path: Path, count: int) -> Tensor:
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False)).view(count)
    except (*UNREADABLE, RuntimeError):
        raise UserError(f"{path}: cannot be read as the scores that were kept there; move it away to have them anew") from None


def _worked_out(data: Data, network: dict, settings: Reference, seed: int, rows: Tensor, device: str) -> Tensor:
    networks = settings.folds * settings.repeats
    print(f"lab: order.score=reference: {networks} networks score {len(rows)} examples by cross-fitting", file=sys.stderr)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # their number may change bits
    try:
        folds = dealt(rows, settings, seed)
        learner = _learner(data, network, settings, seed, rows, folds, device).to(device)
        for block in Blocks(learner.course):
            learner.advance(block.to(device), learner.optimizer.step)
        scores = -_losses(learner, folds, len(data.train)) / settings.repeats
    finally:
        torch.set_num_threads(threads)
    lost = ~scores[rows].isfinite()
    require(not lost.any(), "order.reference.lr", settings.lr, "less: a reference learner diverged")
    return scores


def dealt(rows: Tensor, settings: Reference, seed: int) -> list[Tensor]:
    """The rows that each network scores and is not trained on, ascending: ``folds`` parts of them, ``repeats`` times."""
    orders = [rows[torch.randperm(len(rows), generator=generator(seed, "folds", r))] for r in range(settings.repeats)]
    return [fold.sort().values for order in orders for fold in order.tensor_split(settings.folds)]


def _learner(
    data: Data, network: dict, settings: Reference, seed: int, rows: Tensor, folds: list[Tensor], device: str
) -> ContinualLearner:
    """The networks as the members of a population, each to meet one task: the rows that are not of its fold."""
    streams = [_others(data, rows[~torch.isin(rows, fold)]) for fold in folds]
    own = [derive(seed, "reference", member) for member in range(len(folds))]
    # The networks of a repeat start alike, so that scores of different folds differ by the data alone.
    initial = [derive(seed, "reference", "repeat", member // settings.folds) for member in range(len(folds))]
    course = Course(streams, own, Budget(settings.batch_size, settings.epochs), LONGEST_BLOCK)
    reader = Reader(data, streams)

    def make() -> torch.nn.Module:
        return build_network(network, data, data.classes)

    shown = reader.shown(data.train.inputs[rows[:2]], None)
    refusal = why_in_turn({"stack": "auto", "processes": 1}, make, shown, device)
    population = Population(make, initial, stack=refusal is None, own_seeds=own)
    optimizer = OPTIMIZERS[settings.optimizer](population.leaves, lr=settings.lr)
    return ContinualLearner(population, [], optimizer, reader, course, Evaluation(course, own), own)


def _others(data: Data, rows: Tensor) -> Stream:
    task = Task(rows, torch.arange(len(data.test)), torch.arange(data.classes))
    return Stream((task,), phase_per_task((task,)), "domain", data.classes)


@torch.no_grad()
def _losses(learner: ContinualLearner, folds: list[Tensor], count: int) -> Tensor:
    """The cross-entropies ``[count]`` of each member's fold under its network, added up over repeats; NaN for other rows."""
    examples, there = Rows([folds]).to(learner.device)(0)
    tasks, losses = torch.zeros_like(examples[:, :1]), []
    with learner.population.evaluating():
        for chunk in examples.split(SCORED_AT_ONCE, 1):
            inputs, targets = learner.reader.read(chunk, tasks)
            batch = Batch(inputs, targets, chunk, tasks, current=0)
            losses.append(learner.cross_entropy(batch, learner.logits(inputs, tasks)))
    losses, examples, there = torch.cat(losses, 1).cpu(), examples.cpu(), there.cpu()
    total = torch.full((count,), torch.nan).index_fill(0, torch.cat(folds), 0.0)
    return total.index_add_(0, examples[there], losses[there])
