"""Pruned trials: cut at a task's end or left out of the next seeds; those that are left get what they get without a pruner."""

import os
import random
import signal
import time

import optuna
import pytest
import torch
from optuna.trial import TrialState

from lab.errors import UserError
from lab.results import load
from lab.sweep import command
from lab.sweep.asking import ask
from lab.sweep.loop import Work
from lab.sweep.population import Population, train
from lab.sweep.pruning import first_seeds, train_some
from lab.sweep.space import suggested
from lab.sweep.storage import open_storage
from tests.lab.sweep.test_question import read

WHERE = ["tracking=off", "plan.stack=true", "plan.processes=1", "trainer.enable_progress_bar=false"]
SMALL = {
    "common": ["environment=permuted", "environment.tasks=3", "network.width=12", "network.depth=1", "steps=30"],
    "vary": {"optimizer.lr": "tag(log, interval(0.0001, 1))"},
    "arms": {"er": {"words": ["strategy=er", "strategy.memory=30"]}},
}  # fmt: skip


class Slow(optuna.pruners.BasePruner):
    """Prunes trials with a learning rate below one, after the first task."""

    def __init__(self, below):
        self.below = below

    def prune(self, study, trial):
        return trial.last_step == 1 and trial.params["optimizer.lr"] < self.below


def tuning(folder, where=WHERE, **changed):
    sweep = read(folder, **(SMALL | changed))
    (one,) = ask(sweep, where, folder / "home", None).tunings
    return one


def begun(one, rates):
    """Trials with these learning rates."""
    works = []
    for rate in rates:
        one.study.enqueue_trial({"optimizer.lr": rate})
        trial = one.study.ask()
        works.append(Work(trial, suggested(trial, one.arm.space)))
    return works


def trained(one, works):
    trials, values = [work.trial for work in works], [work.values for work in works]
    experiment = Population(one.arm, values, first_seeds(one.sweep)).experiment(one.home)
    return train_some(one.sweep, one.arm, trials, values, experiment, "a test", one.home)


def unpruned(one, works):
    experiment = Population(one.arm, [work.values for work in works], one.sweep.seeds).experiment(one.home / "unpruned")
    return train(experiment, one.sweep.objectives, len(works), "a test")


RATES = [0.001, 0.1, 0.002, 0.2]


def test_across_tasks_some_are_cut_and_the_others_get_what_they_get_without_a_pruner(tmp_path):
    """To the bit; and what they have after the first task is what a run of everyone has there."""
    one = tuning(tmp_path, pruner="median", tuning={"seeds": 2})
    works = begun(one, RATES)
    whole = unpruned(one, works)
    after_first = load(whole.folder).accuracy[:, 1, 0].reshape(4, 2).mean(1)
    one.study.pruner = Slow(0.01)
    outcomes = trained(one, works).outcomes
    reported = [trial.intermediate_values for trial in one.study.trials]
    assert [sorted(steps) for steps in reported] == [[1], [1, 2, 3], [1], [1, 2, 3]]
    assert [steps[1] for steps in reported] == after_first.tolist()
    for number in (1, 3):
        assert outcomes[number] == whole.outcomes[number]
        assert reported[number][3] == whole.outcomes[number].means[0]
    for number in (0, 2):
        assert outcomes[number].means[0] == reported[number][1]
        assert outcomes[number].why == f"pruned after 1 of 3 tasks (median): accuracy {reported[number][1]:.4g}"


def test_what_was_decided_is_not_decided_again(tmp_path):
    """Where a command was killed between a decision and the end: another pruner would let them all go on."""
    one = tuning(tmp_path, pruner="median", tuning={"seeds": 2})
    works = begun(one, RATES)
    one.study.pruner = Slow(0.01)
    outcomes = trained(one, works).outcomes
    one.study.pruner = optuna.pruners.NopPruner()
    again = [Work(optuna.Trial(one.study, work.trial._trial_id), work.values) for work in works]
    assert trained(one, again).outcomes == outcomes


