"""Rules over named outputs: written once, and from that their violation, their truth on probabilities, and what breaks them."""

from lab.rules.groups import Groups
from lab.rules.layout import PADDING, UNSAYABLE, Layout, Output
from lab.rules.looking import WAYS, Looked, Looking
from lab.rules.rule import LOGICS, Rule
from lab.rules.satisfiable import unsatisfiable, violations_by_labels

__all__ = [
    "LOGICS", "PADDING", "UNSAYABLE", "WAYS", "Groups", "Layout", "Looked", "Looking", "Output", "Rule", "unsatisfiable",
    "violations_by_labels",
]  # fmt: skip
