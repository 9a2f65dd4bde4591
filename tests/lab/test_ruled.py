"""What is measured where outputs have names, against cases worked by hand and against trying everything."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lab.errors import UserError
from lab.evaluation import Evaluation
from lab.protocols import Data, Examples, Layout, Output, Rule, Stream, Task, phase_per_task
from lab.reader import Reader
from lab.results import join, load, members, save
from lab.ruled import Ruled
from lab.stream import Budget, Course
from lab.testing.miniature import checkpoint, fit, restored, small_learner
from lab.testing.ruled import AGREE, BIO, PHRASES, SPELLED, Phrases, Speller, Spelling, phrase_network

from .forked import small, train

SEEDS = [3, 8]


class Told(SimpleNamespace):
    """Answers the rows of the test data with given logits ``[M, N, ...]``."""

    def __init__(self, logits, environment):
        streams = [environment.stream(seed) for seed in range(len(logits))]
        own = Reader(environment.data, streams)
        super().__init__(logits=logits, own=own, reader=self, strategies=[], members=len(logits))
        self.diverged_at = torch.where(logits.flatten(1).isfinite().all(1), -1, 7)

    def read(self, examples, tasks, split):
        self.rows = examples
        return self.own.read(examples, tasks, split)

    def units_of(self, tasks):
        return self.own.units_of(tasks)

    def predict(self, inputs, told):
        return torch.stack([own[rows] for own, rows in zip(self.logits, self.rows, strict=True)])


class Given:
    """An environment of one task with these test examples, of which the first ``tests`` are its own."""

    def __init__(self, layout, inputs, targets, tests, rules, groups):
        examples = Examples(torch.tensor(inputs), torch.tensor(targets))
        classes = layout.sayable.shape[1]
        self.data = Data("given", examples, examples, classes, "given", layout=layout)
        groups = {kind: torch.tensor(rows) for kind, rows in groups.items()}
        self.task = Task(torch.arange(tests), torch.arange(tests), torch.arange(classes), test_groups=groups)
        self.rules = rules

    def stream(self, seed):
        tasks = (self.task,)
        return Stream(tasks, phase_per_task(tasks), "domain", self.data.classes, rules=self.rules)


def measured(environment, logits, **options):
    """The measures of the answers, by name, ``[M]`` each; and what breaks rules."""
    streams = [environment.stream(seed) for seed in range(len(logits))]
    course = Course(streams, list(range(len(logits))), Budget(4))
    evaluation = Evaluation(course, course.seeds, batch=options.pop("batch", 2), layout=environment.data.layout, **options)
    evaluation.after_phase(Told(logits, environment), 0)
    return dict(zip(evaluation.ruled.names, evaluation.matrices[:, :, 1, 0], strict=True)), evaluation.violated


# --- sentences --------------------------------------------------------------------------------------------------------

WORDS = [[1, 5, 3, 4, 0, 0], [1, 3, 6, 0, 0, 0], [1, 4, 3, 5, 0, 0], [1, 6, 3, 0, 0, 0]]
LABELS = [[0, 2, 3, 4, -100, -100], [1, 5, 2, -100, -100, -100], [-100] * 6, [-100] * 6]
AGREED = Rule("agree", AGREE, PHRASES, over="pairs", of=("one", "other"))
SENTENCES = Given(PHRASES, WORDS, LABELS, 2, (Rule("bio", BIO, PHRASES), AGREED), {"pairs": [[0, 2], [1, 3]]})


def said(*answers):
    """Logits ``[4, 6, 7]`` by which these classes are the answers, and nothing else comes near."""
    return torch.full((4, 6, 7), -20.0).scatter(2, torch.tensor(answers).unsqueeze(2), 0.0)


RIGHT = said([0, 2, 3, 4, 2, 2], [1, 5, 2, 2, 2, 2], [0, 2, 2, 2, 2, 2], [1, 2, 2, 2, 2, 2])
WRONG = said([0, 2, 5, 4, 2, 2], [1, 5, 2, 2, 2, 2], [1, 2, 2, 2, 2, 2], [1, 2, 2, 2, 2, 2])
"""The first sentence is O B-b I-a, of another intent than its reverse, the rest is right."""
WRONG[0, 2, 3] = -0.1  # B-a comes next
WRONG[2, 0, 0] = -0.2


def test_by_hand():
    found, violated = measured(SENTENCES, torch.stack([WRONG, RIGHT]))
    expected = {
        "sequence_accuracy": 1 / 2,
        "accuracy_intent": 1,
        "accuracy_tag": 4 / 5,
        "span_f1": 2 * 1 / (3 + 2),
        "violation": 2 / 4,
        "violation_bio": 1 / 2,
        "violation_agree": 1 / 2,
        "constrained_span_f1": 1,
        "constrained_found": 1,
    }
    assert list(found) == list(expected)
    for name, value in expected.items():
        perfect = 0 if name.startswith("violation") else 1
        assert found[name].tolist() == pytest.approx([value, perfect]), name
    assert violated["bio"] == {
        "says": BIO, "over": "single", "aligned": True, "weighed_against": "span_f1", "groups": [2, 2], "violated": [1, 0],
        "worst": [{
            "grounding": "i=2, s=a", "count": [1, 0],
            "example": {"seed": 0, "task": 0, "examples": [
                {"tokens": ["<intent>", "old", "red", "hot"], "answers": {"intent": "x", "tag": ["O", "B-b", "I-a"]}},
            ]},
        }],
    }  # fmt: skip
    assert [one["answers"]["intent"] for one in violated["agree"]["worst"][0]["example"]["examples"]] == ["x", "y"]


@pytest.mark.parametrize(("count", "found", "f1"), [(3, 3 / 4, 2 / 5), (4, 1, 1)])
def test_so_many_best_answers_are_tried(count, found, f1):
    """Of the pair, by itself: B-b and y, B-a and y, B-b and x, B-a and x, which is the fourth."""
    values, _ = measured(SENTENCES, torch.stack([WRONG, RIGHT]), constrained=count)
    assert values["constrained_found"].tolist() == pytest.approx([found, 1])
    assert values["constrained_span_f1"].tolist() == pytest.approx([f1, 1])


def test_an_answer_that_breaks_nothing_stays_whatever_others_break():
    """Two members, three strings of one place; class 2 breaks the rule, and 1 is what a beam search finds most probable."""
    plain = torch.tensor([[2, 2, 2], [2, 0, 0]]).view(2, 3, 1, 1)
    one = Rule("never", "not out = c", Layout((Output("out", ("a", "b", "c"), sequence=False),), 1))
    ruled = Ruled.__new__(Ruled)
    ruled.over, ruled.constrained, ruled.layout = {"single": [one]}, 2, SimpleNamespace(decoded=True, real=one.layout.real)
    ruled._candidates = lambda asking, inputs, which, logits: (
        torch.tensor([1, 0]).view(1, 1, 2, 1, 1).expand(2, which.shape[1], 2, 1, 1),
        torch.ones(2, which.shape[1], 2, dtype=torch.bool),
    )
    broken, inputs = (plain == 2).flatten(2).any(2), torch.ones(2, 3, 1, 1, dtype=torch.int64)
    answers, found = ruled._constrained(None, plain, inputs, broken | True, [one], broken, None)
    assert answers.flatten(1).tolist() == [[1, 1, 1], [1, 0, 0]]
    assert found.all()


def test_answers_that_cannot_be_given_are_not_found():
    """Every tag but I-a is impossible in the only place that counts: no sequence keeps the rule."""
    only = said([0, 4, 2, 2, 2, 2], *[[1, 2, 2, 2, 2, 2]] * 3)
    only[0, 1] = torch.tensor([-1e4, -1e4, -1e4, -1e4, 0.0, -1e4, -1e4])
    values, _ = measured(SENTENCES, only.unsqueeze(0))
    assert values["constrained_found"].item() == pytest.approx(2 / 4)  # neither the sentence nor its pair
    assert "constrained_found" not in measured(SENTENCES, only.unsqueeze(0), constrained=0)[0]


def test_a_rule_that_nothing_is_measured_on_is_undefined():
    values, _ = measured(Given(PHRASES, WORDS, LABELS, 2, SENTENCES.rules, {}), WRONG.unsqueeze(0))
    assert values["violation_agree"].isnan().all()
    assert values["violation"].item() == values["violation_bio"].item() == 1 / 2


def test_a_member_that_diverged_is_told_of_by_nobody():
    values, violated = measured(SENTENCES, torch.stack([torch.full_like(WRONG, torch.nan), WRONG]))
    assert violated["bio"]["groups"] == [0, 2]
    assert violated["bio"]["violated"] == [0, 1]
    assert values["span_f1"][1].item() == pytest.approx(2 / 5)


def test_single_examples_may_be_others_than_those_with_labels():
    own = Given(PHRASES, WORDS, LABELS, 2, SENTENCES.rules[:1], {"single": [[0], [2], [3]]})
    assert measured(own, WRONG.unsqueeze(0))[0]["violation_bio"].item() == pytest.approx(1 / 3)
    assert measured(own, WRONG.unsqueeze(0))[1]["bio"]["groups"] == [3]


def test_a_name_that_a_measure_has_is_refused():
    stream = Given(PHRASES, WORDS, LABELS, 2, (Rule("forgetting", BIO, PHRASES),), {}).stream(0)
    with pytest.raises(UserError, match=r"environment\.rules\.forgetting"):
        Ruled(PHRASES, [stream], [0], [[torch.arange(2)]])


# --- groups of single labels ------------------------------------------------------------------------------------------

LABEL = Layout((Output("label", ("e", "n", "c"), sequence=False),), 1)


def test_groups_are_answered_as_trying_everything_would():
    """Pairs and triples of examples with one label; each is answered as in its first triple, or else first pair, or alone."""
    draw, count = torch.Generator().manual_seed(0), 30
    rules = (
        Rule("alike", "a.label = c <-> b.label = c", LABEL, over="pairs", of=("a", "b")),
        Rule("through", "a.label = e and b.label = e -> c.label = e", LABEL, over="triples", of=("a", "b", "c")),
    )
    groups = {"triples": torch.randperm(count, generator=draw)[:15].view(5, 3).tolist()}
    groups["pairs"] = torch.randint(count, (14, 2), generator=draw).tolist()
    groups["pairs"] = [[a, b] for a, b in groups["pairs"] if a != b]
    targets = torch.randint(3, (count,), generator=draw)
    environment = Given(LABEL, [[1]] * count, targets.tolist(), 25, rules, groups)
    logits = torch.randn(2, count, 3, generator=draw)
    values, _ = measured(environment, logits, batch=7)
    for member, own in enumerate(logits):
        chosen, bad = own.argmax(1).tolist(), 0
        keeps = {"pairs": lambda a, b: (a == 2) == (b == 2), "triples": lambda a, b, c: not (a == b == 0) or c == 0}
        for kind in ("pairs", "triples"):
            answered = own.argmax(1).tolist()
            bad += sum(not keeps[kind](*(answered[row] for row in group)) for group in groups[kind])
            decided = set()
            for group in groups[kind]:
                fine = [joint for joint in itertools.product(range(3), repeat=len(group)) if keeps[kind](*joint)]
                best = max(fine, key=lambda joint: sum(own[row, c].item() for row, c in zip(group, joint, strict=True)))
                for row, answer in zip(group, best, strict=True):
                    if row not in decided:
                        chosen[row] = answer
                decided |= set(group)
        right = [chosen[row] == targets[row] for row in range(25)]
        assert values["constrained_accuracy"][member].item() == pytest.approx(np.mean(right))
        assert values["violation"][member].item() == pytest.approx(bad / (5 + len(groups["pairs"])))
        assert values["constrained_found"][member] == 1
    assert values["violation"].min() > 0
    assert list(values) == ["violation", "violation_alike", "violation_through", "constrained_accuracy", "constrained_found"]


# --- answers one place after the other --------------------------------------------------------------------------------


def test_decoded_answers_are_the_networks_own():
    environment, seeds = Spelling(), [3, 8]
    learner = small_learner(seeds, Speller, environment=environment)
    learner.evaluation.ruled.constrained = 3**4  # all there are: the beam search leaves nothing out
    learner.measure(0, -1, False)
    values = dict(zip(learner.evaluation.ruled.names, learner.evaluation.matrices[:, :, 0, 0], strict=True))
    test, told = environment.data.test, torch.tensor(SPELLED.told)
    everything = [(*a, 2) for n in range(4) for a in itertools.product(range(2), repeat=n)]
    everything += list(itertools.product(range(2), repeat=4))
    for member in range(2):
        network = Speller()
        network.load_state_dict(learner.population.member(member))
        plain, kept = [], []
        for inputs, target in zip(test.inputs, test.targets, strict=True):
            scores = {}
            for answer in everything:
                padded = torch.tensor([*answer, *[2] * (4 - len(answer))])
                shown = SPELLED.retold(inputs, padded, told).unsqueeze(0)
                log_probs = network(shown)[0].log_softmax(1)
                scores[answer] = sum(log_probs[place, c].item() for place, c in enumerate(answer))
            greedy = ()
            while len(greedy) < 4 and 2 not in greedy:
                shown = SPELLED.retold(inputs, torch.tensor([*greedy, *[2] * (4 - len(greedy))]), told).unsqueeze(0)
                greedy += (network(shown)[0, len(greedy)].argmax().item(),)
            right, needed = tuple(c for c in target.tolist() if c >= 0), (inputs[:3] == 1).sum()
            plain.append((greedy == right, greedy.count(0) == needed))
            best = max(scores, key=lambda answer: scores[answer] if answer.count(0) == needed else -1e9)
            kept.append((greedy if greedy.count(0) == needed else best) == right)
        assert values["sequence_accuracy"][member].item() == pytest.approx(np.mean([right for right, _ in plain]))
        assert values["violation_count"][member].item() == pytest.approx(1 - np.mean([keeps for _, keeps in plain]))
        assert values["constrained_sequence_accuracy"][member].item() == pytest.approx(np.mean(kept))
    assert values["violation"].max() > 0


# --- in a run ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", ["domain", "class"])
def test_matrices_are_undefined_where_accuracy_is_and_agree_with_it(scenario):
    environment = Phrases(scenario, tests=8)
    learner = small_learner(SEEDS, phrase_network, environment=environment, budget=Budget(8, steps=3), outputs="seen")
    fit(learner)
    accuracy, values = learner.evaluation.accuracy, learner.evaluation.matrices
    assert (values.isnan() == accuracy.isnan()).all()
    assert accuracy.isnan().any() == (scenario == "class")
    named = dict(zip(learner.evaluation.ruled.names, values, strict=True))
    for member, stream in enumerate(learner.course.streams):
        for task in range(2):
            labels = (environment.data.test.targets[stream.tasks[task].test] >= 0).sum(0)
            parts = named["accuracy_intent"] * labels[0] + named["accuracy_tag"] * labels[1:].sum()
            torch.testing.assert_close((parts / labels.sum())[member, :, task], accuracy[member, :, task], equal_nan=True)


def test_checkpoints_hold_them():
    made = [small_learner(SEEDS, phrase_network, environment=Phrases(tests=8), budget=Budget(8, steps=3)) for _ in range(2)]
    restored(made[1], checkpoint(made[0], fit(made[0])))
    one, other = (learner.evaluation for learner in made)
    assert torch.equal(one.matrices, other.matrices)
    assert one.violated == other.violated
    assert one.violated["bio"]["groups"] == [16, 16]


def test_so_many_examples_stand_for_test_sets_and_groups():
    environment = Phrases(tests=12)
    streams = [environment.stream(seed) for seed in SEEDS]
    evaluation = Evaluation(Course(streams, SEEDS, Budget(4)), SEEDS, at_most=5, layout=PHRASES)
    places, valid = evaluation.ruled.groups.kinds["pairs"](1)
    rows = evaluation.ruled.groups.examples(1)[0].gather(1, places)
    assert rows.shape == (2, 10)
    assert valid.all()
    for own, stream in zip(rows.view(2, 5, 2).tolist(), streams, strict=True):
        assert {tuple(pair) for pair in own} <= {tuple(pair) for pair in stream.tasks[1].test_groups["pairs"].tolist()}
    assert evaluation.count() == 3 * 2 * (5 + 10)


# --- results ----------------------------------------------------------------------------------------------------------

NODES = {
    "environment": {"_target_": "lab.testing.ruled.Phrases", "tests": 8},
    "network": {"_target_": "lab.networks.Tagger", "vocabulary": 8, "width": 8},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three members in one process, and the same in two."""
    made = []
    for processes in (1, 2):
        place = tmp_path_factory.mktemp("runs")
        words = (
            "steps=4",
            "seeds=[2,3,5]",
            f"plan.processes={processes}",
            f"paths.runs={place}",
            "averaging=sma",
            "averaging.snapshots=2",
        )
        made.append(train(small(*words) | NODES))
    return made


