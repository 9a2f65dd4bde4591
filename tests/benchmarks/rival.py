"""Avalanche 0.6 on its own PermutedMNIST: the same network, optimiser, batches and evaluations, no logging at all.

python rival.py ROOT TASKS SEED     end to end, one seed; prints the final average accuracy
"""

from __future__ import annotations

import sys
import time
import warnings

import torch
from bare import network
from settings import MEMORY, RATE, A, Setting

warnings.filterwarnings("ignore")

from avalanche.benchmarks import PermutedMNIST  # noqa: E402
from avalanche.core import SupervisedPlugin  # noqa: E402
from avalanche.evaluation.metrics import accuracy_metrics  # noqa: E402
from avalanche.training import Naive  # noqa: E402
from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin  # noqa: E402


class Clock(SupervisedPlugin):
    """Stops training after some iterations and keeps the time of each."""

    def __init__(self):
        super().__init__()
        self.limit, self.marks = None, []

    def after_training_iteration(self, strategy, **_):
        self.marks.append(time.perf_counter())
        if len(self.marks) == self.limit:
            strategy.stop_training()


def learner(setting: Setting, strategy: str, *plugins) -> Naive:
    """Plain training, with replay from 500 samples for ``er``; accuracy on each experience is all that it measures."""
    torch.manual_seed(0)
    model = network(setting.width)
    replay = [ReplayPlugin(mem_size=MEMORY)] if strategy == "er" else []
    return Naive(
        model=model, optimizer=torch.optim.SGD(model.parameters(), lr=RATE), criterion=torch.nn.CrossEntropyLoss(),
        train_mb_size=setting.batch, train_epochs=1, eval_mb_size=1000, plugins=[*replay, *plugins],
        evaluator=EvaluationPlugin(accuracy_metrics(experience=True), loggers=[]),
    )  # fmt: skip


def seconds(benchmark, setting: Setting, strategy: str, threads: int) -> float:
    """Seconds a step in the second experience (it replays from there on), the first tenth left out."""
    torch.set_num_threads(threads)
    clock = Clock()
    trained = learner(setting, strategy, clock)
    for experience, limit in zip(benchmark.train_stream, (2, setting.steps), strict=False):
        clock.limit, clock.marks = limit, []
        trained.train(experience)
    first = setting.steps // 10
    return (clock.marks[-1] - clock.marks[first - 1]) / (len(clock.marks) - first)


def whole(root: str, tasks: int, seed: int) -> float:
    """Train setting (a) over all tasks, evaluating on all of them after each; the final average accuracy."""
    benchmark = PermutedMNIST(tasks, seed=seed, dataset_root=root)
    trained = learner(A, "naive")
    measured = {}
    for experience in benchmark.train_stream:
        trained.train(experience)
        measured = trained.eval(benchmark.test_stream)
    accuracies = [value for name, value in measured.items() if name.startswith("Top1_Acc_Exp")]
    return sum(accuracies) / len(accuracies)


if __name__ == "__main__":
    print(f"{whole(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])):.4f}")
