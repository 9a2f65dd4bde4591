"""What a memory with draws by lags costs as tasks go by, without a network: `.venv/bin/python tests/benchmarks/lagged.py`."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch

from lab.memory import Lagged
from lab.protocols import Law, Steps

MEMBERS, SLOTS, BATCH, BLOCK, EXAMPLES = 5, 1000, 32, 64, 2000


def seconds(job: Callable[[], object]) -> float:
    """Processor time, on one thread."""
    begun = time.process_time()
    job()
    return time.process_time() - begun


def cost(tasks: int, quotas: str) -> tuple[float, float, int]:
    """Seconds of a step's draws and of a task's end, when so many tasks have been met, and bytes of state a member."""
    memory = Lagged(list(range(MEMBERS)), SLOTS, tasks, Law("power", 0.5), quotas)
    clock, draw, ends = torch.zeros(MEMBERS, dtype=torch.int64), torch.Generator().manual_seed(0), []
    for task in range(tasks):
        rows = torch.randint(60_000, (MEMBERS, EXAMPLES), generator=draw)
        of = torch.full((MEMBERS, 1), task)
        ends.append(seconds(lambda rows=rows, of=of: memory.end_task(rows, of, None, clock)))
    nothing = torch.zeros(MEMBERS, BLOCK, BATCH, dtype=torch.int64)
    steps = Steps(nothing, nothing, BATCH, None, torch.arange(BLOCK).expand(MEMBERS, -1))
    drawing = median(seconds(lambda: memory.draw_ahead(steps, BATCH)) for _ in range(100))
    return drawing / BLOCK, median(ends[-50:]), sum(buffer.numel() * 8 for buffer in memory.buffers()) // MEMBERS


if __name__ == "__main__":
    torch.set_num_threads(1)
    for quotas in ("even", "law"):
        for tasks in (10, 100, 1000):
            step, end, held = cost(tasks, quotas)
            told = f"{step * 1e6:.1f} us a step, {end * 1e3:.2f} ms a task's end, {held} bytes a member"
            print(f"{quotas:4} {tasks:4} tasks: {told}")
