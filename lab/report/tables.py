"""A comparison written out: for the terminal, as Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import io
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lab.comparison.findings import Comparison
from lab.report.latex import as_latex
from lab.report.records import as_csv, as_json
from lab.report.sheets import Sheet, sheets
from lab.results import write_whole

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

__all__ = ["Sheet", "as_csv", "as_json", "as_latex", "as_markdown", "as_text", "print_comparison", "sheets", "write_tables"]

LONGEST_NAME = 32
"""Characters of a cell's name in a line of the terminal; longer ones are folded."""


def write_tables(comparison: Comparison, folder: Path) -> list[Path]:
    """`comparison.md`, `.tex`, `.csv` and `.json` in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {"md": as_markdown, "tex": as_latex, "csv": as_csv, "json": as_json}
    files = {folder / f"comparison.{kind}": text for kind, text in written.items()}
    for file, text in files.items():
        write_whole(file, partial(_encode, text(comparison)))
    return list(files)


def _encode(text: str, file: BinaryIO) -> None:
    file.write(text.encode())


def as_text(comparison: Comparison, width: int = 120) -> str:
    """Tables of at most ``width`` characters a line: what does not fit beside the names stands below, with the names again."""
    from rich.console import Console

    file = io.StringIO()
    print_comparison(comparison, Console(file=file, width=width, color_system=None))
    return file.getvalue()


def print_comparison(comparison: Comparison, console: Console) -> None:
    """The tables and what must be known to read them, on a console of rich."""
    said: set[str] = set()
    for sheet in sheets(comparison):
        console.print(sheet.title, style="bold", markup=False, highlight=False)
        for part in _parts(sheet, console.width):
            console.print(_table(sheet, part))
        for note in sheet.notes:
            if note not in said:
                console.print(note, markup=False, highlight=False, style="dim")
        said.update(sheet.notes)
        console.print()
    for title, sentences in _remarks(comparison):
        console.print(title, style="bold")
        for sentence in sentences:
            console.print(f"- {sentence}", markup=False, highlight=False)


def _table(sheet: Sheet, columns: list[int]) -> Table:
    """Some of a sheet's columns, after that of the names."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column(Text(sheet.header[0]), overflow="fold", max_width=LONGEST_NAME)
    for column in columns:
        table.add_column(Text(_stacked(sheet.header[column])), no_wrap=True)
    for place, row in enumerate(sheet.rows):
        table.add_row(Text(row[0]), *(_shown(row[c], best=sheet.best == (place, c)) for c in columns))
    return table


def _shown(words: str, best: bool) -> Text:
    """As rich takes no word of it for markup; the best with a star after its value."""
    from rich.text import Text

    value, _, rest = words.partition(" ")
    return Text(_stacked(f"{value}* {rest}".strip()), "bold") if best else Text(_stacked(words))


def _parts(sheet: Sheet, width: int) -> list[list[int]]:
    """The columns after the first in groups that fit into the width beside the names; never an empty group."""

    def needed(column: int) -> int:
        words = [_stacked(row[column]) for row in [sheet.header, *sheet.rows]]
        return max(len(line) for word in words for line in word.split("\n")) + 2

    first = min(LONGEST_NAME + 2, needed(0))
    parts, free = [], 0
    for column in range(1, len(sheet.header)):
        if not parts or needed(column) > free:
            parts.append([])
            free = width - first
        parts[-1].append(column)
        free -= needed(column)
    return parts


def _stacked(words: str) -> str:
    """An interval below its value."""
    return words.replace(" [", "\n[")


def as_markdown(comparison: Comparison) -> str:
    """Tables of GitHub's Markdown."""
    parts, said = [], set()
    for sheet in sheets(comparison):
        parts += [f"### {_escaped(sheet.title)}", _markdown_table(sheet)]
        notes = [_escaped(note) for note in sheet.notes if note not in said]
        parts += ["\n".join(f"- {note}" for note in notes)] if notes else []
        said.update(sheet.notes)
    for title, sentences in _remarks(comparison):
        parts += [f"### {title}", "\n".join(f"- {_escaped(sentence)}" for sentence in sentences)]
    return "\n\n".join(parts) + "\n"


def _markdown_table(sheet: Sheet) -> str:
    rows = [[_escaped(word) for word in row] for row in sheet.rows]
    if sheet.best:
        row, column = sheet.best
        value, _, rest = rows[row][column].partition(" ")
        rows[row][column] = f"**{value}** {rest}".strip()
    lines = [[_escaped(word) for word in sheet.header], [":--", *["--:"] * (len(sheet.header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escaped(words: str) -> str:
    """Without what Markdown would take for its own, on one line."""
    return re.sub(r"([\\`*_|<>#$~])", r"\\\1", " ".join(words.split()))


def _remarks(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """What stands at the end, if there is any."""
    found = [("Left out", comparison.left_out), ("Notes", comparison.notes)]
    return [(title, sentences) for title, sentences in found if sentences]
