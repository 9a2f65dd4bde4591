"""Avalanche's strategies on our environments: as our own loop where there is one to compare with, as Avalanche's own
evaluation elsewhere; every one of them on a tiny stream."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from lab.engine import member_of, own_generators
from lab.errors import UserError
from lab.experiment import Experiment
from lab.member import Member
from lab.plan import Plan
from lab.report.summary import cell_name
from lab.results import load
from lab.run import composed
from lab.testing import ENGINE_CHECKS, Subject
from lab.testing.engine import trained
from lab.testing.miniature import fit
from lab.testing.strategy import SEEDS
from tests.lab.forked import forked, kill

pytest.importorskip("avalanche")

from strategies.avalanche import REFUSED, Avalanche, supervised
from strategies.avalanche_loop import Experience, classes_of, dataset_of
from strategies.avalanche_ways import WAYS, Way

OPTIONS = {
    "AGEM": "{patterns_per_exp: 8, sample_size: 4}",
    "BiC": "{mem_size: 40, stage_2_epochs: 2}",
    "DER": "{mem_size: 20}",
    "ER_AML": "{mem_size: 60}",
    "EWC": "{ewc_lambda: 0.4}",
    "GDumb": "{mem_size: 20}",
    "GEM": "{patterns_per_exp: 8}",
    "GSS_greedy": "{mem_size: 40}",
    "ICaRL": "{memory_size: 20}",
    "LFL": "{lambda_e: 0.1}",
    "LwF": "{alpha: 1.0, temperature: 2.0}",
    "MER": "{mem_size: 20, n_inner_steps: 1}",
    "MIR": "{mem_size: 20, subsample: 10}",
    "PackNet": "{post_prune_epochs: 1, prune_proportion: 0.5}",
    "Replay": "{mem_size: 20}",
    "SynapticIntelligence": "{si_lambda: 0.1}",
}
"""Of those that are too large for a tiny stream by default, or that must be given."""
SMALL = ("tracking=off", "network.width=16", "network.depth=1", "batch_size=6", "seeds=3", "trainer.accelerator=cpu")


def words_of(name, *rest):
    options = [f"strategy.options={OPTIONS[name]}"] if name in OPTIONS else []
    experiences = WAYS.get(name, Way()).experiences
    online = ["strategy.experiences=batch"] if "phase" not in experiences else []
    return ("strategy=avalanche", f"strategy.name={name}", *options, *online, *rest)


def experiment(*words, scenario="class", **environment):
    config = composed(*SMALL, *words)
    node = {"_target_": "lab.testing.miniature.Miniature", "scenario": scenario, "tasks": 3}
    return Experiment(config | {"environment": node | environment})


def alike(ours, theirs, place, **tolerance):
    """A member of our population and of an engine's have the same parameters."""
    own = ours.population.member(place)
    for name, value in theirs.network.state_dict().items():
        if name.split(".")[-1] not in ("key", "clock"):
            torch.testing.assert_close(value, own[name], **tolerance)


TWINS = {"Naive": "naive", "Cumulative": "cumulative", "JointTraining": "joint"}


@pytest.mark.parametrize(
    ("name", "scenario", "words"),
    [
        ("Naive", "class", ["epochs=3", "optimizer.momentum=0.9", "evaluation.every=4"]),
        ("Naive", "class", ["steps=7", "outputs=seen", "optimizer=adam", "optimizer.lr=[0.1,0.01,0.001]"]),
        ("Naive", "task", ["epochs=2", "network.dropout=0.3", "optimizer=adamw", "evaluation.every=3"]),
        ("Naive", "domain", ["steps=9", "optimizer.weight_decay=0.01", "strategy.experiences=batch"]),
        ("Naive", "task", ["epochs=2", "strategy.experiences=batch"]),
        ("Cumulative", "class", ["epochs=2"]),
        ("JointTraining", "domain", ["epochs=2", "network.dropout=0.3"]),
    ],
)
def test_it_trains_as_we_do_where_the_method_is_the_same(name, scenario, words):
    """Initialisation, order of samples, dropout masks, optimiser, units, who rests, what is measured when."""
    plain = [word for word in words if not word.startswith("strategy.")]
    own = experiment(f"strategy={TWINS[name]}", *plain, scenario=scenario)
    ours = own.learner([0, 1, 2], Plan(True, 1, 1, 4, why="a test"))
    fit(ours)
    other = experiment("strategy=avalanche", f"strategy.name={name}", *words, scenario=scenario)
    for place in range(3):
        theirs = member_of(other, place)
        other.engine.train(theirs)
        alike(ours, theirs, place, rtol=1e-4, atol=2e-6)
        for measured in ("accuracy", "accuracy_without_task", "curves"):
            ours_, theirs_ = getattr(ours.evaluation, measured)[place], getattr(theirs.evaluation, measured)[0]
            torch.testing.assert_close(theirs_, ours_, rtol=0, atol=0, equal_nan=True)
        assert theirs.sampled == ours.course.samples(place)
        assert theirs.passes == {"forward": theirs.sampled, "backward": theirs.sampled}


