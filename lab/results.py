"""What a run leaves behind: `results.json`, from which every table, figure and MLflow entry derives."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from lab.core import together
from lab.errors import UserError
from lab.metrics import CRITERION, beside_name, measure, of_matrices
from lab.recorded import FILE as RECORDED
from lab.recorded import Recorded
from lab.recorded import joined as joint_record
from lab.violated import together as joint_violations
from lab.violated import worst_alone

FORMAT = 1
"""Of the file; an older lab cannot read a newer one's."""

LARGE = 100
"""Beyond this many tasks the tensors over pairs of tasks, and the curves, lie in `accuracy.npz` beside the JSON."""

BESIDE = ("accuracy", "accuracy_without_task", "loss", "curves")
"""What there is of all weights that are measured beside those that stand for a run; the rest are matrices."""

OVER_PAIRS = ("accuracy", "accuracy_without_task", "loss")
"""Tensors over pairs of tasks, `[M, T + 1, T]`."""

ENCOUNTERED = ("shown", "rehearsed")
"""What is counted of encounters."""

OF_MEMBERS = ("rate", "quality")
"""What is scheduled for each member, `[M, P]`."""


@dataclass
class Results:
    """A run's results for M members; NaN is undefined."""

    config: dict[str, Any]
    seeds: list[int]
    accuracy: np.ndarray
    """``[M, T + 1, T]``: after each task (row 0: before training), on each task."""
    curves: dict[str, Any] | None
    """``steps`` ``[E]``, ``task`` ``[E]`` (tasks begun by then, 0 before training) and ``accuracy`` ``[M, E, T]``; or None.
    Where weights began anew, ``fresh``: the tasks, from 0, whose phases began with it."""
    diverged: list[int | None]
    """The step at which each member's loss stopped being finite."""
    cost: dict[str, Any]
    accuracy_without_task: np.ndarray | None = None
    online_accuracy: np.ndarray | None = None
    """``[M, T]``: accuracy on each task's examples just before they were trained on; only for streams that ask for it."""
    online_baseline: np.ndarray | None = None
    """``[M, T]``: what predicting the previous label gets on the same examples; only for streams in order of time."""
    provenance: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, np.ndarray] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)
    diagnostics: dict[str, np.ndarray] = field(default_factory=dict)
    """``{strategy.figure: [M]}``: what strategies tell of how they worked."""
    encounters: dict[str, Any] | None = None
    """How many samples of each task were trained on in each phase: ``task`` ``[P]``, the one that the phase completes, and
    ``shown`` by the stream and ``rehearsed`` from memories, int ``[M, P, T]`` each; None where another library trained."""
    loss: np.ndarray | None = None
    """``[M, T + 1, T]``: the mean cross-entropy, in nats, of a label; only where `evaluation.loss` asks for it."""
    beside: dict[str, dict[str, np.ndarray | None]] = field(default_factory=dict)
    """What other averages of the weights get (``raw``: the weights as they are), where `averaging` makes one that stands for
    the run: ``accuracy``, ``accuracy_without_task``, ``loss`` and ``curves``, of the shapes above, or None."""
    scheduled: dict[str, Any] | None = None
    """What was scheduled, as :func:`lab.scheduled.scheduled` gives it; None where another library trained."""
    matrices: dict[str, np.ndarray] = field(default_factory=dict)
    """Further measures over pairs of tasks, ``{name: [M, T + 1, T]}``: what :mod:`lab.ruled` measures where outputs have
    names."""
    violated: dict[str, Any] | None = None
    """What breaks rules most after the last task, as :meth:`lab.violated.Worst.told` gives it; None without rules."""
    recorded: Recorded | None = None
    """What was kept over time; in a file of its own (:func:`lab.recorded.load_recorded`), and not loaded with the rest."""
    format: int = FORMAT

    def __post_init__(self):
        if not self.metrics:
            criterion = self.config.get("evaluation", {}).get("criterion", CRITERION)
            self.metrics, self.undefined = measure(self.accuracy, self.curves, self.diverged, criterion)
            for kind, other in self.beside.items():
                curves = self.curves and self.curves | {"accuracy": other["curves"]}
                metrics, undefined = measure(other["accuracy"], curves, self.diverged, criterion)
                self.metrics |= {beside_name(name, kind): values for name, values in metrics.items()}
                self.undefined |= {beside_name(name, kind): why for name, why in undefined.items()}
            final_loss = None if self.loss is None else self.loss[:, -1]
            others = {"online_accuracy": self.online_accuracy, "online_baseline": self.online_baseline, "loss": final_loss}
            losses = {kind: other["loss"] for kind, other in self.beside.items() if other["loss"] is not None}
            others |= {beside_name("loss", kind): loss[:, -1] for kind, loss in losses.items()}
            for name, of_tasks in others.items():
                if of_tasks is not None:
                    lost = np.array([step is not None for step in self.diverged])
                    self.metrics[name] = np.where(lost, np.nan, of_tasks.mean(1))
            named = {kind: {n: of for n, of in other.items() if n not in BESIDE} for kind, other in self.beside.items()}
            for kind, matrices in (None, self.matrices), *named.items():
                values, undefined = of_matrices(matrices, self.diverged)
                self.metrics |= {n if kind is None else beside_name(n, kind): each for n, each in values.items()}
                self.undefined |= {n if kind is None else beside_name(n, kind): why for n, why in undefined.items()}


