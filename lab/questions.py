"""Files that ask something: studies and sweeps lie in one folder, `sweeps/`, and are told apart by their keys."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.config import nearest
from lab.errors import UserError, require

_HERE = Path(__file__).resolve().parent
OWN = next((path for path in (_HERE / "sweeps", _HERE.parent / "sweeps") if path.is_dir()), _HERE / "sweeps")
"""The lab's own questions, in a checkout or where it is installed."""

SWEEPS_KEY = "objectives"
"""What every sweep has, and no study."""


@dataclass(frozen=True)
class Kind:
    """Studies or sweeps."""

    command: str
    key: str
    """What every file of this kind has at its top level."""

    def has(self, path: Path) -> bool:
        """Whether a file is of this kind, as far as its keys say; a sweep may claim something too."""
        text = "\n" + path.read_text(encoding="utf-8-sig", errors="replace")
        return _says(text, self.key) and _says(text, SWEEPS_KEY) == (self.key == SWEEPS_KEY)

    def files(self) -> dict[str, Path]:
        """Files by name: the user's own in `./sweeps`, then the lab's."""
        found: dict[str, Path] = {}
        for folder in (Path("sweeps"), OWN):
            for path in sorted(file for file in folder.glob("*.yaml") if file.is_file() and self.has(file)):
                found.setdefault(path.stem, path.resolve())
        return found

    def path(self, name: str) -> Path:
        """The file of that name, or that file.

        Raises:
            UserError: there is none.
        """
        if is_file(name):
            return Path(name)
        files = self.files()
        if name in files:
            return files[name]
        other = next((folder / f"{name}.yaml" for folder in (Path("sweeps"), OWN) if (folder / f"{name}.yaml").is_file()), None)
        if other and not any(kind.has(other) for kind in (STUDIES, SWEEPS)):
            return other  # which says what it lacks when it is read
        there = f"There are {', '.join(files) or 'none'}"
        if other:
            kind = next(kind for kind in (STUDIES, SWEEPS) if kind.has(other))
            raise UserError(f"{self.command} {name}: is asked by {kind.command} {name}. {there}")
        raise UserError(f"{self.command} {name}: there is none. {nearest(name, list(files))}{there}")

    def named(self, word: str) -> Path | None:
        """The file that a word of a command names where it may name folders too: that file, or the one of its name if no path
        is called so."""
        if is_file(word):
            others = (kind for kind in (STUDIES, SWEEPS) if kind is not self)
            return None if any(kind.has(Path(word)) for kind in others) else Path(word)
        return None if Path(word).exists() else self.files().get(word)


STUDIES = Kind("lab study", "claim")
SWEEPS = Kind("lab sweep", SWEEPS_KEY)


def _says(text: str, key: str) -> bool:
    return re.search(rf"\n{key}\s*:", text) is not None


def is_file(word: str) -> bool:
    """Whether a word of a command is a YAML file's path."""
    return word.endswith((".yaml", ".yml")) and Path(word).is_file()


def read(path: Path) -> dict[str, Any]:
    """Keys and values of a file.

    Raises:
        UserError, yaml.YAMLError, UnicodeError, OSError: it cannot be read.
    """
    given = yaml.load(path.read_text(encoding="utf-8-sig"), Strict)
    require(isinstance(given, dict), "file", type(given).__name__, "keys and values")
    return given


class Strict(yaml.SafeLoader):
    """YAML in which no key is given twice: the last one would win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        require(twice is None, str(twice), "twice", "one value")
        return super().construct_mapping(node, deep)


def check_keys(given: dict[str, Any], needed: tuple[str, ...], optional: dict[str, Any], what: str, before: str = "") -> None:
    """Refuse a key that there is not, and a file without one that it needs.

    Args:
        what: whose keys they are, for the sentence on a missing one.
        before: what stands before a key in messages.
    """
    known = [*needed, *optional]
    for key in given:
        if key not in known:
            raise UserError(f"{before}{key}: there is no such key. {nearest(str(key), known)}There are {', '.join(known)}")
    missing = [key for key in needed if key not in given]
    if missing:
        raise UserError(f"{before}{', '.join(missing)}: missing; {what} says {', '.join(needed)} before it is run")


def overrides(key: str, given: Any) -> list[str]:
    """``given``, which must be words of `lab run`."""
    require(isinstance(given, list) and all(isinstance(word, str) for word in given), key, given, "a list of overrides")
    return given
