"""Learning rates over time: against torch's schedulers, by hand, and as members take them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from lab.errors import UserError
from lab.optimizers import SGD, AdamW
from lab.schedules import SHAPES, Rates, Schedule, Torch, by_the_step
from lab.testing.miniature import checkpoint, fit, restored, small_learner

few = settings(max_examples=40, deadline=None)


def by_torch(make, steps):
    """What a scheduler of torch's makes of a rate of 1, one step after the other."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return torch.tensor(rates, dtype=torch.float64)


def assert_curve(schedule, make, steps):
    torch.testing.assert_close(schedule.of(0, steps), by_torch(make, steps), rtol=1e-9, atol=1e-9)


# --- shapes -----------------------------------------------------------------------------------------------------------


@few
@given(steps=st.integers(2, 200), final=st.floats(0.001, 1))
def test_shapes_are_torchs(steps, final):
    def whole(shape, **rest):
        return Schedule(decay=1.0, final=final, shape=shape, **rest)

    assert_curve(whole("linear"), lambda o: lr_scheduler.LinearLR(o, 1.0, final, steps), steps)
    assert_curve(whole("cosine"), lambda o: lr_scheduler.CosineAnnealingLR(o, steps, final), steps)
    assert_curve(whole("exponential"), lambda o: lr_scheduler.ExponentialLR(o, final ** (1 / steps)), steps)


@few
@given(size=st.integers(1, 30), drops=st.integers(1, 6), gamma=st.floats(0.1, 1))
def test_a_step_drops_as_torchs(size, drops, gamma):
    schedule = Schedule(decay=1.0, final=gamma**drops, shape="step", drops=drops)
    assert_curve(schedule, lambda o: lr_scheduler.StepLR(o, size, gamma), size * (drops + 1))


def test_wsd_is_the_papers():
    """Luo et al. 2025: eta(t) = eta_0 (1 - sqrt r) + eta_T sqrt r, r = (t - t_decay) / (T - t_decay), behind a warm-up."""
    found = Schedule(warmup=4, decay=0.2, final=0.1).of(0, 20)
    r = [0, 1 / 4, 1 / 2, 3 / 4]
    decay = [(1 - math.sqrt(each)) + 0.1 * math.sqrt(each) for each in r]
    torch.testing.assert_close(found, torch.tensor([0.25, 0.5, 0.75, 1] + 12 * [1.0] + decay, dtype=torch.float64))


def test_warm_up_is_torchs():
    assert_curve(Schedule(warmup=0.25), lambda o: lr_scheduler.LinearLR(o, 1 / 10, 1.0, 9), 40)


@few
@given(
    steps=st.integers(1, 300),
    warmup=st.floats(0, 0.5),
    decay=st.floats(0, 0.5),
    final=st.floats(0.001, 1),
    shape=st.sampled_from(SHAPES),
)
def test_a_curve_rises_rests_and_falls(steps, warmup, decay, final, shape):
    curve = Schedule(warmup, decay, final, shape).of(0, steps)
    rising, falling = round(warmup * steps), round(decay * steps)
    assert curve.shape == (steps,)
    assert ((curve > 0) & (curve <= 1)).all()
    assert (curve[:rising].diff() > 0).all()
    assert (curve[rising : steps - falling] == 1).all()
    assert (curve[steps - falling :].diff() <= 1e-12).all()
    assert (curve[rising:] >= final - 1e-12).all()


# --- torch's own, by name ---------------------------------------------------------------------------------------------


def test_torchs_schedulers_take_part_by_name():
    restarts = Torch("CosineAnnealingWarmRestarts", {"T_0": 5, "eta_min": 0.1})
    assert_curve(restarts, lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 5, eta_min=0.1), 23)
    assert_curve(Torch("MultiStepLR", {"milestones": [2, 6]}), lambda o: lr_scheduler.MultiStepLR(o, [2, 6]), 9)


def test_those_that_want_more_than_the_step_do_not():
    assert {"CosineAnnealingLR", "StepLR", "PolynomialLR"} <= set(by_the_step())
    for name in ("ReduceLROnPlateau", "LambdaLR", "SequentialLR", "LRScheduler", "Adam", None):
        with pytest.raises(UserError, match=r"schedule.name=\w+: expected one of .*CosineAnnealingLR"):
            Torch(name)


def test_options_that_torch_refuses_are_refused_with_those_it_takes():
    with pytest.raises(UserError, match=r"schedule.options=\{'T_0': 5\}: StepLR refuses them .* takes step_size, gamma"):
        Rates(Torch("StepLR", {"T_0": 5}), [[3]])
    with pytest.raises(UserError, match=r"OneCycleLR refuses them .*[Tt]ried to step 1[12] times"):
        Rates(Torch("OneCycleLR", {"max_lr": 1.0, "total_steps": 10, "cycle_momentum": False}), [[20]])


# --- members and tasks ------------------------------------------------------------------------------------------------


def test_members_have_their_own_curves():
    schedule = Schedule([0.5, 0.0], [0.0, 1.0], 0.0, ["sqrt", "linear"])
    rates = Rates(schedule, [[4, 4]]).at(0, 0, 4)
    torch.testing.assert_close(rates, torch.tensor([[0.5, 1, 1, 1], [1, 0.75, 0.5, 0.25]], dtype=torch.float64).T)


