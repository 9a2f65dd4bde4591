"""Which version of the lab's core a number is of.

A cell's digest covers the settings and the modules that they name: methods, environments, networks, optimisers. What these
stand on is here, one hash over the code. It decides no cell: where runs of different cores meet, that is said in a sentence.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from lab.cell import digest

CORE = (
    "ahead", "answering", "arranging", "asking", "averaging", "batch", "compacting", "encounters", "engine",
    "evaluation", "experiment", "fisher", "flat", "holding", "lags", "learner", "member", "memory", "metrics", "order",
    "per_sample", "population", "protocols", "quadratic", "reader", "recorder", "rows", "ruled", "rules", "schedules",
    "scores", "seeding", "services", "snapshot", "spans", "stages", "stream", "tracing", "training", "trial",
    "violated",
)  # fmt: skip
"""Modules and packages of `lab` that decide what is trained, and what is measured of it."""

_HERE = Path(__file__).resolve().parent


@cache
def core() -> str:
    """The core that is here now: a hash over the modules' code, whatever their comments and docstrings say."""
    return digest(*(_bare(path.read_text(encoding="utf-8")) for path in files()))


def files() -> list[Path]:
    """The files of :data:`CORE`."""
    return [path for name in CORE for path in (sorted((_HERE / name).glob("*.py")) or [_HERE / f"{name}.py"])]


def together(cores: Iterable[str | None]) -> str | None:
    """The cores that numbers put together are of; None where it is not known of some.

    >>> together(["a", "b+a"]), together(["a", "a"]), together(["a", None])
    ('a+b', 'a', None)
    """
    known = list(cores)
    if not all(known):
        return None
    return "+".join(sorted({one for each in known for one in each.split("+")}))


def another(core_then: str | None) -> str | None:
    """How to name the core that something was made by, where it is another than this one; None where it is not, or unknown."""
    if core_then is None or core_then == core():
        return None
    return f"another version of the lab's core ({core_then}, not {core()})"


def _bare(text: str) -> str:
    """Code without comments and docstrings, as one text.

    >>> _bare('x = 1  # why') == _bare('x  =  1'), _bare('def f():\\n    "Says."\\n    return 1') == _bare('def f(): return 1')
    (True, True)
    """
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [part for part in node.body if not _is_text(part)]
    return _told(tree)


def _told(node: object) -> str:
    """A syntax tree as a text that is the same whatever Python reads it: without empty fields, which newer ones have more of.

    >>> _told(ast.parse("x = None"))
    "Module(body=[Assign(targets=[Name(id='x', ctx=Store())], value=Constant())])"
    """
    if isinstance(node, ast.JoinedStr):  # 3.12.1 has empty texts in nested formats
        node.values = [part for part in node.values if getattr(part, "value", None) != ""]
    if isinstance(node, ast.AST):
        fields = ((name, _told(value)) for name, value in ast.iter_fields(node))
        return f"{type(node).__name__}({', '.join(f'{name}={text}' for name, text in fields if text not in ('[]', 'None'))})"
    return f"[{', '.join(map(_told, node))}]" if isinstance(node, list) else repr(node)


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)
    )