def own_answers(strategy, member, task):
    """What Avalanche's own evaluation loop has its metrics see, ``[n, C]``."""
    test = member.stream.tasks[task].test.unsqueeze(0)
    inputs, targets = member.reader.read(test, torch.full_like(test, task), "test")
    label = task if member.stream.scenario == "task" else 0
    met = type("Met", (), {"inputs": inputs[0], "targets": targets[0], "tasks": torch.full_like(targets[0], label)})
    seen = []

    class Note:
        def after_eval_iteration(self, strategy):
            seen.append(strategy.mb_output.clone())

    strategy.plugins.insert(-2, Note())
    strategy.eval([Experience(dataset_of(member, met), task, classes_of(member.stream))])
    return inputs[0], torch.cat(seen)


@pytest.mark.parametrize("name", ["BiC", "CoPE", "ICaRL", "SCR", "StreamingLDA"])
def test_what_is_measured_is_what_avalanche_would_evaluate(name, monkeypatch):
    """Bias correction, prototypes, class means, a model of its own: the answers of the strategy's own evaluation."""
    made = experiment(*words_of(name, "epochs=2"))
    kept, engine, member = [], made.engine, member_of(made, 0)
    monkeypatch.setattr(engine, "_strategy", lambda m, make=engine._strategy: kept.append(make(m)) or kept[0])
    engine.train(member)
    for task in range(3):
        inputs, theirs = own_answers(kept[0], member, task)
        ours = member._predict(inputs, None)
        if theirs.shape[1] < ours.shape[1]:
            assert (ours[:, theirs.shape[1] :] == -torch.inf).all()
        torch.testing.assert_close(ours[:, : theirs.shape[1]].argmax(1), theirs.argmax(1))
        right = theirs.argmax(1) == member.reader.read(member.stream.tasks[task].test[None], torch.tensor([[task]]), "test")[1]
        assert float(member.evaluation.accuracy[0, -1, task]) == pytest.approx(float(right.float().mean()))


def test_in_the_task_scenario_units_of_other_tasks_take_no_part(monkeypatch):
    made = experiment("strategy=avalanche", "optimizer.lr=0.5", scenario="task")
    member, before = member_of(made, 0), {}
    monkeypatch.setattr(Member, "stepped", lambda self, loss: before.setdefault(len(before), self.network.head.weight.clone()))
    made.engine.train(member)
    units = member.units(0)
    moved = (before[3] != before[0]).any(1)
    assert moved[units].all()
    assert not moved[~units].any()


def test_a_stream_that_is_tested_on_before_training_is():
    words = ("environment=online", "environment.base=split", "environment.base.source=digits", "environment.base.tasks=2")
    words += (*SMALL, "batch_size=20", "environment.base.scenario=class")
    for outputs in ("all", "seen"):
        own = Experiment(composed(*words, f"outputs={outputs}")).learner([0, 1, 2], Plan(True, 1, 1, 8, why="a test"))
        fit(own)
        other = Experiment(composed(*words, f"outputs={outputs}", "strategy=avalanche"))
        theirs = member_of(other, 1)
        other.engine.train(theirs)
        assert (theirs.met_before > 0).all()
        assert torch.equal(theirs.right_before[0], own.right_before[1])
        assert torch.equal(theirs.met_before[0], own.met_before[1])


