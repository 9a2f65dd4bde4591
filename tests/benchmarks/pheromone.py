"""The pheromone pathway network at the source's size (width 64, 3 layers, 128 tokens, 32 slots; batches of 32): a step beside a
plain transformer's of as many parameters, what the field's upkeep adds, and the memory of a member.

    python tests/benchmarks/pheromone.py MEMBERS      the peak memory of so many members' steps, in bytes
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import torch
from ours import stacked
from settings import PYTHON
from torch import nn
from torch.nn import functional as F

from lab.stream import Blocks

TOKENS, LENGTH, WIDTH, BATCH, STEPS, MEMBERS = 32, 128, 64, 32, 6, 4
SETTING = ("environment=motif_families", f"batch_size={BATCH}", "epochs=null", f"steps={STEPS}", "optimizer=adamw")
BARE, PLAIN, WITH = "bare transformer", "pathways", "pathways, a field kept up"
CONTENDERS = {
    BARE: (),
    "transformer": ("network=sequence_transformer",),
    "random sparse": ("network=random_sparse",),
    PLAIN: ("network=pathways",),
    "pathways, fixed coordinates": ("network=pathways", "network.coordinates=token_position"),
    WITH: ("network=pathways", "strategy=pheromone", "strategy.pheromone.action=routing"),
}


class Transformer(nn.Module):
    """Torch's own layers, with as many parameters as the pathway network and dropout in the same places."""

    def __init__(self):
        super().__init__()
        self.embedding, self.positions = nn.Embedding(TOKENS, WIDTH), nn.Parameter(torch.randn(LENGTH, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 512, 0.1, "gelu", batch_first=True, norm_first=True)
        layer.self_attn.dropout = layer.dropout.p = 0.0  # on what attention looks at, and inside the perceptron
        self.encoder = nn.TransformerEncoder(layer, 3, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.drop, self.head = nn.Dropout(0.1), nn.Linear(WIDTH, 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.drop(self.embedding(tokens) + self.positions)).mean(1))


def seconds(name: str, members: int, folder: Path) -> float:
    """Processor time of a member's step, on one thread; without evaluation and checkpoints."""
    if name == BARE:
        return _bare()
    learner = stacked(members, folder, *SETTING, *CONTENDERS[name])
    learner.begin(0)
    first, *_ = blocks = [block for block in Blocks(learner.course) if block.phase == 0]
    learner.advance(first, learner.optimizer.step)
    begun = time.process_time()
    for block in blocks:
        learner.advance(block, learner.optimizer.step)
    return (time.process_time() - begun) / sum(map(len, blocks)) / members


def _bare() -> float:
    torch.set_num_threads(1)
    network = Transformer()
    optimizer = torch.optim.AdamW(network.parameters(), 3e-4)
    tokens, labels = torch.randint(0, TOKENS, (STEPS + 1, BATCH, LENGTH)), torch.randint(0, 2, (STEPS + 1, BATCH))
    begun = 0.0
    for step in range(STEPS + 1):
        begun = begun if step != 1 else time.process_time()
        F.cross_entropy(network(tokens[step]), labels[step]).backward()
        optimizer.step()
        optimizer.zero_grad()
    return (time.process_time() - begun) / STEPS


def bytes_a_member(folder: Path) -> float:
    """What one more member adds to the peak memory of a process."""
    few, many = 1, MEMBERS
    peak = {members: _peak(members, folder) for members in (few, many)}
    return (peak[many] - peak[few]) / (many - few)


def _peak(members: int, folder: Path) -> int:
    command = [PYTHON, __file__, str(members), str(folder)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


if __name__ == "__main__":
    seconds(WITH, int(sys.argv[1]), Path(sys.argv[2]))
    # Not `ru_maxrss`, which begins with that of the process that started this one.
    print(1024 * int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]))
