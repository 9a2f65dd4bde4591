"""Joint training: all tasks at once, the upper bound."""

from dataclasses import replace

import torch

from lab.protocols import Data, Phase, Strategy, Stream


class Joint(Strategy):
    """Train on the union of all tasks' data, with the steps that all tasks have together.

    Nothing of the stream's order is left, so there is no accuracy before training either.
    """

    def rewrite(self, stream: Stream, data: Data, seed: int) -> Stream:
        examples = torch.cat([phase.examples for phase in stream.phases])
        tasks = torch.cat([phase.tasks for phase in stream.phases])
        effort = sum(phase.effort for phase in stream.phases)
        return replace(stream, phases=(Phase(examples, tasks, stream.phases[-1].completes, effort=effort),), prequential=False)