def test_before_training_images_are_tested_as_they_are_then_trained_on(monkeypatch):
    words = ("environment=online", "environment.base=split", "environment.base.source=digits", "environment.base.tasks=2")
    made = Experiment(composed(*SMALL, *words, "environment.base.augment=crop", "strategy=avalanche", "batch_size=64"))
    member, trained_on, tested = member_of(made, 0), [], []
    member.network.register_forward_pre_hook(lambda net, given: trained_on.append(given[0]) if net.training else None)
    meet, scores = member.meet, member._scores

    def watched(*given):
        monkeypatch.setattr(member, "_scores", lambda inputs, task: tested.append(inputs) or scores(inputs, task))
        meet(*given)
        monkeypatch.setattr(member, "_scores", scores)

    monkeypatch.setattr(member, "meet", watched)
    made.engine.train(member)
    assert len(tested) > 5
    assert torch.equal(torch.cat(tested), torch.cat(trained_on))
    assert int(member.met_before.sum()) == len(torch.cat(tested))


def test_images_are_augmented_in_training_alone(monkeypatch):
    words = ("environment=split", "environment.source=digits", "environment.tasks=2", "environment.augment=crop")
    made = Experiment(composed(*SMALL, *words, "strategy=avalanche", "batch_size=64"))
    member, shown = member_of(made, 0), []
    hook = member.network.register_forward_pre_hook(lambda net, given: shown.append(given[0]) if net.training else None)
    torch.manual_seed(0)
    made.engine.train(member)
    hook.remove()
    plain = {row.numpy().tobytes() for phase in range(2) for row in member.reader.shown(member.samples(phase).inputs)}
    met = torch.cat(shown)
    assert met.max() <= 1  # 0 to 255 before
    changed = sum(row.numpy().tobytes() not in plain for row in met) / len(met)
    assert 0.8 < changed < 1
    assert not member.evaluation.accuracy[0, -1].isnan().any()


def test_a_member_that_diverges_is_left_where_our_own_would_be(tmp_path):
    words = ("optimizer.lr=1e30", "evaluation.every=2")
    folders = [
        trained(Subject.of(*SMALL, *words, f"strategy={strategy}"), tmp_path / strategy, [0, 1])
        for strategy in ("naive", "avalanche")
    ]
    ours, theirs = map(load, folders)
    assert None not in theirs.diverged
    assert theirs.diverged == ours.diverged
    np.testing.assert_array_equal(np.isnan(theirs.accuracy), np.isnan(ours.accuracy))
    np.testing.assert_array_equal(np.isnan(theirs.curves["accuracy"]), np.isnan(ours.curves["accuracy"]))


def test_killed_inside_a_member_it_repeats_that_one_alone(tmp_path):
    subject = Subject.of(*SMALL, *words_of("Replay"))
    whole = load(trained(subject, tmp_path / "whole", plan={"processes": 1}))

    def killed():
        original, steps = Member.stepped, iter(range(10**9))
        first = sum(member_of(experiment(*words_of("Replay")), 0).course.lengths[0])

        def stepped(self, loss):
            if self.seed != SEEDS[0] and next(steps) == first // 2:
                kill()
            original(self, loss)

        Member.stepped = stepped
        trained(subject, tmp_path / "killed", plan={"processes": 1})

    assert forked(killed) == -9
    (kept,) = (tmp_path / "killed").rglob("member-*.ckpt")
    when = kept.stat().st_mtime_ns
    resumed = load(trained(subject, tmp_path / "killed", plan={"processes": 1}))
    assert kept.stat().st_mtime_ns == when
    np.testing.assert_array_equal(resumed.accuracy, whole.accuracy)
    assert resumed.cost["resumed_from_step"] == whole.cost["steps"]
    assert whole.cost["resumed_from_step"] is None


