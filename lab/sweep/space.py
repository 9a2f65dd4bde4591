"""What varies: Hydra's spelling of sweeps as Optuna's distributions.

choice(200, 500)                    one of these; a word that names a group (strategy, optimizer, network) is one too
interval(0, 0.9)                    any number between
tag(log, interval(0.001, 1))        the same, evenly on a logarithmic scale
int(interval(1, 64))                whole numbers, both ends included; tag(log, int(interval(1, 64)))
range(100, 600, 100)                100, 200, ..., 500: as in Hydra and Python, without the end
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from lab.errors import UserError, require

if TYPE_CHECKING:
    from optuna import Trial

Value = float | int | str | bool
Space = dict[str, BaseDistribution]
"""Distributions by dotted key."""

SPELLINGS = "choice(...), interval(...), range(...) or tag(log, interval(...))"


def distribution(key: str, text: Any) -> BaseDistribution:
    """The distribution that an override's value spells.

    Raises:
        UserError: it spells none, or an empty one.

    >>> distribution("optimizer.lr", "tag(log, interval(0.001, 1))")
    FloatDistribution(high=1.0, log=True, low=0.001, step=None)
    >>> distribution("strategy.er.memory", "range(100, 600, 200)")
    IntDistribution(high=500, log=False, low=100, step=200)
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep
    from hydra.errors import HydraException

    place = f"vary.{key}"
    require(isinstance(text, str), place, text, SPELLINGS)
    try:
        swept = OverridesParser.create().parse_override(f"{key}={text}")._value
    except HydraException as error:
        raise UserError(f"{place}={text}: expected {SPELLINGS} ({' '.join(str(error).split())})") from None
    if isinstance(swept, ChoiceSweep) and not swept.shuffle:
        return _choice(place, text, swept.list)
    if isinstance(swept, RangeSweep) and not swept.shuffle:
        return _range(place, text, swept)
    require(isinstance(swept, IntervalSweep), place, text, SPELLINGS)
    return _interval(place, text, swept)


def _choice(place: str, text: str, values: list[Any]) -> BaseDistribution:
    from hydra.core.override_parser.types import Override

    plain = [value if isinstance(value, (bool, int, float)) else Override._get_value_element_as_str(value) for value in values]
    require(len({(type(value), value) for value in plain}) == len(plain), place, text, "values that all differ")
    return CategoricalDistribution(plain)


def _range(place: str, text: str, swept: Any) -> BaseDistribution:
    start, stop, step = swept.start, swept.stop, swept.step
    require(step > 0 and start < stop, place, text, "a range that is not empty: its end above its beginning, a step above 0")
    count = math.ceil(round((stop - start) / step, 9))
    last = start + (count - 1) * step
    if all(isinstance(number, int) for number in (start, stop, step)):
        return IntDistribution(start, last, step=step)
    return FloatDistribution(float(start), float(last), step=float(step))


def _interval(place: str, text: str, swept: Any) -> BaseDistribution:
    unknown = sorted(swept.tags - {"log", "int"})
    require(not unknown, place, text, f"the tags log and int alone, and not {', '.join(unknown)}")
    low, high, log = swept.start, swept.end, "log" in swept.tags
    require(math.isfinite(high - low), place, text, "an interval with an end on both sides")
    require(low < high, place, text, "an interval that is not empty: its end above its beginning")
    require(low > 0 or not log, place, text, "an interval above 0, since it is logarithmic")
    if "int" in swept.tags or (isinstance(low, int) and isinstance(high, int)):
        require(float(low).is_integer() and float(high).is_integer(), place, text, "whole numbers at both ends")
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(float(low), float(high), log=log)


def suggested(trial: Trial, space: Space) -> dict[str, Value]:
    """A trial's value of each key."""
    return {key: _suggest(trial, key, of) for key, of in space.items()}


def _suggest(trial: Trial, key: str, of: BaseDistribution) -> Value:
    if isinstance(of, CategoricalDistribution):
        return trial.suggest_categorical(key, of.choices)
    if isinstance(of, IntDistribution):
        return trial.suggest_int(key, of.low, of.high, step=of.step, log=of.log)
    return trial.suggest_float(key, of.low, of.high, step=of.step, log=of.log)


def is_number(of: BaseDistribution) -> bool:
    """Whether all values of a distribution are numbers."""
    if not isinstance(of, CategoricalDistribution):
        return True
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in of.choices)


def utmost(of: BaseDistribution) -> list[Value]:
    """All choices, or both ends."""
    return list(of.choices) if isinstance(of, CategoricalDistribution) else [of.low, of.high]


def contains(of: FloatDistribution | IntDistribution, value: float) -> bool:
    """Whether a number is one of a distribution's.

    >>> contains(IntDistribution(100, 500, step=200), 300), contains(FloatDistribution(0.1, 1.0), 2)
    (True, False)
    """
    steps = (value - of.low) / of.step if of.step and not of.log else 0.0
    is_kind = isinstance(of, FloatDistribution) or float(value).is_integer()
    return of.low <= value <= of.high and is_kind and math.isclose(steps, round(steps), abs_tol=1e-9)


def grid(space: Space) -> dict[str, list[Value]]:
    """The values of each key, for a sampler that takes all combinations.

    Raises:
        UserError: a key has no end of them.
    """
    return {key: _all(key, of) for key, of in space.items()}


def combinations(space: Space) -> int:
    """How many a :func:`grid` has."""
    return math.prod(map(len, grid(space).values()))


def _all(key: str, of: BaseDistribution) -> list[Value]:
    if isinstance(of, CategoricalDistribution):
        return list(of.choices)
    step = of.step if isinstance(of, FloatDistribution) or not of.log else None
    if step is None:
        raise UserError(f"vary.{key}: is an interval, of which there is no grid; expected choice(...) or range(...)")
    count = round((of.high - of.low) / step) + 1
    return [of.low + number * step for number in range(count)]


def word(key: str, value: Value | list[Value]) -> str:
    """A setting as an override, exact to the bit.

    >>> word("optimizer.lr", 1e-05), word("optimizer.lr", [0.1, 0.25]), word("strategy", "[er,ewc]")
    ('optimizer.lr=1e-05', 'optimizer.lr=[0.1,0.25]', 'strategy=[er,ewc]')
    """
    values = value if isinstance(value, list) else [value]
    texts = [
        ("true" if one else "false") if isinstance(one, bool) else one if isinstance(one, str) else repr(one) for one in values
    ]
    return f"{key}=[{','.join(texts)}]" if isinstance(value, list) else f"{key}={texts[0]}"
