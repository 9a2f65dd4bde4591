"""Experience replay: Chaudhry et al. 2019, "On Tiny Episodic Memories in Continual Learning", arXiv 1902.10486.

Every step trains on the current batch B_n and a batch B_M drawn from a memory M, which reservoir sampling keeps a uniform
sample of the stream (their algorithm 1; the memory is updated after the step). The loss is one mean over B_n and B_M
together; ``balance`` weighs the two parts instead.
"""

from lab.protocols import Steps, Strategy, invalid, whole


class ER(Strategy):
    """Replay ``replay`` samples a step (null: as many as the current batch) from a memory of ``memory`` samples a member.

    ``balance`` in (0, 1]: weight of the current batch's mean loss, 1 - balance that of the replayed; null: one joint mean.
    """

    def __init__(self, memory: int = 500, replay: int | None = None, balance: float | None = None):
        super().__init__()
        self.memory = whole("strategy.er.memory", memory, 1)
        self.replay = None if replay is None else whole("strategy.er.replay", replay, 1)
        # Not 0: what weighs nothing is not offered to the memory either.
        if balance is not None and not 0 < balance <= 1:
            raise invalid("strategy.er.balance", balance, "a number above 0 and up to 1, or null for one joint mean")
        self.balance = balance

    def setup(self, learner):
        self.reservoir = learner.reservoir(self.memory)

    def rehearse(self, learner, steps: Steps) -> Steps:
        examples, tasks, valid = self.reservoir.draw_and_add(steps, self.replay or steps.current)
        return steps.join(examples, tasks, valid.float(), self.balance)
