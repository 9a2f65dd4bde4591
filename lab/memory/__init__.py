"""Bounded memories of sample addresses, all members' at once; the data stay where they are."""

from lab.memory.balanced import Balanced
from lab.memory.base import Memory
from lab.memory.grouped import require_room
from lab.memory.lagged import Lagged
from lab.memory.reservoir import Reservoir
from lab.memory.ring import Ring

__all__ = ["Balanced", "Lagged", "Memory", "Reservoir", "Ring", "require_room"]
