"""Property 6: who may import whom, read from the source without importing anything."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OWN = ("lab", "strategies", "environments")
MAY_OF_LAB = ("lab.protocols", "lab.networks")
BRIDGE = "avalanche"
"""The one module of a package that may import Avalanche is named so."""
FAMILIES = (BRIDGE, "pheromone")
"""Methods of several files, whose names begin with the method's."""


def sources(*packages):
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py") if "conf" not in path.parts)


def imported(text, module):
    """The dotted names that a module's text imports, anywhere in it (those for type checkers too), made absolute."""
    package = module.split(".")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package[: len(package) - node.level], node.module or ""]) if node.level else node.module
            base = base.rstrip(".")
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__"):
                yield from (word.value for word in node.args[:1] if isinstance(word, ast.Constant))


def imports_of(path):
    return list(imported(path.read_text(), ".".join(path.relative_to(ROOT).with_suffix("").parts)))


def of(name, *packages):
    return any(name == package or name.startswith(package + ".") for package in packages)


def name_of(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", sources("strategies", "environments"), ids=name_of)
def test_methods_and_streams_know_the_protocols_alone(path):
    other = {"strategies": "environments", "environments": "strategies"}[path.relative_to(ROOT).parts[0]]
    for name in imports_of(path):
        assert not of(name, other), f"{name_of(path)} imports {name}: strategies and environments meet in the configuration"
        assert not of(name, "lab") or of(name, *MAY_OF_LAB), f"{name_of(path)} imports {name}; it may import {MAY_OF_LAB}"


@pytest.mark.parametrize("path", sources("strategies"), ids=name_of)
def test_a_strategy_stands_alone(path):
    """One method, one file, but for families: none builds on another's."""
    own = tuple(f"strategies.{family}_" for family in FAMILIES if path.stem.startswith(family))
    assert not [name for name in imports_of(path) if of(name, "strategies") and not name.startswith(own)]


@pytest.mark.parametrize("path", sources("lab"), ids=name_of)
def test_the_lab_names_no_method_and_no_stream(path):
    assert not [name for name in imports_of(path) if of(name, "strategies", "environments")]


@pytest.mark.parametrize("path", sources(*OWN), ids=name_of)
def test_every_heavy_tool_has_one_door(path):
    inside = path.relative_to(ROOT).with_suffix("").parts
    for name in imports_of(path):
        assert not of(name, "mlflow") or inside[:2] == ("lab", "tracking"), f"{name_of(path)} imports {name}"
        assert not of(name, "optuna") or inside[:2] == ("lab", "sweep"), f"{name_of(path)} imports {name}"
        bridge = inside[0] in ("strategies", "environments") and inside[-1].startswith(BRIDGE)
        assert not of(name, "avalanche") or bridge, f"{name_of(path)} imports {name}"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("import mlflow.tracking as t", ["mlflow.tracking"]),
        ("def f():\n    from optuna import create_study", ["optuna.create_study"]),
        ("from . import er", ["strategies.er"]),
        ("from .er import ER", ["strategies.er.ER"]),
        ("if TYPE_CHECKING:\n    from lab.learner import X", ["lab.learner.X"]),
        ("import importlib\nimportlib.import_module('mlflow')", ["importlib", "mlflow"]),
        ("from lab import config", ["lab.config"]),
    ],
)
def test_the_reader_of_imports_sees(text, names):
    assert list(imported(text, "strategies.mine")) == names


def test_the_packages_under_test_are_the_projects_own():
    import environments
    import lab
    import strategies

    for package in (lab, strategies, environments):
        assert Path(package.__file__).is_relative_to(ROOT), f"{package.__name__} comes from {package.__file__}"