def test_its_results_and_its_name(tmp_path):
    results = load(trained(Subject.of(*SMALL, *words_of("EWC")), tmp_path))
    assert cell_name(results.config) == "avalanche EWC · miniature · class"
    assert results.cost["state_bytes"] is None
    assert results.cost["passes"]["forward"] > results.cost["samples"][0]  # the Fisher information's
    assert results.provenance["versions"]["avalanche-lib"].startswith("0.6")
    assert results.provenance["plan"]["stack"] is False


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["strategy.name=EWX"],
            r"strategy.avalanche.name=EWX: Avalanche has no such strategy. Did you mean EWC\? It has AGEM, .*",
        ),
        (["strategy.name=AR1"], "strategy.avalanche.name=AR1: cannot be run here: it trains a MobileNet"),
        (["strategy.name=EWC"], "strategy.avalanche.options: Avalanche's EWC needs ewc_lambda; it takes ewc_lambda, mode"),
        (
            ["strategy.name=EWC", "strategy.options={ewc_lamda: 1}"],
            r"options.ewc_lamda: .* Did you mean ewc_lambda\? It takes ewc_",
        ),
        (
            ["strategy.name=EWC", "strategy.options={ewc_lambda: 1, mode: x}"],
            "name=EWC: AssertionError in ewc.py, line .*: Mode must",
        ),
        *[
            ([f"strategy.name={name}", f"strategy.options={{{option}: {given}}}"], f"avalanche.options.{option}={told}")
            for name, option, given, told in (
                ("EWC", "ewc_lambda", -1, "-1: expected a finite number from 0 on"),
                ("EWC", "ewc_lambda", "abc", "abc: expected a finite number from 0 on"),
                ("EWC", "ewc_lambda", "inf", "inf: expected a finite number from 0 on"),
                ("EWC", "ewc_lambda", "null", "None: expected a finite number from 0 on"),
                ("Replay", "mem_size", -5, "-5: expected a whole number from 0 on"),
                ("Replay", "mem_size", 2.5, "2.5: expected a whole number from 0 on"),
                ("DER", "batch_size_mem", -5, "-5: expected a whole number from 0 on"),
                ("MER", "beta", "abc", "abc: expected a finite number from 0 on"),
                ("SynapticIntelligence", "si_lambda", "[1, -1]", r"\[1, -1\]: expected a finite number from 0 on, or a list"),
                ("BiC", "lamb", -2, "-2: expected a finite number from -1 on"),
            )
        ],
        (["strategy.options=3"], "strategy.avalanche.options=3: expected a mapping"),
        (
            ["strategy.options={model: 3}"],
            "strategy.avalanche.options.model: Avalanche's Naive has no such option. It takes none",
        ),
        (["strategy.experiences=all"], "strategy.avalanche.experiences=all: expected one of phase, batch"),
        (["strategy.name=CoPE"], "strategy.avalanche.experiences=phase: expected batch: CoPE trains on one batch of each"),
        (
            ["strategy.name=Cumulative", "strategy.experiences=batch"],
            "experiences=batch: expected phase: Cumulative is made for",
        ),
        (["strategy.name=ER_AML", "batch_size=32"], "batch_size=32: expected at most .*whole batches of each class"),
        (
            ["strategy.name=GSS_greedy", "strategy.options={mem_size: 35}"],
            r"batch_size=6: expected at most .*: GSS_greedy must",
        ),
        (["strategy.name=GenerativeReplay"], r"environment.source=miniature: expected images \[1, 28, 28\]"),
        (
            ["strategy.name=SCR", "evaluation.every=5"],
            "evaluation.every=5: expected null: .*SCR knows its class means at the end",
        ),
        (["strategy.name=GDumb", "evaluation.every=5"], "evaluation.every=5: expected null, or steps=...: .*data of its own"),
        (["strategy.name=DER", "outputs=seen"], "outputs=seen: expected all: strategy.avalanche.name=DER serves no other"),
        (["outputs=current"], "outputs=current: expected all or seen: strategy.avalanche.name=Naive serves no other"),
        (["plan.stack=true"], "plan.stack=true: strategy=avalanche trains member by member"),
        (["clip=1"], "clip=1: strategy=avalanche trains member by member, .*: expected null"),
        (["reset_optimizer=true"], "reset_optimizer=true: strategy=avalanche .*: expected false"),
        (["trainer.precision=bf16"], "trainer.precision=bf16: strategy=avalanche .*: expected 32"),
        (["checkpoint.every=5"], "checkpoint.every: strategy=avalanche .*leave it out"),
        (["trainer.max_steps=5"], "trainer.max_steps: strategy=avalanche .*leave it out"),
    ],
)
def test_what_it_cannot_do_is_refused_before_training(words, told):
    with pytest.raises(UserError, match=told):
        experiment("strategy=avalanche", *words)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("BiC", {"lamb": -1}),
        ("DER", {"batch_size_mem": None}),
        ("SCR", {"temperature": 0.1}),
        ("SynapticIntelligence", {"si_lambda": [1, 0.5]}),
    ],
)
def test_numbers_that_avalanche_knows_what_to_do_with_are_not_refused(name, options):
    assert Avalanche(name, options).options == options


