"""DER and DER++ against their equations, with plain networks, and what they keep against what the networks said."""

import pytest
import torch
from torch.nn import functional as F

from lab.errors import UserError
from lab.networks import MLP
from lab.protocols import Strategy
from lab.stream import Budget
from lab.testing.miniature import Miniature, fit_watched, small_learner
from strategies.der import DER, DERpp

SEEDS = [3, 8]


def make(outputs):
    return MLP((1, 8, 8), outputs, width=16, depth=1)


class Notes(Strategy):
    """The last step's whole batch, and the gradients it gave."""

    def loss(self, learner, batch, logits):
        self.batch = batch

    def gradient(self, learner, batch):
        self.gradients = {name.replace("/", "."): leaf.grad.clone() for name, leaf in learner.population.leaves.items()}


def observed(strategy, scenario, check):
    """Train one epoch, and call ``check(m, network, batch, gradients, said)`` after every step that member m took, with its
    network before the step and the logits ``said`` of every address it has met by then."""
    notes = Notes()
    outputs = 2 if scenario == "domain" else 6
    environment = Miniature(scenario, tasks=3)
    learner = small_learner(
        SEEDS, lambda: make(outputs), (strategy, notes), environment=environment, budget=Budget(4, epochs=1)
    )
    said = [{}, {}]

    def watch(work, take):
        before = [make(outputs) for _ in SEEDS]
        for m, network in enumerate(before):
            network.load_state_dict(learner.population.member(m))
        take()
        for m, network in enumerate(before):
            if work.active is not None and not work.active[m]:
                continue
            check(learner, m, network, notes, said[m])
            counted = work.batch.weights_or_ones()[m] > 0
            with torch.no_grad():
                logits = network(work.batch.inputs[m])
            for b in counted.nonzero().flatten().tolist():
                said[m][address(work.batch, m, b)] = logits[b]

    fit_watched(learner, watch)
    return learner, said


def address(batch, m, b):
    tasks = batch.tasks.expand_as(batch.examples)
    return int(tasks[m, b]), int(batch.examples[m, b])


@pytest.mark.parametrize("memory", [2, 9, 1000])
def test_logits_are_kept_as_they_were_when_the_sample_came(memory):
    """With 2 slots, several samples of one batch are written to the same."""
    strategy = DER(memory=memory)
    _, said = observed(strategy, "class", lambda *_: None)
    examples, tasks, filled = strategy.store.contents()
    for m in range(2):
        assert filled[m].sum() == min(memory, len(said[m]))
        for slot in filled[m].nonzero().flatten().tolist():
            kept = said[m][int(tasks[m, slot]), int(examples[m, slot])]
            torch.testing.assert_close(strategy.logits[m, slot], kept, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scenario", ["class", "task", "domain"])
@pytest.mark.parametrize(("kind", "alpha", "beta"), [(DER, 0.7, 0.0), (DERpp, 0.7, 0.4)])
def test_the_loss_is_the_papers(scenario, kind, alpha, beta):
    strategy = kind(memory=9, alpha=alpha, beta=beta, replay=3)
    steps = [0]

    def check(learner, m, network, notes, said):
        batch, inputs = notes.batch, notes.batch.inputs[m]
        units = learner.reader.units_of(batch.tasks)[m].expand(batch.width, -1) if scenario == "task" else None

        def entropies(columns):
            logits = network(inputs[columns])
            logits = logits if units is None else logits.masked_fill(~units[columns], -torch.inf)
            return F.cross_entropy(logits, batch.targets[m, columns], reduction="none")

        counted = batch.weights_or_ones()[m, :4] > 0
        loss = entropies(slice(0, 4))[counted].mean()
        assert batch.width == 4 + 3 * (1 + (beta > 0))
        if said:
            steps[0] += 1
            for b in range(4, 7):
                gap = network(inputs[b : b + 1])[0] - said[address(batch, m, b)]
                loss = loss + alpha * gap.square().mean() / 3
            if beta:
                loss = loss + beta * entropies(slice(7, 10)).mean()
                assert all(address(batch, m, b) in said for b in range(7, 10))
        network.zero_grad()
        loss.backward()
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(notes.gradients[name][m], parameter.grad, rtol=1e-4, atol=1e-6)

    observed(strategy, scenario, check)
    assert steps[0] > 20


def test_the_two_draws_are_independent():
    differ = []

    def check(learner, m, network, notes, said):
        first, second = notes.batch.examples[m, 4:8], notes.batch.examples[m, 8:12]
        differ.append(not torch.equal(first, second))

    observed(DERpp(memory=20), "class", check)
    assert sum(differ) >= len(differ) - 4, "but for the first steps, where the memory is empty"


def test_strengths_of_their_own_for_each_member():
    def ends(alpha):
        learner, _ = observed(DER(memory=9, alpha=alpha), "class", lambda *_: None)
        return [learner.population.member(m)["head.weight"] for m in range(2)]

    both, small, large = ends([0.1, 2.0]), ends(0.1), ends(2.0)
    torch.testing.assert_close(both[0], small[0])
    torch.testing.assert_close(both[1], large[1])
    assert not torch.allclose(small[1], large[1], atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "options", "key"),
    [
        (DER, {"memory": 0}, "strategy.der.memory=0"),
        (DER, {"alpha": -1}, "strategy.der.alpha=-1"),
        (DER, {"replay": 0}, "strategy.der.replay=0"),
        (DERpp, {"memory": 0}, "strategy.derpp.memory=0"),
        (DERpp, {"beta": -0.5}, "strategy.derpp.beta=-0.5"),
    ],
)
def test_what_cannot_be_is_refused(kind, options, key):
    with pytest.raises(UserError, match=key):
        kind(**options)


def test_a_list_of_another_length_names_its_key():
    with pytest.raises(UserError, match=r"strategy\.derpp\.alpha"):
        small_learner([1], strategies=(DERpp(alpha=[1.0, 2.0]),))


def test_its_memory_is_counted():
    learner = small_learner([1, 2, 3], strategies=(DER(memory=50),))
    addresses, logits = 3 * 50 * 8, 3 * 51 * 4 * 4
    assert addresses + logits <= learner.strategies[0].state_bytes() <= addresses + logits + 200
