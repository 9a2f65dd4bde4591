"""Rehearsal by a law of time: Gandhi, Shah, Marupudi & Varma 2024, arXiv 2401.10393, and its controls. Our reconstruction.

The source claims that where tasks come back with a probability that falls as a power law of the time since, plain rehearsal
is as good as the remedies against forgetting. It gives no formula, and its rehearsal has all old data at hand. Here a memory of
K samples a member stands for them. In phase k, a task j that was new in phase j < k has the lag t = k - j >= 1, and

    P(a replayed sample is of task j) = w(t) / sum_i w(k - i)      over the earlier tasks i of which a sample is kept

    power_law_rehearsal     w(t) = (t + 1)^-d      d = 0: uniform; d = inf: the most recent task alone
    uniform_rehearsal       w(t) = 1
    exponential_rehearsal   w(t) = e^(-r t)        r, solved for each phase, gives the power law's mean lag
    recent_rehearsal        w(t) = [t = 1]
    reservoir_rehearsal     a uniform sample of all that was met (Vitter 1985), drawn from uniformly: tasks as they have samples

Within a task all samples kept are alike; draws are with replacement. All five rehearse from the second task on, equally many
samples a step, of earlier tasks alone: memory is filled when a task has ended, and not rehearsed while it is trained on. The
current batch and the replayed one have one mean loss, as in Chaudhry et al. 2019; ``balance`` weighs the two means instead.

Lags are counted from a task's own phase. A stream that comes back to it, as the environments of the same names do, does not
make it younger. Slots are shared out evenly among tasks, whatever the law, unless ``quotas=law`` (:mod:`lab.memory.lagged`); a
reservoir has as many of a task as chance gives it, and counts a sample as often as it was met.
"""

from typing import ClassVar

from lab.protocols import Steps, Strategy, invalid, law, one_of, whole


class Rehearsal(Strategy):
    """Replay ``replay`` samples a step of earlier tasks (null: as many as the current batch), from ``memory`` samples a member.

    Args:
        exponent: d of the power law, from 0 on, inf included; of the exponential law, the power law whose mean lag it has.
        quotas: slots for each task, ``even``: as many to each; ``law``: as many as the law draws it in the next phase.
        balance: weight in (0, 1] of the current batch's mean loss, 1 - balance that of the replayed; ``tasks``: 1/k in the k-th
            task; null: one joint mean.
    """

    kind: ClassVar[str]
    """The law's name, of :data:`lab.lags.LAWS`."""
    key: ClassVar[str]
    needs_boundaries = True

    def __init__(self, memory: int = 500, replay: int | None = None, exponent: float = 0.5, quotas: str = "even", balance=None):
        super().__init__()
        self.memory = whole(f"{self.key}.memory", memory, 1)
        self.replay = None if replay is None else whole(f"{self.key}.replay", replay, 1)
        self.law = law(self.key, self.kind, exponent)
        self.quotas = one_of(f"{self.key}.quotas", quotas, ("even", "law"))
        if not (balance in (None, "tasks") or (isinstance(balance, (int, float)) and 0 < balance <= 1)):
            raise invalid(f"{self.key}.balance", balance, "a number above 0 and up to 1, tasks, or null for one joint mean")
        self.balance = balance

    def setup(self, learner):
        self.store = learner.lagged(self.memory, self.law, self.quotas)

    def rehearse(self, learner, steps: Steps) -> Steps:
        if learner.phase == 0:
            return steps
        examples, tasks, valid = self.store.draw_ahead(steps, self.replay or steps.current)
        return steps.join(examples, tasks, valid.float(), 1 / (learner.phase + 1) if self.balance == "tasks" else self.balance)

    def end_task(self, learner, task):
        self.store.end_task(*learner.addresses(task), learner.clock)


class PowerLawRehearsal(Rehearsal):
    """See :class:`Rehearsal`."""

    kind, key = "power", "strategy.power_law_rehearsal"


class UniformRehearsal(Rehearsal):
    """Every earlier task alike; see :class:`Rehearsal`."""

    kind, key = "uniform", "strategy.uniform_rehearsal"

    def __init__(self, memory: int = 500, replay: int | None = None, balance=None):
        super().__init__(memory, replay, balance=balance)


class ExponentialRehearsal(Rehearsal):
    """Forgetting at a constant rate, by the mean lag of the power law of ``exponent``; see :class:`Rehearsal`."""

    kind, key = "exponential", "strategy.exponential_rehearsal"


class RecentRehearsal(Rehearsal):
    """The task before alone; see :class:`Rehearsal`."""

    kind, key = "recent", "strategy.recent_rehearsal"

    def __init__(self, memory: int = 500, replay: int | None = None, quotas: str = "even", balance=None):
        super().__init__(memory, replay, quotas=quotas, balance=balance)


class ReservoirRehearsal(Rehearsal):
    """Earlier samples all alike, from a reservoir of the whole stream; see :class:`Rehearsal`."""

    kind, key = "uniform", "strategy.reservoir_rehearsal"

    def __init__(self, memory: int = 500, replay: int | None = None, balance=None):
        super().__init__(memory, replay, balance=balance)

    def setup(self, learner):
        self.store = learner.reservoir(self.memory)
        self.store.at_end = True
