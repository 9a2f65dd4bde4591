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


def number(key: str, given: object, least: float = 0.0, most: float = float("inf")) -> float:
    """``given`` as a number in [``least``, ``most``]."""
    sound = isinstance(given, (int, float)) and not isinstance(given, bool) and least <= given <= most
    require(sound, key, given, f"a number from {least:g} on" if most == float("inf") else f"a number in [{least:g}, {most:g}]")
    return float(given)


def strength(key: str, given: object, least: float = 0.0, most: float = float("inf")) -> float | list[float]:
    """``given`` as a number in [``least``, ``most``], or a list of such numbers, one a member of the run."""
    numbers = given if isinstance(given, list) else [given]
    sound = all(isinstance(n, (int, float)) and not isinstance(n, bool) and least <= n <= most for n in numbers)
    wanted = f"a number from {least:g} on" if most == float("inf") else f"a number in [{least:g}, {most:g}]"
    require(sound and bool(numbers), key, given, f"{wanted}, or a list of one for each member")
    return [float(n) for n in numbers] if isinstance(given, list) else float(given)
