import pytest
import torch

from environments.online import Online
from environments.split import Split
from lab.errors import UserError
from lab.experiment import Experiment
from lab.testing import composed

WORDS = ("environment=online", "tracking=off", "seeds=2", "network.width=8", "network.depth=1", "evaluation.every=null")


def test_it_is_the_inner_stream_tested_before_it_is_trained_on(make):
    split = Split(make(), 2)
    online = Online(split)
    assert online.data is split.data
    stream = online.stream(3)
    assert stream.prequential
    assert not split.stream(3).prequential
    assert stream.phases[1].examples.tolist() == split.stream(3).phases[1].examples.tolist()


@pytest.mark.parametrize("words", [["epochs=2"], ["steps=5"], ["epochs=null", "steps=5"]])
def test_budgets_of_more_than_a_pass_are_refused(words):
    with pytest.raises(UserError, match=r"expected epochs=1 steps=null"):
        Experiment(composed(*WORDS, *words))


def test_one_pass_is_taken_and_counted():
    experiment = Experiment(composed(*WORDS))
    course = experiment.course([0, 1], block=8)
    assert [course.samples(m) for m in (0, 1)] == [len(experiment.environment.data.train)] * 2


@pytest.mark.parametrize("strategy", ["joint", "cumulative"])
def test_accuracy_before_training_is_not_measured_where_the_order_is_gone(strategy):
    stream = Experiment(composed(*WORDS, f"strategy={strategy}", "epochs=2")).streams[0]
    assert not stream.prequential


def test_what_is_no_environment_is_refused(make):
    for given in (None, "split", make()):
        with pytest.raises(UserError, match=r"environment\.base=.*expected an environment to wrap"):
            Online(given)


def test_errors_of_the_inner_environment_name_its_place():
    with pytest.raises(UserError, match=r"^environment\.base\.tasks=11: expected at most 10"):
        Experiment(composed(*WORDS, "environment.base.tasks=11"))
    with pytest.raises(UserError, match=r"^environment\.base\.source=mnist: the data are not there"):
        Experiment(composed(*WORDS, "environment.base.source=mnist", "data.dir=null"))
    nested = [*WORDS, "environment.base=blurry", "environment.base.base=rotated", "environment.base.base.angles=odd"]
    with pytest.raises(UserError, match=r"^environment\.base\.base\.angles=odd"):
        Experiment(composed(*nested))


def test_inner_environments_and_their_sources_are_groups(tmp_path):
    for word in ("environment.base=permuted", "environment/base=permuted", "environment/base@environment.base=permuted"):
        node = composed("environment=online", word, "environment.base.source=mnist", f"data.dir={tmp_path}")["environment"]
        assert node["base"]["_target_"] == "environments.permuted.Permuted"
        assert node["base"]["source"]["dir"] == str(tmp_path)
    node = composed("environment=online", "environment.base=blurry", "environment.base.base=permuted")["environment"]
    assert node["base"]["base"]["_target_"] == "environments.permuted.Permuted"


def test_accuracy_before_training_is_counted_by_task(make):
    """Against a replay by hand: the same learner, asked before each step."""
    from lab.ahead import works
    from lab.evaluation import Evaluation
    from lab.learner import ContinualLearner
    from lab.networks import MLP
    from lab.optimizers import SGD
    from lab.population import Population
    from lab.reader import Reader
    from lab.stream import Blocks, Budget, Course

    data = make(4, examples=8)
    for scenario in ("task", "class", "domain"):
        streams = [Online(Split(data, 2, scenario)).stream(seed) for seed in (0, 1)]
        course = Course(streams, [0, 1], Budget(batch_size=6), block=4)
        population = Population(lambda c=streams[0].outputs: MLP((1, 4, 4), c, width=8, depth=1), [0, 1], True, torch.float32)
        learner = ContinualLearner(
            population, [], SGD(population.leaves, lr=0.1), Reader(data, streams), course, Evaluation(course, [0, 1]), [0, 1]
        )
        right, met = torch.zeros(2, 2), torch.zeros(2, 2)
        for block in Blocks(course):
            for work in works(learner, block):
                batch = work.batch
                logits = population(batch.inputs).detach()
                for m in range(2):
                    for b in range(batch.width):
                        task = int(batch.tasks.expand_as(batch.examples)[m, b])
                        if batch.weights is not None and batch.weights[m, b] == 0:
                            continue
                        units = streams[m].tasks[task].labels
                        allowed = sorted(units[units >= 0].tolist()) if scenario == "task" else list(range(streams[m].outputs))
                        answer = allowed[int(logits[m, b, allowed].argmax())]
                        right[m, task] += answer == int(batch.targets[m, b])
                        met[m, task] += 1
                learner.step(work, learner.optimizer.step)
        assert torch.equal(learner.right_before, right)
        assert torch.equal(learner.met_before, met)
        assert met.tolist() == [[16, 16], [16, 16]]
        assert 0 < right.sum() < met.sum()
