"""One step: which units are trained, how samples are weighted, what a diverged member does to the others (nothing)."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from lab.ahead import works
from lab.networks import MLP, Tagger
from lab.optimizers import SGD, AdamW
from lab.protocols import Data, Examples, Strategy, Stream, Task, phase_per_task
from lab.stream import Blocks, Budget
from lab.testing.miniature import Miniature, fit, fit_watched, small_learner, small_network
from strategies.er import ER
from strategies.labels_trick import LabelsTrick

SEEDS = [3, 8]


def first_work(learner):
    return next(works(learner, next(iter(Blocks(learner.course)))))


def step_up_to_the_update(learner, work):
    """Take a step but for the optimiser's part; the loss ``[M]`` that it gives and the gradients ``[M, ...]`` it leaves."""
    gradients = {}

    def note():
        gradients.update({name: value.grad.clone() for name, value in learner.population.leaves.items()})

    return learner.step(work, note), gradients


def assert_descends(learner, work, loss):
    """A step reports ``loss(own, logits)`` for each member, and leaves its gradients: ``own(part)`` is the member's row of a
    part of the batch, its logits come from one plain network."""
    reported, gradients = step_up_to_the_update(learner, work)
    for m in range(learner.members):
        network = small_network()
        network.load_state_dict(learner.population.member(m))
        expected = loss(lambda part, m=m: getattr(work.batch, part)[m], network(work.batch.inputs[m]))
        torch.testing.assert_close(reported[m], expected.detach())
        expected.backward()
        for name, value in network.named_parameters():
            torch.testing.assert_close(gradients[name.replace(".", "/")][m], value.grad, rtol=1e-5, atol=1e-7)


# --- which output units are trained -----------------------------------------------------------------------------------


def head_gradients(learner, work):
    """The head's gradient ``[M, C, width]`` in a step."""
    return step_up_to_the_update(learner, work)[1]["head/weight"], work.batch


def test_in_the_task_scenario_other_heads_get_no_gradient():
    learner = small_learner(SEEDS, environment=Miniature("task"))
    gradient, _ = head_gradients(learner, first_work(learner))
    for m, stream in enumerate(learner.course.streams):
        own = stream.tasks[0].labels[stream.tasks[0].labels >= 0]
        others = [unit for unit in range(4) if unit not in own]
        assert (gradient[m, others] == 0).all()
        assert (gradient[m, own].abs().sum(1) > 0).all()


def test_replayed_samples_are_answered_by_the_head_of_their_own_task():
    learner = small_learner(SEEDS, environment=Miniature("task"), strategies=(ER(memory=6),))
    blocks = Blocks(learner.course)
    fit(learner, blocks, until=next(n for n, span in enumerate(blocks.spans) if span.phase == 1))
    batch = next(works(learner, blocks.block(blocks.position))).batch
    logits = learner.population(batch.inputs)
    losses = learner.losses(batch, logits)
    for m, stream in enumerate(learner.course.streams):
        for b in range(batch.width):
            labels = stream.tasks[batch.tasks[m, b]].labels
            units = labels[labels >= 0].sort().values
            target = (units == batch.targets[m, b]).nonzero().item()
            expected = F.cross_entropy(logits[m, b, units], torch.tensor(target))
            torch.testing.assert_close(losses[m, b], expected)
    assert (batch.tasks[:, batch.current :] == 0).all()
    assert (batch.tasks[:, : batch.current] == 1).all()


@pytest.mark.parametrize(("outputs", "trained"), [("all", {0: 4, 1: 4}), ("seen", {0: 2, 1: 4}), ("current", {0: 2, 1: 2})])
def test_outputs_in_class_incremental_training(outputs, trained):
    """How many of the four units get a gradient in the first and the second task of two classes."""
    learner = small_learner(SEEDS, environment=Miniature("class"), budget=Budget(4, steps=6), outputs=outputs)
    for block in Blocks(learner.course):
        learner._prepare(block)
        gradient, batch = head_gradients(learner, next(works(learner, block)))
        for m in range(2):
            with_gradient = set((gradient[m].abs().sum(1) > 0).nonzero().flatten().tolist())
            assert len(with_gradient) == trained[block.phase]
            assert set(batch.targets[m].tolist()) <= with_gradient


# --- how samples are weighted -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", [True, False])
def test_padding_takes_no_part_in_the_mean(stack):
    learner = small_learner(SEEDS, environment=Miniature("domain"), budget=Budget(5), stack=stack)
    several = (work for block in Blocks(learner.course) for work in works(learner, block))
    work = next(w for w in several if w.batch.weights is not None and (w.batch.weights.sum(1) > 0).all())
    assert (work.batch.weights == 0).any()

    def loss(own, logits):
        counted = own("weights") > 0
        return F.cross_entropy(logits[counted], own("targets")[counted])

    assert_descends(learner, work, loss)


