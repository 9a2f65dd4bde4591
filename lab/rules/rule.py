"""A rule over named outputs (in the making)."""

from __future__ import annotations


class Rule:
    """See the brief; helper A fills this in."""
