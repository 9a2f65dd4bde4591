"""What ends a command in a sentence: the user's mistakes, with status 2, and work that is not done, with status 1."""


class UserError(Exception):
    """A mistake in what the user gave; its text names the key, what was given and what is possible."""


class IncompleteError(Exception):
    """The work stopped before its end; started again, it goes on."""


def invalid(key: str, given: object, expected: str) -> UserError:
    """The error for a configuration value that cannot be used.

    >>> str(invalid("environment.tasks", -1, "a whole number from 1 on"))
    'environment.tasks=-1: expected a whole number from 1 on'
    """
    return UserError(f"{key}={given}: expected {expected}")


def require(condition: bool, key: str, given: object, expected: str) -> None:
    """Raise :func:`invalid` unless ``condition`` holds."""
    if not condition:
        raise invalid(key, given, expected)


def whole(key: str, given: object, least: int) -> int:
    """``given`` as a whole number of at least ``least``."""
    number = isinstance(given, int) and not isinstance(given, bool)
    require(number and given >= least, key, given, f"a whole number from {least} on")
    return given


def one_of(key: str, given: object, possible: tuple[str, ...]) -> str:
    """``given``, which must be one of the words in ``possible``."""
    require(given in possible, key, given, "one of " + ", ".join(possible))
    return given


def fraction(key: str, given: object) -> float:
    """``given`` as a number in [0, 1)."""
    number = isinstance(given, (int, float)) and not isinstance(given, bool)
    require(number and 0 <= given < 1, key, given, "a number in [0, 1)")
    return float(given)


LARGEST = 2.0**128 - 2.0**104
"""Finite number of float32, in which members are trained: 3.4e38."""


def number(key: str, given: object, least: float = 0.0, most: float = LARGEST) -> float:
    """``given`` as a finite number in [``least``, ``most``].

    >>> number("strategy.ewc.factor", float("inf"))
    Traceback (most recent call last):
    lab.errors.UserError: strategy.ewc.factor=inf: expected a finite number from 0 on
    """
    require(_within(given, least, most), key, given, _wanted(least, most))
    return float(given)


def strength(key: str, given: object, least: float = 0.0, most: float = LARGEST) -> float | list[float]:
    """``given`` as a finite number in [``least``, ``most``], or a list of such numbers, one a member of the run."""
    numbers = given if isinstance(given, list) else [given]
    sound = bool(numbers) and all(_within(n, least, most) for n in numbers)
    require(sound, key, given, f"{_wanted(least, most)}, or a list of one for each member")
    return [float(n) for n in numbers] if isinstance(given, list) else float(given)


def _within(given: object, least: float, most: float) -> bool:
    return isinstance(given, (int, float)) and not isinstance(given, bool) and least <= given <= most


def _wanted(least: float, most: float) -> str:
    return f"a finite number from {least:g} on" if most == LARGEST else f"a number in [{least:g}, {most:g}]"