@pytest.mark.parametrize("stack", [True, False])
@pytest.mark.parametrize("balance", [None, 0.3, 1.0])
def test_replay_joins_one_mean_or_two(balance, stack):
    strategies = (ER(memory=6, replay=3, balance=balance),)
    learner = small_learner(SEEDS, environment=Miniature("domain"), strategies=strategies, stack=stack)
    fit(learner, until=2)
    work = first_work(learner)
    assert work.batch.width == 4 + 3

    def loss(own, logits):
        losses = F.cross_entropy(logits, own("targets"), reduction="none")
        return losses.mean() if balance is None else balance * losses[:4].mean() + (1 - balance) * losses[4:].mean()

    assert_descends(learner, work, loss)


def test_the_first_step_of_replay_is_that_of_plain_training():
    """Nothing is in the memory yet: with either weighting the replayed columns weigh nothing."""
    for balance in (None, 0.3):
        plain = small_learner(SEEDS, environment=Miniature("domain"), block=1)
        replayed = small_learner(SEEDS, environment=Miniature("domain"), strategies=(ER(memory=6, balance=balance),), block=1)
        fit(plain, until=1)
        fit(replayed, until=1)
        for name, value in plain.population.leaves.items():
            torch.testing.assert_close(replayed.population.leaves[name], value)


class Term(Strategy):
    """A constant pull on the loss, so that two of them add up."""

    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def loss(self, learner, batch, logits):
        return self.weight * logits.square().mean((1, 2))


class Silent(Strategy):
    """Has the hook, and nothing to add."""

    def loss(self, learner, batch, logits):
        return None


@pytest.mark.parametrize("stack", [True, False])
def test_terms_of_several_strategies_add_up(stack):
    strategies = (Term(0.5), Silent(), ER(memory=6, replay=3, balance=0.3), Term(2.0))
    learner = small_learner(SEEDS, environment=Miniature("domain"), strategies=strategies, stack=stack)
    fit(learner, until=1)

    def loss(own, logits):
        losses = F.cross_entropy(logits, own("targets"), reduction="none")
        return 0.3 * losses[:4].mean() + 0.7 * losses[4:].mean() + 2.5 * logits.square().mean()

    assert_descends(learner, first_work(learner), loss)


class Scaled(Strategy):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def update_scale(self, learner, batch):
        return {"head/weight": torch.full((len(learner.seeds), 1, 1), self.factor)}


@pytest.mark.parametrize("optimizer", [SGD, AdamW])
def test_update_scales_multiply(optimizer):
    def learner_of(*factors):
        return small_learner(SEEDS, strategies=tuple(map(Scaled, factors)), optimizer=optimizer, block=1)

    start, plain, scaled = learner_of(), learner_of(), learner_of(0.5, 0.5)
    fit(plain, until=1)
    fit(scaled, until=1)
    begun, full, part = (learner.population.leaves["head/weight"] for learner in (start, plain, scaled))
    torch.testing.assert_close(part - begun, 0.25 * (full - begun), rtol=1e-3, atol=1e-6)
    assert torch.equal(plain.population.leaves["head/bias"], scaled.population.leaves["head/bias"])


def test_gradients_are_clipped_to_each_members_own_norm():
    learner, norms = small_learner(SEEDS, budget=Budget(4, steps=6), clip=0.01), []
    step = learner.optimizer.step

    def watching(*_):
        norms.append(torch.stack([p.grad.flatten(1).norm(dim=1) for p in learner.population.leaves.values()]).norm(dim=0))
        step()

    learner.optimizer.step = watching
    fit(learner, until=2)
    torch.testing.assert_close(torch.stack(norms), torch.full((len(norms), 2), 0.01), rtol=1e-3, atol=0)


def test_momentum_is_forgotten_at_a_tasks_begin_where_asked():
    for reset in (False, True):
        learner = small_learner(SEEDS, optimizer=partial(SGD, momentum=0.9), reset_optimizer=reset)
        fit(learner, until=next(n for n, span in enumerate(learner.course.spans) if span.phase == 1))
        learner.begin(1)
        assert bool(learner.optimizer.state) is not reset