def test_results_keep_them_whatever_the_processes(runs, tmp_path):
    one, two = map(load, runs)
    assert list(one.matrices) == list(two.matrices)
    assert {"h_05", "h_1", "h_2", "violation_bio", "constrained_span_f1"} <= set(one.matrices)
    for name, matrix in one.matrices.items():
        np.testing.assert_array_equal(matrix, two.matrices[name], name)
        known = ~np.isnan(matrix[:, -1])
        np.testing.assert_allclose(one.metrics[name], np.nansum(matrix[:, -1], 1) / known.sum(1), err_msg=name)
        assert f"{name}_raw" in one.metrics
    assert one.violated == two.violated
    assert one.violated["bio"]["groups"] == [16, 16, 16]
    save(join([members(two, [5]), members(two, [3])], [3, 5]), tmp_path)
    again = load(tmp_path)
    np.testing.assert_array_equal(again.matrices["violation"], one.matrices["violation"][[1, 2]])
    assert again.violated["agree"]["violated"] == one.violated["agree"]["violated"][1:]
    np.testing.assert_array_equal(again.beside["raw"]["violation"], one.beside["raw"]["violation"][[1, 2]])


def test_large_matrices_lie_beside_the_file(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("lab.results.LARGE", 1)
    save(load(runs[0]), tmp_path)
    assert '"violation": "accuracy.npz"' in (tmp_path / "results.json").read_text()
    again, before = load(tmp_path), load(runs[0])
    for name, matrix in before.matrices.items():
        np.testing.assert_array_equal(again.matrices[name], matrix)
        np.testing.assert_array_equal(again.beside["raw"][name], before.beside["raw"][name])
