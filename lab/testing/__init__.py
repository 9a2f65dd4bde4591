"""The contract of strategies, to be run on your own: ``python -m lab.testing strategy=mine``, or :func:`check_strategy`."""

from lab.testing.device import ContractError, OneDevice
from lab.testing.strategy import CHECKS, Subject, check_strategy, composed, violations

__all__ = ["CHECKS", "ContractError", "OneDevice", "Subject", "check_strategy", "composed", "violations"]
