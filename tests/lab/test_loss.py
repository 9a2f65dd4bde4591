"""The loss after each task, against torch's cross-entropy on one member and the answers it may give, and by hand."""

import json
from functools import partial
from math import log

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from lab.cell import deciding
from lab.errors import UserError
from lab.evaluation import Evaluation
from lab.experiment import Experiment
from lab.networks import MLP
from lab.protocols import Data, Examples, Stream, Task, phase_per_task
from lab.results import join, load, members, save
from lab.run import composed
from lab.testing.miniature import Miniature, fit, small_learner

from .forked import small, train

SEEDS = [3, 8]


class Uneven(Miniature):
    """Members' test sets are of different sizes."""

    def stream(self, seed):
        from dataclasses import replace

        stream = super().stream(seed)
        return replace(stream, tasks=tuple(replace(task, test=task.test[: 4 + seed]) for task in stream.tasks))


def network_of(environment):
    return MLP((1, 8, 8), environment.stream(0).outputs, width=16, depth=1)


def of_one(learner, environment, member, task, phase):
    """The mean over a member's test examples among the units it may answer with; None where a class is not met yet."""
    stream = learner.course.streams[member]
    rows, labels = stream.tasks[task].test, stream.tasks[task].labels
    known = {"task": [task], "class": range(phase + 1), "domain": range(2)}[environment.scenario]
    units = sorted({int(unit) for t in known for unit in stream.tasks[t].labels if unit >= 0})
    answers = labels[environment.data.test.targets[rows]]
    if not set(answers.tolist()) <= set(units):
        return None
    inputs = environment.data.test.inputs[rows].float() / 255
    logits = functional_call(network_of(environment), learner.population.member(member), (inputs,))
    return F.cross_entropy(logits[:, units], torch.tensor([units.index(int(a)) for a in answers])).item()


@pytest.mark.parametrize("scenario", ["class", "domain", "task"])
def test_equal_to_torch_on_each_member_alone(scenario):
    environment = Uneven(scenario)
    learner = small_learner(SEEDS, partial(network_of, environment), environment=environment)
    learner.evaluation = Evaluation(learner.course, SEEDS, batch=3, loss=True)
    after, measured = learner.evaluation.after_phase, []

    def compare(own, phase):
        after(own, phase)
        for m in range(len(SEEDS)):
            for t in range(2):
                value, expected = own.evaluation.loss[m, phase + 1, t], of_one(own, environment, m, t, phase)
                assert value.isnan() if expected is None else value.item() == pytest.approx(expected, rel=1e-5)
                measured.append(expected)

    learner.evaluation.after_phase = compare
    fit(learner)
    assert len(measured) == 12
    assert measured.count(None) == (6 if scenario == "class" else 0)
    assert "evaluation.loss" in learner.state_dict()
    assert "evaluation.loss" not in small_learner(SEEDS).state_dict()


class Constant(nn.Module):
    """Says that every token's label is 0 with probability 1/4, and 1 with 3/4."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([0.0, log(3)]))

    def forward(self, tokens):
        return self.logits.expand(*tokens.shape, 2)


class Tokens:
    """One task of two sequences of three tokens."""

    def __init__(self):
        examples = Examples(torch.zeros(2, 3, dtype=torch.int64), torch.tensor([[0, 1, -100], [1, 1, 1]]))
        self.data = Data("tokens", examples, examples, 2, "tokens")

    def stream(self, seed):
        tasks = (Task(torch.arange(2), torch.arange(2), torch.arange(2)),)
        return Stream(tasks, phase_per_task(tasks), "domain", 2)


def test_every_label_of_a_sequence_counts_alike():
    """One label 0, four labels 1, one place without."""
    learner = small_learner(SEEDS, Constant, environment=Tokens())
    learner.evaluation = Evaluation(learner.course, SEEDS, loss=True)
    learner.evaluation.after_phase(learner, -1)
    expected = (log(4) + 4 * log(4 / 3)) / 5
    torch.testing.assert_close(learner.evaluation.loss[:, 0, 0], torch.tensor([expected, expected]))


def test_it_is_kept_with_the_results(tmp_path):
    folder = train(small("steps=2", "seeds=3", "plan.processes=2", "evaluation.loss=true", f"paths.runs={tmp_path}"))
    results = load(folder)
    assert results.loss.shape == results.accuracy.shape == (3, 4, 3)
    assert (results.loss > 0).all()
    np.testing.assert_allclose(results.metrics["loss"], results.loss[:, 3].mean(1))
    np.testing.assert_array_equal(members(results, [2, 0]).loss, results.loss[[2, 0]])
    np.testing.assert_array_equal(
        join([members(results, [s]) for s in (1, 0)], [0, 1]).metrics["loss"], results.metrics["loss"][:2]
    )
    written = json.loads((folder / "results.json").read_text())
    del written["loss"], written["metrics"]["loss"]
    (folder / "results.json").write_text(json.dumps(written))
    older = load(folder)
    save(older, folder)
    assert load(folder).loss is None
    assert "loss" not in join([older], [2, 1]).metrics


def test_it_is_part_of_a_cell_only_where_it_is_asked_for():
    """Runs of a lab without the option are found again."""
    assert "loss" not in deciding(small())["evaluation"]
    assert deciding(small("evaluation.loss=true"))["evaluation"]["loss"] is True


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["evaluation.loss=1"], "evaluation.loss=1: expected true or false"),
        (["evaluation.loss=true", "strategy=ncm"], "evaluation.loss=true: ncm answers by scores of its own"),
        (["evaluation.loss=true", "strategy=avalanche", "plan.stack=auto"], "evaluation.loss=true: strategy=avalanche trains"),
    ],
)
def test_what_has_no_loss_is_refused_before_training(words, told):
    with pytest.raises(UserError, match=f"^{told}"):
        Experiment(small(*words))


def test_own_logits_may_be_declared(monkeypatch):
    from strategies.bic import BiC

    monkeypatch.setattr(BiC, "predicts_logits", True)
    Experiment(small("environment=split", "network.width=12", "environment.tasks=5", "evaluation.loss=true", "strategy=bic"))


def test_a_token_beyond_the_vocabulary_is_found_before_training(tmp_path):
    """Wherever in the data it lies."""
    (tmp_path / "own.txt").write_text("ab" * 30 + "~" + "ab" * 30)
    words = ["environment=stationary", "network=transformer", "tracking=off", "environment/source@environment.source=text"]
    words += [f"environment.source.path={tmp_path}/own.txt", "environment.source.length=5"]
    Experiment(composed(*words, "network.vocabulary=3"))
    with pytest.raises(UserError, match=r"^network\.vocabulary=2: expected at least 3, as many as the data have tokens$"):
        Experiment(composed(*words, "network.vocabulary=2"))