def join(parts: list[Results], seeds: list[int], places: list[int] | None = None) -> Results:
    """The members of several results of one cell, in the order of ``seeds``.

    Args:
        places: among ``seeds``, of each member of the parts, one part after the other; None where seeds tell them apart.
    """
    known = [seed for part in parts for seed in part.seeds]
    order = [known.index(seed) for seed in seeds] if places is None else [places.index(m) for m in range(len(seeds))]

    def together(arrays: list[np.ndarray | None]) -> np.ndarray | None:
        return None if arrays[0] is None else np.concatenate(arrays)[order]

    curves = parts[0].curves and parts[0].curves | {"accuracy": together([p.curves["accuracy"] for p in parts])}
    diverged = [step for part in parts for step in part.diverged]
    joined = Results(
        parts[0].config, seeds, together([p.accuracy for p in parts]), curves, [diverged[i] for i in order],
        _joint_cost(parts, order), together([p.accuracy_without_task for p in parts]),
        together([p.online_accuracy for p in parts]), together([p.online_baseline for p in parts]), _joint_provenance(parts),
        loss=together([p.loss for p in parts]),
        beside={
            kind: {name: together([p.beside[kind][name] for p in parts]) for name in other}
            for kind, other in parts[0].beside.items()
        },
        matrices={name: together([p.matrices[name] for p in parts]) for name in parts[0].matrices},
        violated=joint_violations([(p.violated, len(p.seeds)) for p in parts], order),
    )  # fmt: skip
    for name in set(parts[0].metrics) - set(joined.metrics):  # measures that are not functions of the accuracy tensor
        if all(name in part.metrics for part in parts):
            joined.metrics[name] = together([part.metrics[name] for part in parts])
    if all(part.encounters for part in parts):
        counts = {what: together([part.encounters[what] for part in parts]) for what in ENCOUNTERED}
        joined.encounters = parts[0].encounters | counts
    joined.recorded = joint_record([part.recorded for part in parts], order)
    joined.scheduled = _joint_schedule([part.scheduled for part in parts], order)
    joined.diagnostics = {name: together([part.diagnostics[name] for part in parts]) for name in parts[0].diagnostics}
    return joined


def members(results: Results, seeds: list[int]) -> Results:
    """The results of some of the members alone."""
    return results if seeds == results.seeds else join([results], seeds)