# --- members that diverge ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", [True, False])
def test_a_diverged_member_is_reported_and_frozen_and_the_others_run_on(stack):
    def learner_of(rates, seeds):
        return small_learner(
            seeds, strategies=(ER(memory=6),), optimizer=partial(SGD, lr=rates, momentum=0.9), stack=stack, block=2
        )

    learner = learner_of([0.05, 1e30, 0.05], [3, 8, 9])
    frozen = []

    def watch(work, take):
        before = {name: value[1].clone() for name, value in learner.population.leaves.items()}
        take()
        if work.active is not None and not work.active[1]:
            same = all(torch.equal(learner.population.leaves[n][1].nan_to_num(), v.nan_to_num()) for n, v in before.items())
            frozen.append(same)

    fit_watched(learner, watch)
    assert (learner.diverged_at >= 0).tolist() == [False, True, False]
    assert 1 <= learner.diverged_at[1] <= 3
    assert frozen
    assert all(frozen)
    assert not learner.evaluation.accuracy[0, -1].isnan().any()
    sound = learner_of([0.05, 0.05, 0.05], [3, 5, 9])
    fit(sound)
    for name, value in sound.population.leaves.items():
        torch.testing.assert_close(learner.population.leaves[name][[0, 2]], value[[0, 2]], rtol=0, atol=1e-6)


# --- other kinds of data ----------------------------------------------------------------------------------------------


class Sentences:
    """Tagging: a label for each token, some missing; sentences are met in two tasks."""

    def __init__(self):
        draw = torch.Generator().manual_seed(0)
        tokens = torch.randint(0, 20, (24, 6), generator=draw)
        tags = (tokens % 3).masked_fill(torch.rand(24, 6, generator=draw) < 0.2, -100)
        examples = Examples(tokens, tags)
        self.data = Data("sentences", examples, examples, 3, "digest")

    def stream(self, seed):
        rows = torch.arange(24)
        tasks = tuple(Task(part, part, torch.arange(3)) for part in rows.chunk(2))
        return Stream(tasks, phase_per_task(tasks), "domain", 3)


@pytest.mark.parametrize("stack", [True, False])
def test_a_label_for_every_token(stack):
    make = partial(Tagger, (6,), 3, vocabulary=20, width=8, window=3)
    learner = small_learner(
        SEEDS, make, (ER(memory=6),), partial(AdamW, lr=0.02), Sentences(), Budget(4, epochs=15), stack, curves=20
    )
    batch = first_work(learner).batch
    logits = learner.population(batch.inputs)
    assert logits.shape == (2, 8, 6, 3)
    losses = learner.losses(batch, logits)
    for m in range(2):
        for b in range(8):
            torch.testing.assert_close(losses[m, b], F.cross_entropy(logits[m, b], batch.targets[m, b]))
    fit(learner)
    assert (learner.evaluation.accuracy[:, -1] > 0.9).all(), "a tag is a function of its token: it can be learnt"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("stack", [True, False])
def test_other_precisions_train(dtype, stack):
    learner = small_learner(SEEDS, strategies=(ER(memory=6),), dtype=dtype, stack=stack, budget=Budget(4, epochs=8))
    fit(learner)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert all(p.dtype == wide for p in learner.population.leaves.values())
    assert learner.population.finite().all()
    assert learner.evaluation.accuracy[:, 2, 1].min() > 0.6


class Prequential(Miniature):
    def stream(self, seed):
        return replace(super().stream(seed), prequential=True)


@pytest.mark.parametrize(
    ("scenario", "strategies"),
    [
        ("domain", lambda: ()),
        ("class", lambda: ()),
        ("domain", lambda: (ER(memory=6, balance=0.3),)),
        ("class", lambda: (ER(memory=6, balance=0.3),)),
        ("class", lambda: (LabelsTrick(),)),
    ],
    ids=["domain", "class", "domain, replay that weighs", "class, replay that weighs", "class, units chosen by the labels"],
)
def test_prequential_accuracy_is_that_before_each_step(scenario, strategies):
    learner = small_learner(
        SEEDS,
        partial(MLP, (1, 8, 8), 4, width=16, depth=1),
        strategies(),
        environment=Prequential(scenario),
    )
    right, met = torch.zeros(2, 2), torch.zeros(2, 2)

    def watch(work, take):
        batch = work.batch
        predicted = learner.population(batch.inputs).argmax(-1)
        for m in range(2):
            for b in range(4):
                if batch.weights is None or batch.weights[m, b] > 0:
                    right[m, batch.tasks[m, 0]] += float(predicted[m, b] == batch.targets[m, b])
                    met[m, batch.tasks[m, 0]] += 1
        take()

    fit_watched(learner, watch)
    assert torch.equal(learner.right_before, right)
    assert torch.equal(learner.met_before, met)
    assert met.sum(1).tolist() == [learner.course.samples(m) for m in range(2)]


def test_boundaries_that_are_not_announced_reach_no_strategy():
    class Listening(Strategy):
        def __init__(self):
            super().__init__()
            self.heard = []

        def begin_task(self, learner, task):
            self.heard.append(("begin", task))

        def end_task(self, learner, task):
            self.heard.append(("end", task))

    for announced, heard in ((True, [("begin", 0), ("end", 0), ("begin", 1), ("end", 1)]), (False, [])):
        listening = Listening()
        fit(small_learner(SEEDS, strategies=(listening,), environment=Miniature(announced=announced)))
        assert listening.heard == heard