def test_where_nobody_is_left_all_have_their_reasons(tmp_path):
    one = tuning(tmp_path, pruner="median", tuning={"seeds": 2})
    one.study.pruner = Slow(1.1)
    assert all(outcome.why.startswith("pruned after 1 of 3") for outcome in trained(one, begun(one, RATES)).outcomes)


def test_a_trial_that_diverges_is_cut_at_once_and_said_to_have(tmp_path):
    one = tuning(tmp_path, pruner="median", vary={"optimizer.lr": "interval(0.01, 1e30)"}, tuning={"seeds": 2})
    sound, lost = trained(one, begun(one, [0.1, 1e25])).outcomes
    assert sound.why == ""
    assert lost.why.startswith("2 of 2 seeds diverged")


@pytest.mark.parametrize(
    ("pruner", "fewest"),
    [
        ({"name": "median", "n_startup_trials": 1}, 4),
        ({"name": "percentile", "percentile": 25.0, "n_startup_trials": 1}, 4),
        ({"name": "halving", "reduction_factor": 2}, 4),
        ({"name": "hyperband", "reduction_factor": 2}, 1),  # some of its brackets spare all
    ],
    ids=lambda given: given["name"] if isinstance(given, dict) else "",
)
def test_optunas_pruners_decide(tmp_path, pruner, fewest):
    """Two trials and then four that learn nothing."""
    one = tuning(tmp_path, pruner=pruner, tuning={"seeds": 1})
    works = begun(one, [0.1, 0.2])
    for work, outcome in zip(works, trained(one, works).outcomes, strict=True):
        one.study.tell(work.trial, None if outcome.why else outcome.means, TrialState.PRUNED if outcome.why else None)
    pruned = [outcome for outcome in trained(one, begun(one, [0.00010, 0.00011, 0.00012, 0.00013])).outcomes if outcome.why]
    assert len(pruned) >= fewest
    assert all(f"({pruner['name']})" in outcome.why for outcome in pruned)


def test_across_seeds_only_the_survivors_next_seeds_are_trained(tmp_path):
    """Six seeds, two at a time: after four pairs of which each is worse, p = 1/16 says so. The others have the same values as
    without a pruner."""
    one = tuning(tmp_path, pruner="wilcoxon", seed_batch=2, tuning={"seeds": 6})
    (best,) = begun(one, [0.2])
    (outcome,) = trained(one, [best]).outcomes
    assert outcome.by_seed["accuracy"] == unpruned(one, [best]).outcomes[0].by_seed["accuracy"]
    one.study.tell(best.trial, outcome.means)
    works = begun(one, [0.001, 0.2])
    worse, equal = trained(one, works).outcomes
    assert equal.by_seed == outcome.by_seed
    assert worse.why.startswith("pruned after 4 of 6 seeds (wilcoxon): accuracy 0.")
    assert [value is None for value in worse.by_seed["accuracy"]] == [False] * 4 + [True] * 2
    assert sorted(one.study.trials[1].intermediate_values) == [0, 1, 2, 3]
    assert list(one.study.trials[2].intermediate_values.values()) == equal.by_seed["accuracy"]


