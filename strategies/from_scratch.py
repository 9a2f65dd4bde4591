"""A new network for every task: what is learnt of a task without any other, the bound for plasticity and for transfer."""

from lab.protocols import Strategy


class FromScratch(Strategy):
    """From the second task on, begin with newly initialised weights (from the member's seed) and a new optimiser.

    ``learning_accuracy`` is what to compare with. Earlier tasks are lost; ``strategy=[cumulative,from_scratch]`` trains a new
    network at each task on the data of all tasks so far, the costliest bound.
    """

    needs_boundaries = moves = True

    def begin_task(self, learner, task):
        if task > 0:
            learner.population.load(learner.population.fresh("from scratch", task))
            learner.optimizer.reset()
