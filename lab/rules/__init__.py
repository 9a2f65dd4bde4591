"""Rules over named outputs: written once, and from that their violation, their truth on probabilities, and what breaks them."""

from lab.rules.layout import PADDING, UNSAYABLE, Layout, Output
from lab.rules.rule import Rule

__all__ = ["PADDING", "UNSAYABLE", "Layout", "Output", "Rule"]
