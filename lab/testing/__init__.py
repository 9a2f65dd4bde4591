"""The contract of strategies, and of engines, to be run on your own: ``python -m lab.testing strategy=mine``, or
:func:`check_strategy`."""

from lab.run import composed
from lab.testing.device import ContractError, OneDevice
from lab.testing.engine import ENGINE_CHECKS
from lab.testing.shipped import shipped
from lab.testing.strategy import CHECKS, check_strategy, violations
from lab.testing.subject import Subject

__all__ = [
    "CHECKS", "ENGINE_CHECKS", "ContractError", "OneDevice", "Subject", "check_strategy", "composed", "shipped", "violations",
]  # fmt: skip