def _joint_schedule(parts: list[dict[str, Any] | None], order: list[int]) -> dict[str, Any] | None:
    """What was scheduled for all members; None where it is not known of some, or runs put together are not equally long."""
    first = parts[0]
    if not all(part and (part["steps"], part["tasks"]) == (first["steps"], first["tasks"]) for part in parts):
        return None
    joint = {name: [part[name] for part in parts] for name in OF_MEMBERS}
    joint = {name: None if values[0] is None else np.concatenate(values)[order] for name, values in joint.items()}
    snapshots = [steps for part in parts for steps in part["snapshots"]]
    return first | joint | {"snapshots": [snapshots[i] for i in order]}


def _joint_provenance(parts: list[Results]) -> dict[str, Any]:
    """The first part's, with the cores of all; without any where nothing is known of them."""
    known = {key: value for key, value in parts[0].provenance.items() if key != "core"}
    cores = together(part.provenance.get("core") for part in parts)
    return known | ({"core": cores} if cores else {})


def _joint_cost(parts: list[Results], order: list[int]) -> dict[str, Any]:
    """Processes run side by side: time is the longest, state the sum, the step that was resumed from the earliest; the rest is
    each member's own."""
    cost = dict(parts[0].cost)
    samples = [n for part in parts for n in part.cost["samples"]]
    cost["samples"] = [samples[i] for i in order]
    cost["wall_seconds"] = max(part.cost["wall_seconds"] for part in parts)
    resumed = [part.cost["resumed_from_step"] for part in parts if part.cost["resumed_from_step"] is not None]
    cost["resumed_from_step"] = min(resumed, default=None)
    state = [part.cost["state_bytes"] for part in parts]
    cost["state_bytes"] = None if None in state else sum(state)
    cost["wall_seconds_per_member"] = cost["wall_seconds"] / len(samples)
    return cost


def save(results: Results, folder: Path) -> Path:
    """Write `results.json` whole or not at all."""
    content = asdict(results) | {"config": _told(results.config), "violated": worst_alone(results.violated)}
    if results.accuracy.shape[2] > LARGE:
        arrays = {name: getattr(results, name) for name in OVER_PAIRS if getattr(results, name) is not None}
        content |= dict.fromkeys(arrays, "accuracy.npz")
        if results.curves:
            arrays["curves"], content["curves"]["accuracy"] = results.curves["accuracy"], "accuracy.npz"
        for what in ENCOUNTERED if results.encounters else ():
            arrays[what], content["encounters"][what] = results.encounters[what], "accuracy.npz"
        for name, array in results.matrices.items():
            arrays[f"matrices/{name}"], content["matrices"][name] = array, "accuracy.npz"
        for kind, name, array in _of_beside(results.beside):
            arrays[f"{kind}/{name}"], content["beside"][kind][name] = array, "accuracy.npz"
        write_whole(folder / "accuracy.npz", lambda file: np.savez_compressed(file, **arrays))
    del content["recorded"]
    if results.recorded is not None:
        write_whole(folder / RECORDED, results.recorded.write)
    text = json.dumps(_plain(content), allow_nan=False)
    write_whole(folder / "results.json", lambda file: file.write(text.encode()))
    return folder / "results.json"


def _of_beside(beside: dict[str, dict[str, Any]]) -> list[tuple[str, str, Any]]:
    """Kind, name and array of all that there is beside."""
    return [(kind, name, given) for kind, other in beside.items() for name, given in other.items() if given is not None]