def test_it_is_listed_alone():
    with pytest.raises(UserError, match=r"strategy=\[avalanche,er\]: avalanche trains by a loop of its own.*list it alone"):
        experiment("strategy=[avalanche,er]")


def test_unannounced_boundaries_are_told_to_nobody():
    with pytest.raises(UserError, match=r"experiences=phase: .* announces no boundaries; expected batch"):
        experiment("strategy=avalanche", announced=False)
    with pytest.raises(UserError, match="announces no boundaries; EWC can do no other"):
        experiment(*words_of("EWC"), announced=False)
    experiment("strategy=avalanche", "strategy.experiences=batch", announced=False)


def test_a_method_is_refused_where_it_makes_no_sense():
    with pytest.raises(UserError, match=r"environment.scenario=domain: Avalanche's ICaRL serves class"):
        experiment(*words_of("ICaRL"), scenario="domain")


def test_without_avalanche_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "avalanche", None)
    for name in [name for name in sys.modules if name.startswith("avalanche.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UserError, match=r"strategy=avalanche: Avalanche cannot be imported .*pip install avalanche-lib"):
        experiment("strategy=avalanche")


def test_every_strategy_is_run_or_refused_with_a_reason():
    from avalanche.training import supervised as module
    from avalanche.training.templates import SupervisedTemplate

    there = {name for name, kind in vars(module).items() if isinstance(kind, type) and issubclass(kind, SupervisedTemplate)}
    assert there - {"SupervisedTemplate"} <= set(supervised()) | set(REFUSED)
    assert set(WAYS) <= set(supervised())


SERVED = [
    (name, scenario) for name in supervised() for scenario in WAYS.get(name, Way()).scenarios if name != "GenerativeReplay"
]
QUICK = [("AGEM", "task"), ("DER", "class"), ("EWC", "domain")]


@pytest.mark.parametrize(
    ("name", "scenario"), [pair if pair in QUICK else pytest.param(*pair, marks=pytest.mark.slow) for pair in SERVED]
)
def test_every_strategy_trains_where_it_is_said_to(name, scenario):
    """To the same result in any company."""
    made = experiment(*words_of(name, "epochs=2"), scenario=scenario, uneven=False)
    ends = []
    for places in ([0, 1], [1, 0]):
        members = {}
        for place in places:
            members[place] = member_of(made, place)
            with own_generators(place):
                made.engine.train(members[place])
        ends.append(members)
    for place in (0, 1):
        first, second = (members[place].evaluation.accuracy for members in ends)
        assert not first[:, -1].isnan().any()
        torch.testing.assert_close(first, second, rtol=0, atol=0, equal_nan=True)
        assert ends[0][place].steps > 3
        assert ends[0][place].passes["forward"] >= ends[0][place].sampled > 0


@pytest.mark.slow
@pytest.mark.parametrize("check", ENGINE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", ["Replay", "ICaRL", "FeatureReplay", "PackNet"])
def test_strategies_with_state_keep_the_contract(name, check):
    check(Subject.of(*SMALL, *words_of(name)))


@pytest.mark.slow
def test_generative_replay_trains_on_images_of_28x28(tmp_path):
    draw = np.random.default_rng(0)
    images = {f"x_{split}": draw.integers(0, 256, (40, 1, 28, 28), np.uint8) for split in ("train", "test")}
    np.savez(tmp_path / "images.npz", **images, **{f"y_{split}": np.arange(40) % 4 for split in ("train", "test")})
    words = ("environment=split", "environment.source=arrays", f"environment.source.path={tmp_path / 'images.npz'}")
    made = Experiment(composed(*SMALL, *words, "environment.tasks=2", *words_of("GenerativeReplay")))
    member = member_of(made, 0)
    made.engine.train(member)
    assert member.passes["forward"] > 1.4 * member.sampled  # as many generated as met, from the second task on
