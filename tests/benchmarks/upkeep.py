"""What memories cost beside training: 10,000 online steps of 10 members, in blocks, without a network."""

from __future__ import annotations

import time

import torch

from lab.memory import Balanced, Reservoir, Ring
from lab.protocols import Steps

MEMBERS, SLOTS, BATCH, STEPS, BLOCK, CLASSES = 10, 1000, 10, 10_000, 64, 10


def seconds(kind: str) -> float:
    """Processor time of offering a batch and drawing one in every step, on one thread."""
    torch.set_num_threads(1)
    seeds, labels = list(range(MEMBERS)), torch.arange(60_000) % CLASSES
    grouped = (SLOTS, CLASSES, lambda examples, tasks: labels[examples])
    memory = {"reservoir": Reservoir(seeds, SLOTS), "balanced": Balanced(seeds, *grouped), "ring": Ring(seeds, *grouped)}[kind]
    clock, tasks = torch.arange(STEPS).expand(MEMBERS, -1), torch.zeros(MEMBERS, STEPS, 1, dtype=torch.int64)
    rows = torch.randint(len(labels), (MEMBERS, STEPS, BATCH))
    begun = time.process_time()
    for examples, of, when in zip(rows.split(BLOCK, 1), tasks.split(BLOCK, 1), clock.split(BLOCK, 1), strict=True):
        memory.draw_and_add(Steps(examples, of, BATCH, None, when), BATCH)
    return time.process_time() - begun
