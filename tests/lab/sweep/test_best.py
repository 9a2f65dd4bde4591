"""What is found: winners, fronts, and files for `experiment=`."""

from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from lab.errors import UserError
from lab.run import composed
from lab.sweep.arms import Arm
from lab.sweep.best import _header
from lab.sweep.experiment_file import experiment_file
from lab.sweep.found import Arm as Told
from lab.sweep.found import front
from lab.sweep.space import word
from lab.sweep.studies import best_of

TWO = {"accuracy": "maximize", "cost.passes": "minimize"}


def trials(*values):
    made = [create_trial(values=list(own), state=TrialState.COMPLETE) for own in values]
    for number, trial in enumerate(made):
        trial.number = number
    return made


def test_the_winner_is_the_best_in_the_first_objective_then_the_next_then_the_earlier():
    assert best_of(list(TWO.values()), trials((0.5, 1), (0.9, 7), (0.9, 3), (0.9, 3), (0.8, 1))).number == 2
    assert best_of(["minimize"], trials((0.5,), (0.1,), (0.3,))).number == 1


def test_the_front_of_all_arms():
    """By hand: (.9, 7) and (.8, 2) and (.5, 1) are best; (.8, 3) and (.5, 2) are not, and of equal ones both are."""
    arms = []
    for arm, values in {"a": [(0.9, 7), (0.8, 3), (0.5, 2)], "b": [(0.8, 2), (0.5, 1), (0.5, 1)]}.items():
        study = optuna.create_study(directions=["maximize", "minimize"])
        study.add_trials(trials(*values))
        arms.append(Told(arm, TWO, study))
    assert [(arm.name, trial.number) for arm, trial in front(TWO, arms)] == [("a", 0), ("b", 0), ("b", 1), ("b", 2)]


def test_trials_by_what_became_of_them():
    study = optuna.create_study()
    lost = {"2 of 3 seeds diverged (step 4)": TrialState.PRUNED, "pruned": TrialState.PRUNED, "failed: x": TrialState.FAIL}
    for why, state in lost.items():
        study.add_trial(create_trial(state=state, user_attrs={"why": why}))
    study.add_trials([create_trial(values=[1.0]) for _ in range(3)])
    assert Told("er", {"forgetting": "minimize"}, study).counts == {"complete": 3, "pruned": 1, "diverged": 1, "failed": 1}


def test_the_head_of_a_winners_file_says_on_how_many_seeds_its_figure_rests():
    final = {"mean": {"accuracy": 0.5}, "interval": {"accuracy": [None, None]}, "seeds": [0, 1]}
    final |= {"by_seed": {"accuracy": [0.5, None]}}
    content = {"name": "mine", "forced": False, "objectives": TWO, "protocol": "", "arms": {"er": {"final": final}}}
    er = SimpleNamespace(arm=SimpleNamespace(name="er"))
    assert _header(content, er)[0] == "er, tuned by the sweep mine: accuracy 0.5 on 1 of 2 fresh seeds"
    final |= {"mean": {"accuracy": None}, "by_seed": {"accuracy": [None, None]}}
    assert _header(content, er)[0] == "er, tuned by the sweep mine: accuracy undefined on 0 of 2 fresh seeds"


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["experiment=digits_permuted", "strategy=er"], {"optimizer.lr": 1e-5, "strategy.er.memory": 200}),
        (["strategy=[er,ewc]", "environment=split", "optimizer=adam"], {"optimizer.lr": 2.5e-17, "strategy.ewc.gamma": 1e22}),
        (["experiment=permuted_mnist", "environment.source=digits"], {"strategy": "[er,si]", "network": "cnn"}),
        (["environment=power_law", "environment.base=split", "environment.base.source=mnist"], {"clip": 0.1 + 0.2}),
        (["+trainer.more=1", "clip=null", "environment=split", "environment.class_order=[1,2,3]"], {"batch_size": 7}),
        (["experiment=gdumb_split_mnist", "strategy=er", "co_schedule=cma", "averaging=ema"], {"optimizer": "adam"}),
        (["clip=1", "clip=2.0"], {"reset_optimizer": True}),
    ],
)  # fmt: skip
def test_an_experiment_file_composes_to_what_its_words_do(tmp_path, words, values):
    path = tmp_path / "my best.yaml"
    path.write_text(experiment_file(Arm("er", words, {}, [], []), values, ["found by a test"]))
    assert path.read_text().startswith("# @package _global_\n# found by a test\n")
    expected = composed(*words, *(word(key, value) for key, value in values.items()))
    read_back = composed(f"experiment={path}")
    assert read_back == expected
    assert list(read_back["strategy"]) == list(expected["strategy"]), (
        "strategies take part in the order in which they are listed"
    )
    assert composed(f"experiment={path}", "seeds=3")["seeds"] == 3


def test_an_experiment_file_that_is_not_there():
    with pytest.raises(UserError, match=r"experiment=nowhere\.yaml: there is no such file"):
        composed("experiment=nowhere.yaml")
