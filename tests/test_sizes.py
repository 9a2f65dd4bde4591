"""The bars of size that the design sets to the two methods that everybody reads first: lines of code, without docstrings."""

import ast
from pathlib import Path

import pytest

STRATEGIES = Path(__file__).resolve().parent.parent / "strategies"


def lines_of_code(text: str) -> int:
    """Lines that are neither blank nor comments nor docstrings.

    >>> lines_of_code("# why" + chr(10) + chr(10) + "x = 1")
    1
    """
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    strings = [node.body[0] for node in ast.walk(ast.parse(text)) if isinstance(node, documented) and ast.get_docstring(node)]
    docstrings = {number for string in strings for number in range(string.lineno, string.end_lineno + 1)}
    code = (line.strip() for number, line in enumerate(text.splitlines(), 1) if number not in docstrings)
    return sum(bool(line) and not line.startswith("#") for line in code)


@pytest.mark.parametrize(("method", "most"), [("er", 25), ("ewc", 45)])
def test_a_method_is_a_page(method, most):
    assert 0 < lines_of_code((STRATEGIES / f"{method}.py").read_text()) <= most
