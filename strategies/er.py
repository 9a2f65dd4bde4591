"""Experience replay: Chaudhry et al. 2019, "On Tiny Episodic Memories in Continual Learning", arXiv 1902.10486.

Every step trains on the current batch B_n and a batch B_M drawn from a memory M (their algorithm 1; the memory is updated
after the step). The loss is one mean over B_n and B_M together; ``balance`` weighs the two parts instead.

How M is filled, ``buffer``:

    reservoir   a uniform sample of the stream (the paper's)
    ring        the last memory / classes samples of each class (the paper's)
    balanced    an equal share for each class met, drawn uniformly from what was met of it (as in GDumb and Avalanche)
    task_end    per_class samples of each class of each task, drawn when the task has ended and replayed from the next one
                on (van de Ven et al. 2022)
"""

from lab.protocols import Steps, Strategy, invalid, one_of, require_room, whole


class ER(Strategy):
    """Replay ``replay`` samples a step (null: as many as the current batch) from a memory of ``memory`` samples a member.

    Args:
        balance: weight in (0, 1] of the current batch's mean loss, 1 - balance that of the replayed; ``tasks``: 1/k in the k-th
            task; null: one joint mean.
        buffer: ``reservoir``, ``balanced``, ``ring`` or ``task_end``.
        per_class: samples of each class of each task, with ``task_end`` alone, in place of ``memory``.
    """

    key = "strategy.er"

    def __init__(self, memory: int = 500, replay: int | None = None, balance=None, buffer="reservoir", per_class: int = 100):
        super().__init__()
        self.memory, self.per_class = whole(f"{self.key}.memory", memory, 1), whole(f"{self.key}.per_class", per_class, 1)
        self.replay = None if replay is None else whole(f"{self.key}.replay", replay, 1)
        # Not 0: what weighs nothing is not offered to the memory either.
        if not (balance in (None, "tasks") or (isinstance(balance, (int, float)) and 0 < balance <= 1)):
            raise invalid(f"{self.key}.balance", balance, "a number above 0 and up to 1, tasks, or null for one joint mean")
        self.balance, self.buffer = balance, one_of(f"{self.key}.buffer", buffer, ("reservoir", "balanced", "ring", "task_end"))
        self.needs_boundaries = balance == "tasks" or buffer == "task_end"
        self.needs_classes = buffer != "reservoir"

    def check(self, stream, data):
        if self.buffer in ("balanced", "ring"):
            require_room(f"{self.key}.memory", self.memory, stream.outputs)

    def setup(self, learner):
        self.store = learner.memory(self.buffer, self.memory, self.per_class)

    def rehearse(self, learner, steps: Steps) -> Steps:
        if self.store.at_end and learner.phase == 0:
            return steps
        examples, tasks, valid = self.store.serve(steps, self.replay or steps.current)
        return steps.join(examples, tasks, valid.float(), 1 / (learner.phase + 1) if self.balance == "tasks" else self.balance)

    def end_task(self, learner, task):
        self.store.end_task(*learner.addresses(task), learner.clock)
