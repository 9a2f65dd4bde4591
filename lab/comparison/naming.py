"""Names that tell environments and methods apart, no longer than that takes."""

from __future__ import annotations

from typing import Any

from lab.comparison.protocol import Settings, differences
from lab.report.summary import stream_name

Named = tuple[str, str, Settings]
"""A cell's name, its environment and its settings."""


def environment_names(cells: list[tuple[str, Settings, dict[str, Any]]]) -> list[str]:
    """A name of each cell's block: its study's word for it or its stream's name, and what tells it from others called so.

    Args:
        cells: of each the study's word (empty for none), its settings and its configuration.
    """
    blocks: dict[tuple, list[tuple[str, Settings, dict[str, Any]]]] = {}
    for cell in cells:
        blocks.setdefault(_block(cell), []).append(cell)
    plain = {block: _plain(group) for block, group in blocks.items()}
    names = {block: _apart(block, plain, {key: group[0][1] for key, group in blocks.items()}) for block in blocks}
    return [names[_block(cell)] for cell in cells]


def _block(cell: tuple[str, Settings, dict[str, Any]]) -> tuple:
    place, settings, _ = cell
    return place, tuple(settings.protocol.items())


def _plain(group: list[tuple[str, Settings, dict[str, Any]]]) -> str:
    """The study's word, or the stream's name; several where streams are what is compared."""
    streams = list(dict.fromkeys(stream_name(config) for _, _, config in group))
    return group[0][0] or (streams[0] if len(streams) == 1 else f"{len(streams)} streams")


def _apart(block: tuple, plain: dict[tuple, str], settings: dict[tuple, Settings]) -> str:
    namesakes = [settings[other] for other, name in plain.items() if name == plain[block] and other != block]
    keys = sorted({key for other in namesakes for key, *_ in differences(settings[block], other)})
    own = settings[block].protocol
    return ", ".join([plain[block], *(f"{_short(key, keys)}={own.get(key, '-')}" for key in keys)])


def method_names(cells: list[Named]) -> list[str]:
    """Cells of one name in one environment get what tells them apart, and their like elsewhere the same settings."""
    keys: dict[str, set[str]] = {}
    for number, (name, _, settings) in enumerate(cells):
        for other in _namesakes(number, cells):
            keys.setdefault(name, set()).update(_differing(settings, other))
    return [_with_settings(number, sorted(keys.get(cells[number][0], ())), cells) for number in range(len(cells))]


def _namesakes(number: int, cells: list[Named]) -> list[Settings]:
    block = cells[number][:2]
    return [other for place, (*others, other) in enumerate(cells) if place != number and tuple(others) == block]


def _differing(one: Settings, other: Settings) -> set[str]:
    """The keys of the method that differ, or else of what was thought not to matter."""
    for mine, yours in ((one.method, other.method), (one.ignored, other.ignored)):
        keys = {key for key in mine.keys() | yours.keys() if mine.get(key) != yours.get(key)}
        if keys:
            return keys
    return set()


def _with_settings(number: int, keys: list[str], cells: list[Named]) -> str:
    name, _, settings = cells[number]
    known = settings.ignored | settings.method
    words = [f"{_short(key, keys)}={known.get(key, '-')}" for key in keys]
    if any(not _differing(settings, other) for other in _namesakes(number, cells)):
        words.append(f"(code {settings.code[:6]})")
    return " ".join([name, *words])


def _short(key: str, among: list[str]) -> str:
    """The last word of a dotted key, where that says which."""
    last = key.rpartition(".")[2]
    return key if sum(other.rpartition(".")[2] == last for other in among) > 1 else last