def test_a_curve_spans_the_stream_or_starts_again_with_each_task():
    lengths = [[2, 3], [4, 3], [2, 2]]  # [phase][member]
    falling = [1 - t / 8 for t in range(8)]
    spanning = Rates(Schedule(decay=1.0, final=0.0, shape="linear"), lengths)
    assert spanning.at(0, 0, 3)[:, 0].tolist() == [*falling[:2], falling[1]]  # it rests for a step, and its schedule too
    assert spanning.at(1, 1, 2)[:, 0].tolist() == falling[3:5]
    assert spanning.at(2, 0, 2)[:, 0].tolist() == falling[6:]
    restarted = Rates(Schedule(decay=1.0, final=0.0, shape="linear", span="task"), lengths)
    assert restarted.at(1, 0, 4)[:, 0].tolist() == [1, 0.75, 0.5, 0.25]
    assert restarted.at(2, 0, 2)[:, 0].tolist() == [1, 0.5]
    torch.testing.assert_close(restarted.at(1, 0, 3)[:, 1], torch.tensor([1, 2 / 3, 1 / 3], dtype=torch.float64))


@pytest.mark.parametrize("make", [SGD, AdamW])
def test_members_of_one_population_may_have_different_schedules(make):
    """Each ends as it does alone, in unequal company too."""
    finals = [1.0, 0.1, 0.0]

    def trained(seeds, final):
        learner = small_learner(seeds, optimizer=make, schedule=Schedule(decay=0.8, final=final, span="task"))
        fit(learner)
        return learner.population.leaves

    together = trained([3, 8, 5], finals)
    for m, seed in enumerate([3, 8, 5]):
        for name, alone in trained([seed], finals[m]).items():
            torch.testing.assert_close(together[name][m], alone[0])


def test_an_update_is_as_large_as_the_rate_says():
    """Plain SGD: the parameters move by lr times the factor times the gradient, at each of a member's own steps."""
    learner = small_learner([3, 8, 5], optimizer=lambda leaves: SGD(leaves, lr=0.5), schedule=Schedule(decay=1.0, final=0.25))
    taken = torch.tensor(learner.course.lengths).sum(0).tolist()
    m, own = taken.index(min(taken)), min(taken)
    assert own < learner.course.total  # it rests while others go on
    leaves, factors = learner.population.leaves, []
    step = learner.optimizer.step

    def watched():
        before = {name: leaf.detach().clone() for name, leaf in leaves.items()}
        gradients = {name: leaf.grad[m].clone() for name, leaf in leaves.items()}
        step()
        moved = torch.cat([(before[name] - leaf.detach())[m].flatten() for name, leaf in leaves.items()])
        if moved.any():
            gradient = torch.cat([gradient.flatten() for gradient in gradients.values()])
            factors.append(float((moved @ gradient) / (0.5 * gradient @ gradient)))

    learner.optimizer.step = watched
    fit(learner)
    assert factors == pytest.approx([1 - 0.75 * math.sqrt(t / own) for t in range(own)], rel=1e-3)


def test_a_resumed_run_reads_on_where_it_was():
    def made():
        return small_learner([3, 8], schedule=Schedule(0.1, 0.5, [0.0, 0.3]))

    whole, halved, resumed = made(), made(), made()
    fit(whole)
    saved = checkpoint(halved, fit(halved, until=3))
    fit(resumed, restored(resumed, saved))
    for name, leaf in whole.population.leaves.items():
        assert torch.equal(leaf, resumed.population.leaves[name])


# --- what does not fit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"warmup": 1}, r"schedule.warmup=1: expected a share of the span in \[0, 1\), or a whole number of steps from 2 on"),
        ({"warmup": -1}, "schedule.warmup=-1: expected"),
        ({"decay": 2.5}, r"schedule.decay=2.5: expected a share"),
        ({"decay": float("nan")}, "schedule.decay=nan: expected a share"),
        ({"final": 1.5}, r"schedule.final=1.5: expected a number in \[0, 1\]"),
        ({"final": 0, "shape": "exponential"}, "schedule.final=0: expected above 0 where schedule.shape=exponential"),
        ({"final": [0.1, 0], "shape": ["sqrt", "step"]}, "schedule.final=0: expected above 0 where schedule.shape=step"),
        ({"shape": "square"}, "schedule.shape=square: expected one of sqrt, linear"),
        ({"drops": 0}, "schedule.drops=0: expected a whole number from 1 on"),
        ({"span": "run"}, "schedule.span=run: expected one of stream, task"),
        ({"final": []}, r"schedule.final=\[\]: expected a value, or a list of one a member"),
    ],
)
def test_values_that_make_no_schedule_are_refused(options, error):
    with pytest.raises(UserError, match=error):
        Schedule(**options)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"decay": 30}, r"schedule.decay=30: expected at most the 20 steps of the run \(schedule.span=stream\)"),
        (
            {"warmup": 12, "decay": 0.5},
            r"schedule.warmup=12, schedule.decay=0.5: 12 \+ 10 steps are more than the 20 of the run",
        ),
        ({"warmup": 7, "span": "task"}, r"schedule.warmup=7: expected at most the 6 steps of the shortest task"),
        ({"final": [1, 1, 1]}, r"schedule.final=\[1, 1, 1\]: expected one value, or a list of 2"),
    ],
)
def test_schedules_that_do_not_fit_the_run_are_refused(options, error):
    with pytest.raises(UserError, match=error):
        Rates(Schedule(**options), [[6, 9], [14, 11]])