def load(folder: Path) -> Results:
    """The results of a finished run directory."""
    path = Path(folder) / "results.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        if content.get("format", FORMAT) > FORMAT:
            raise ValueError(f"format {content['format']}: of a newer lab")
        if content["accuracy"] == "accuracy.npz":
            with np.load(Path(folder) / "accuracy.npz") as arrays:
                content |= {name: arrays[name] for name in OVER_PAIRS if content.get(name)}
                if content["curves"]:
                    content["curves"]["accuracy"] = arrays["curves"]
                if content.get("encounters"):
                    content["encounters"] |= {what: arrays[what] for what in ENCOUNTERED}
                for name in content.get("matrices", {}):
                    content["matrices"][name] = arrays[f"matrices/{name}"]
                for kind, name, _ in _of_beside(content.get("beside", {})):
                    content["beside"][kind][name] = arrays[f"{kind}/{name}"]
        for name in (*OVER_PAIRS, "online_accuracy", "online_baseline"):
            given = content.get(name)  # newer fields are absent from older files
            content[name] = None if given is None else np.array(given, dtype=float)
        for kind, name, given in _of_beside(content.get("beside", {})):
            content["beside"][kind][name] = np.array(given, dtype=float)
        if content["curves"]:
            content["curves"]["accuracy"] = np.array(content["curves"]["accuracy"], dtype=float)
        if content.get("encounters"):
            content["encounters"] |= {what: np.array(content["encounters"][what], dtype=int) for what in ENCOUNTERED}
        if content.get("scheduled"):
            given = {name: content["scheduled"][name] for name in OF_MEMBERS}
            content["scheduled"] |= {name: of and np.array(of, dtype=float) for name, of in given.items()}
        for name in ("metrics", "diagnostics", "matrices"):
            figures = content.get(name, {})
            content[name] = {figure: np.array(values, dtype=float) for figure, values in figures.items()}
        return _sound(Results(**content))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; is the run finished?") from None
    except (OSError, EOFError, BadZipFile, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: is not a results file of this lab ({error})") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name}: no number of JSON")


def _sound(results: Results) -> Results:
    """Refuse what has the fields of a results file but not their shapes.

    Raises:
        ValueError: says which.
    """
    count, rows, tasks = results.accuracy.shape
    if not all(isinstance(seed, int) for seed in results.seeds):
        raise ValueError("its seeds are no whole numbers")
    figures = [*results.metrics.values(), *results.diagnostics.values()]
    lengths = {len(results.seeds), len(results.diverged), count, *map(len, figures)}
    curves = results.curves and results.curves["accuracy"].shape
    if any(matrix.shape != results.accuracy.shape for matrix in results.matrices.values()):
        raise ValueError("its matrices are not all of the shape of the accuracy tensor")
    lengths |= {len(results.scheduled["rate"])} if results.scheduled else set()
    if len(lengths) > 1 or rows != tasks + 1 or (curves and curves != (count, len(results.curves["steps"]), tasks)):
        shape = list(results.accuracy.shape)
        raise ValueError(f"{len(results.seeds)} seeds, accuracy of shape {shape}, and metrics or curves that do not fit them")
    config = results.config
    if not (isinstance(config["strategy"], dict) and config["strategy"] and isinstance(config["environment"]["_target_"], str)):
        raise ValueError("its config names no strategy or no environment")
    sections = (config.get("optimizer") or {}, config.get("trainer") or {}, results.provenance, results.undefined)
    if not all(isinstance(section, dict) for section in sections) or not isinstance(results.cost["wall_seconds"], (int, float)):
        raise ValueError("its optimizer, trainer, provenance, undefined or cost is none")
    return results


def write_whole(path: Path, write: Any) -> None:
    """Call ``write(file)`` so that ``path`` is the old file or the whole new one, whatever happens meanwhile."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk names none
        raise
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _told(setting: Any) -> Any:
    """Settings in which infinity, which JSON has no number for, is the word ``inf``: null would be another setting."""
    if isinstance(setting, dict):
        return {key: _told(value) for key, value in setting.items()}
    if isinstance(setting, (list, tuple)):
        return [_told(value) for value in setting]
    return str(setting) if isinstance(setting, float) and np.isinf(setting) else setting


def _plain(value: Any) -> Any:
    """JSON's own types; NaN becomes null, float32 its shortest decimal."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (np.floating, float)):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
