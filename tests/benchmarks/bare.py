"""The floor: a bare PyTorch loop over float tensors in memory and index batches, without any framework."""

from __future__ import annotations

import time

import torch
from settings import MEMORY, RATE, Setting
from torch import nn
from torch.nn import functional as F


def network(width: int) -> nn.Sequential:
    """The MLP of all contenders."""
    layers = [nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)]
    return nn.Sequential(nn.Flatten(), *layers)


class Bare:
    """Images permuted and converted once, before the clock starts: here a task costs nothing inside the step."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor):
        self.x = images.flatten(1).float().div_(255)[:, torch.randperm(784)]
        self.y = labels

    def seconds(self, setting: Setting, strategy: str, threads: int) -> float:
        """Seconds a step, of one network trained from scratch, the first tenth left out."""
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        model = network(setting.width)
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
        step = self._replaying(model, optimizer) if strategy == "er" else self._plain(model, optimizer)
        order, first, begin = torch.randperm(len(self.x)), setting.steps // 10, 0.0
        for number, rows in enumerate(order[: setting.batch * setting.steps].split(setting.batch)):
            if number == first:
                begin = time.perf_counter()
            step(rows)
        return (time.perf_counter() - begin) / (setting.steps - first)

    def _plain(self, model, optimizer):
        def step(rows):
            loss = F.cross_entropy(model(self.x[rows]), self.y[rows])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    def _replaying(self, model, optimizer):
        """As many samples again from a reservoir of images, updated after the step."""
        kept_x, kept_y, seen = torch.zeros(MEMORY, 784), torch.zeros(MEMORY, dtype=torch.int64), 0

        def step(rows):
            nonlocal seen
            x, y = self.x[rows], self.y[rows]
            both = (x, y)
            if seen:
                drawn = torch.randint(min(seen, MEMORY), (len(rows),))
                both = torch.cat([x, kept_x[drawn]]), torch.cat([y, kept_y[drawn]])
            loss = F.cross_entropy(model(both[0]), both[1])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            rank = torch.arange(seen, seen + len(rows))
            slot = torch.where(rank < MEMORY, rank, (torch.rand(len(rows)) * (rank + 1)).long())
            stays = slot < MEMORY
            kept_x[slot[stays]], kept_y[slot[stays]] = x[stays], y[stays]
            seen += len(rows)

        return step