def test_a_whole_sweep_with_a_pruner(tmp_path):
    one = tuning(tmp_path, pruner={"name": "median", "n_startup_trials": 2}, tuning={"seeds": 2}, trials=12, at_once=4)
    for train_round in one.jobs().values():
        train_round()
    states = [trial.state.name for trial in one.study.trials]
    assert len(states) == 12
    assert set(states) == {"COMPLETE", "PRUNED"}
    assert all(
        trial.user_attrs["why"].startswith("pruned after ") for trial in one.study.trials if trial.state.name == "PRUNED"
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pruner": "median", "objectives": {"accuracy": "maximize", "cost.passes": "minimize"}}, "serves one objective"),
        ({"pruner": "median", "objectives": {"cost.passes": "minimize"}}, "cost.passes says nothing of it"),
        ({"pruner": "median", "common": [*SMALL["common"], "evaluation.tasks=log_lags"]}, "expected evaluation.tasks=all"),
        ({"pruner": "median", "arms": {"a": {"words": ["strategy=joint"]}}}, "joint trains on all tasks at once"),
        (
            {"pruner": "wilcoxon", "seed_batch": 4, "tuning": {"seeds": 6}, "objectives": "cost.passes"},
            "cost.passes says nothing of it",
        ),
        ({"pruner": "median", "tuning": {"first_tasks": 1}}, "tuning streams have one task; expected null"),
        ({"pruner": {"name": "median", "startup": 3}}, "pruner.startup: median has no such option. .*n_startup_trials"),
        ({"pruner": "wilcoxon", "tuning": {"seeds": 6}}, r"seed_batch=None: expected seed_batch to be a number below 6"),
        ({"pruner": "wilcoxon", "seed_batch": 6, "tuning": {"seeds": 6}}, "seed_batch=6: expected seed_batch to be a number"),
        ({"pruner": "wilcoxon", "seed_batch": 3, "tuning": {"seeds": 6}}, "never prune at p_threshold=0.1: .* p is 0.125"),
        ({"pruner": "median", "seed_batch": 2}, "is for pruner: wilcoxon"),
        ({"seed_batch": 2}, "is for pruner: wilcoxon"),
    ],
)  # fmt: skip
def test_what_cannot_be_pruned_is_refused_before_anything_is_trained(tmp_path, changed, message):
    with pytest.raises(UserError, match=message):
        tuning(tmp_path, **changed)
    assert not (tmp_path / "home").exists()


def test_a_study_that_was_pruned_otherwise_is_not_gone_on_with(tmp_path):
    """What trials reported to the one pruner, task by task, the other would read as seed by seed."""
    tuning(tmp_path, pruner="median", tuning={"seeds": 6})
    tuning(tmp_path, pruner="hyperband", sampler="random", tuning={"seeds": 6})
    with pytest.raises(UserError, match="begun with another question: pruned was across tasks and is across seeds; "):
        tuning(tmp_path, pruner="wilcoxon", seed_batch=4, tuning={"seeds": 6})


def test_another_librarys_loop_cannot_be_pruned(tmp_path):
    pytest.importorskip("avalanche")
    with pytest.raises(UserError, match="avalanche trains one member after the other"):
        tuning(tmp_path, where=["tracking=off"], pruner="median", arms={"a": {"words": ["strategy=avalanche"]}})


def told(folder):
    """What a sweep's trials came to, in order."""
    storage = open_storage(folder / "runs/sweeps/mine", None)
    trials = optuna.load_study(study_name="mine.er", storage=storage).trials
    notes = ("by_seed", "why")
    return [(t.state, t.values, t.intermediate_values, *(t.user_attrs.get(note) for note in notes)) for t in trials]


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["median", "wilcoxon"])
def test_killed_again_and_again_a_sweep_prunes_as_if_it_had_not_been(tmp_path, monkeypatch, pruner):
    """`lab sweep` as a process, six times killed."""
    options = {"seed_batch": 4, "tuning": {"seeds": 6}} if pruner == "wilcoxon" else {"tuning": {"seeds": 2}}
    options |= {"pruner": {"name": "median", "n_startup_trials": 3} if pruner == "median" else "wilcoxon"}
    changed = SMALL | {"trials": 16, "at_once": 4, "sampler": "random", "final": {"seeds": 2}} | options
    for name in ("whole", "killed"):
        (tmp_path / name / "sweeps").mkdir(parents=True)
        read(tmp_path / name / "sweeps", **changed)
    kills, draw = 0, random.Random(0)
    for name in ("whole", "killed"):
        monkeypatch.chdir(tmp_path / name)
        while True:
            child = os.fork()
            if not child:
                torch.set_num_threads(1)
                os._exit(command.main(["mine", *WHERE]))
            if name == "killed" and kills < 6:
                time.sleep(draw.uniform(1, 6))
                os.kill(child, signal.SIGKILL)
                kills += 1
                assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "the sweep was over before all were killed"
                continue
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            break
    whole, killed = (told(tmp_path / name) for name in ("whole", "killed"))
    assert killed == whole
    assert {state.name for state, *_ in whole} == {"COMPLETE", "PRUNED"}
