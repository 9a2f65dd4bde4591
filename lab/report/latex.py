"""A comparison as LaTeX tables (booktabs)."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable

from lab.comparison.findings import Comparison
from lab.report.sheets import DASH, Sheet, sheets

HEAD = r"""% Needs \usepackage{booktabs} and \usepackage{graphicx}.
% In a document of two columns, write table* for table. Letters beyond Latin need XeLaTeX or LuaLaTeX.
\providecommand{\labstack}[2][r]{\begin{tabular}[t]{@{}#1@{}}#2\end{tabular}}"""

LONGEST_NAME = 30
"""Characters of a cell's name on a line."""

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$", '"': "''",
    "`": "{`}", "[": "{[}", "]": "{]}", "*": "{*}", "·": r"$\cdot$", "×": r"$\times$",
    "–": r"\textendash{}", "—": r"\textemdash{}", "→": r"$\to$", "±": r"$\pm$",
}  # fmt: skip
"""What LaTeX, or the oldest fonts, would take for something else; after ``\\\\`` a bracket is a length, a star a command."""

NUMERIC = re.compile(r"[<-]?[\d.]+|\[-?[\d.]+, -?[\d.]+\]")


def as_latex(comparison: Comparison) -> str:
    """A table for each sheet, with the notes in small type below it, and what was left out as a paragraph."""
    parts = [HEAD, *(_table(sheet, number) for number, sheet in enumerate(sheets(comparison), 1))]
    for title, sentences in (("Left out", comparison.left_out), ("Notes", comparison.notes)):
        if sentences:
            items = "\n".join(rf"\item {escaped(sentence)}" for sentence in sentences)
            parts.append(f"\\paragraph{{{title}}}\n\\begin{{itemize}}\n{items}\n\\end{{itemize}}")
    return "\n\n".join(parts) + "\n"


def _table(sheet: Sheet, number: int) -> str:
    rows = [[_name(row[0]), *map(_number, row[1:])] for row in sheet.rows]
    if sheet.best:
        row, column = sheet.best
        rows[row][column] = re.sub(r"\$(-?[\d.]+)", r"$\\mathbf{\1}", rows[row][column], count=1)
    header = [_stacked(re.split(r" (?=[\[(]|to )", words), _symbols) for words in sheet.header]
    head, *body = (" & ".join(line) + r" \\" for line in [header, *rows])
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(sheet.title[:1].upper() + sheet.title[1:])}.}}",
        rf"\label{{tab:{number}-{_slug(sheet.title)}}}",
        r"\footnotesize\setlength{\tabcolsep}{4pt}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * (len(sheet.header) - 1)}}}",
        r"\toprule", head, r"\midrule", *body, r"\bottomrule",
        r"\end{tabular}}",
        r"\par\smallskip",
        rf"\parbox{{\linewidth}}{{\scriptsize\raggedright {_symbols(' '.join(sheet.notes))}}}",
        r"\end{table}",
    ]  # fmt: skip
    return "\n".join(lines)


def _name(words: str) -> str:
    return _stacked(textwrap.wrap(words, LONGEST_NAME, break_on_hyphens=False) or [""], escaped, "l")


def _number(words: str) -> str:
    """A number as a formula, its interval below it; other words as they are."""
    if words == DASH:
        return "--"
    return _stacked(words.split(" [")[:1] + [f"[{rest}" for rest in words.split(" [")[1:]], _formula)


def _formula(words: str) -> str:
    return f"${words}$" if NUMERIC.fullmatch(words) else escaped(words)


def _stacked(lines: list[str], write: Callable[[str], str], side: str = "r") -> str:
    """Lines in one field of a table."""
    written = r" \\ ".join(map(write, lines))
    return written if len(lines) == 1 else rf"\labstack[{side}]{{{written}}}"


def _symbols(words: str) -> str:
    """Symbols as formulae."""
    return re.sub(r"^p\b", "$p$", escaped(words).replace(r"d\_z", "$d_z$"))


def escaped(words: str) -> str:
    """Words that LaTeX prints as they are, on one line."""
    printable = "".join(letter if letter.isprintable() else " " for letter in words)
    words = "".join(SPECIAL.get(letter, letter) for letter in " ".join(printable.split()))
    return re.sub("-(?=-)", "-{}", words)


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
