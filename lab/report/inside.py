"""A look inside: fields over time as a picture and as a film, and in words how far slots of different seeds agree and which
planted parts the strongest pathways lead between.

Fields are whatever strategies keep (:meth:`lab.protocols.Strategy.recorded`) of shape ``[M, a, b]``. Letters in shapes: E
moments, M members, L layers, K planted parts, m slots.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray as Array

from lab.agreement import of_fields, of_slots
from lab.recorded import Recorded
from lab.report.curves import thinned
from lab.report.drawing import band, empty, look
from lab.results import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOMENTS, FRAMES = 6, 40
"""Of a picture, and of a film; of more, evenly spaced ones."""
FIELDS, MEMBERS = 4, 3
"""Fields that are shown, and members that a film shows."""
STRONGEST = 3
"""Pathways of a field that are told."""
SEEDS = 5
"""Whose strongest pathways are told."""


def fields_of(recorded: Recorded | None) -> dict[str, Array]:
    """What was kept that is a field: ``{strategy.name: [E, M, a, b]}``."""
    return {} if recorded is None else {name: value for name, value in recorded.values.items() if value.ndim == 4}


# --- pictures ---------------------------------------------------------------------------------------------------------


def over_time(recorded: Recorded | None) -> Figure | None:
    """The first member's fields at some moments, rows by field, and below them their mean and evenness over training, with
    bands over seeds; None where no field was kept."""
    fields = dict(list(fields_of(recorded).items())[:FIELDS])
    if not fields:
        return None
    moments = thinned(np.arange(len(recorded.steps)), MOMENTS)
    figure = empty(7.0, 1.5 * len(fields) + 2.4)
    above, below = figure.subfigures(2, 1, height_ratios=(1.5 * len(fields), 2.4))
    images, edges = [], _edges(list(fields.values()))
    panels = above.subplots(len(fields), len(moments), squeeze=False)
    for row, (name, field) in zip(panels, fields.items(), strict=True):
        images += [_field(axes, field[moment, 0], edges) for axes, moment in zip(row, moments, strict=True)]
        row[0].set_ylabel(_short(name), fontsize=7)
    for axes, moment in zip(panels[0], moments, strict=True):
        axes.set_title(f"step {recorded.steps[moment]}", fontsize=7)
    above.colorbar(images[0], ax=panels, shrink=0.8)
    for axes, (label, of) in zip(
        below.subplots(1, 2), (("mean", _mean), ("evenness (entropy / log n)", _entropy)), strict=True
    ):
        for number, (name, field) in enumerate(fields.items()):
            band(axes, recorded.steps, of(field).T, _short(name), look(number), number)
        axes.set_xlabel("training step", fontsize=8)
        axes.set_title(label, fontsize=8)
        for end in recorded.ends[:-1]:
            axes.axvline(end, color="0.7", linewidth=0.6, zorder=0)
    axes.legend(fontsize=7, frameon=False)
    return figure


def film(recorded: Recorded | None) -> bytes | None:
    """Fields of the first members over training as an animated GIF; None where none was kept."""
    fields = dict(list(fields_of(recorded).items())[:FIELDS])
    if not fields:
        return None
    from matplotlib.animation import PillowWriter

    members = range(min(MEMBERS, len(recorded.seeds)))
    figure = empty(1.7 * len(members) + 0.7, 1.6 * len(fields) + 0.4)
    panels, edges, images = figure.subplots(len(fields), len(members), squeeze=False), _edges(list(fields.values())), []
    for row, (name, field) in zip(panels, fields.items(), strict=True):
        for axes, member in zip(row, members, strict=True):
            images.append((_field(axes, field[0, member], edges), field[:, member]))
        row[0].set_ylabel(_short(name), fontsize=7)
    for axes, member in zip(panels[0], members, strict=True):
        axes.set_title(f"seed {recorded.seeds[member]}", fontsize=7)
    figure.colorbar(images[0][0], ax=panels, shrink=0.8)
    writer = PillowWriter(fps=6)
    with tempfile.TemporaryDirectory() as folder:
        with writer.saving(figure, Path(folder) / "film.gif", dpi=90):
            for moment in thinned(np.arange(len(recorded.steps)), FRAMES):
                figure.suptitle(f"step {recorded.steps[moment]}", fontsize=8)
                for image, values in images:
                    image.set_data(values[moment])
                writer.grab_frame()
        return (Path(folder) / "film.gif").read_bytes()


def write_film(recorded: Recorded | None, path: Path) -> list[Path]:
    """The film as a file; none where there is nothing to be seen."""
    content = film(recorded)
    if content is None:
        return []
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: file.write(content))
    return [path]


def _field(axes, values: Array, edges: tuple[float, float]):
    axes.set(xticks=[], yticks=[])
    return axes.imshow(values, vmin=edges[0], vmax=edges[1], cmap="viridis", interpolation="nearest")


def _edges(fields: list[Array]) -> tuple[float, float]:
    """The least and the largest value of all."""
    return min(float(np.nanmin(field)) for field in fields), max(float(np.nanmax(field)) for field in fields)


def _short(name: str) -> str:
    return name.rpartition(".")[2].replace("_", " ")


def _mean(fields: Array) -> Array:
    return fields.mean((2, 3))


def _entropy(fields: Array) -> Array:
    """How evenly a field is spread, ``[E, M]``: 1 where all entries are equal; NaN where some are below 0."""
    flat = fields.reshape(*fields.shape[:2], -1)
    shares = np.where(flat >= 0, flat, np.nan) / flat.sum(2, keepdims=True)
    logs = np.log(np.where(shares > 0, shares, 1))
    return -(shares * logs).sum(2) / np.log(flat.shape[2])


# --- in words ---------------------------------------------------------------------------------------------------------

AGREEMENT = ["what", "as they are", "by chance", "matched", "by chance"]


def agreement(recorded: Recorded | None) -> list[list[str]]:
    """How far different seeds' slots hold the same at the end, by layer and view, and their fields' entries agree, by the
    columns of :data:`AGREEMENT`: mean correlations over pairs of seeds."""
    rows = []
    for layer, view, profiles in _profiles(recorded):
        found = of_slots(profiles)
        if found is not None:
            figures = (found.same, found.other, found.matched, found.chance)
            rows.append([f"slots, layer {layer + 1}, view {view + 1}", *(f"{figure:.2f}" for figure in figures)])
    for name, field in fields_of(recorded).items():
        found = of_fields(field[-1])
        if found is not None:
            rows.append([_short(name), *(f"{figure:.2f}" for figure in found), "-", "-"])
    return rows


def _profiles(recorded: Recorded | None):
    """Layer, view, and what slots held when the last phase ended, ``[M, m, F]``: of each place, and of each planted part that
    was there in any sequence."""
    contents = recorded.contents if recorded else {}
    if "by_place" not in contents:
        return
    parts = [contents[name][-1] for name in ("by_place", "by_mark") if name in contents]
    together = np.concatenate(parts, 3)  # [M, L, 2, F, m]
    together = together[:, :, :, ~np.isnan(together).any((0, 1, 2, 4))]
    for layer in range(together.shape[1]):
        for view in range(together.shape[2]):
            yield layer, view, together[:, layer, view].swapaxes(1, 2)


CARRIED = ["seed", "layer", "pathway", "field", "from", "to"]


def carried(recorded: Recorded | None) -> list[list[str]]:
    """The strongest pathways of the first seeds at the end, by the columns of :data:`CARRIED`: from which planted part to
    which, and how many times as much of it the slot holds as of what was not planted."""
    held = recorded.contents.get("by_mark") if recorded else None
    fields = list(fields_of(recorded).values())
    if held is None or len(fields) != held.shape[2]:
        return []
    rows = []
    for member in range(min(SEEDS, len(recorded.seeds))):
        for layer, field in enumerate(fields):
            final, more = field[-1, member], enrichment(held[-1, member, layer])
            for a, b in strongest(final):
                ends = [_told(more[view][:, slot]) for view, slot in enumerate((a, b))]
                what = [str(recorded.seeds[member]), str(layer + 1), f"{a + 1} → {b + 1}", f"{final[a, b]:.2f}"]
                rows.append([*what, *ends])
    return rows


def strongest(field: Array) -> list[tuple[int, int]]:
    """The largest entries of a field ``[a, b]``, the largest first, of equal ones the first."""
    order = np.argsort(-field, axis=None, kind="stable")[:STRONGEST]
    return [divmod(int(place), field.shape[1]) for place in order]


def enrichment(held: Array) -> Array:
    """How many times as much slots hold of each planted part as of what was not planted: ``[2, K + 1, m]`` (row 0: what was
    not) -> ``[2, K, m]``."""
    return held[:, 1:] / np.maximum(held[:, :1], 1e-12)


def mean_enrichment(recorded: Recorded | None) -> tuple[float, float] | None:
    """The enrichment of the part that a slot holds most of: mean over both ends of the strongest pathways, and over all slots,
    which is what any pathways would have. None where there are no planted parts, or no sequence has any."""
    held = recorded.contents.get("by_mark") if recorded else None
    fields = list(fields_of(recorded).values())
    if held is None or len(fields) != held.shape[2]:
        return None
    parts = [[enrichment(of_layer) for of_layer in of_member] for of_member in held[-1]]
    most = np.fmax.reduce(parts, 3)  # [M, L, 2, m]; a part that no sequence has is undefined
    if np.isnan(most).any():
        return None
    ends = [
        most[member, layer, view, pathway[view]]
        for member in range(len(most))
        for layer, field in enumerate(fields)
        for pathway in strongest(field[-1, member])
        for view in (0, 1)
    ]
    return float(np.mean(ends)), float(most.mean())


def _told(more: Array) -> str:
    """``part 2 (x 1.4)``: what a slot holds most of, compared with what was not planted."""
    if not np.isfinite(more).any():
        return "-"
    part = int(np.nanargmax(more))
    return f"part {part + 1} (x {more[part]:.2f})"
