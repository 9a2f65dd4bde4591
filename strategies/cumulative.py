"""Cumulative training: at each task, on the data of all tasks so far - rehearsal without a bound on memory."""

from dataclasses import replace

import torch

from lab.protocols import Data, Strategy, Stream


class Cumulative(Strategy):
    """Task k is trained on the union of the data of tasks 1..k.

    With a budget in ``epochs`` a later task takes more steps, since it has more data; with ``steps`` all take as many. Most
    examples are met again and again, so accuracy before training is not measured.
    """

    def rewrite(self, stream: Stream, data: Data, seed: int) -> Stream:
        phases = tuple(
            replace(
                phase,
                examples=torch.cat([earlier.examples for earlier in stream.phases[: k + 1]]),
                tasks=torch.cat([earlier.tasks for earlier in stream.phases[: k + 1]]),
            )
            for k, phase in enumerate(stream.phases)
        )
        return replace(stream, phases=phases, prequential=False)
