"""A sweep's file: what it says, and what is refused before anything is trained."""

import pytest
import yaml

from lab.errors import UserError
from lab.sweep import question

GOOD = {
    "common": ["experiment=digits_permuted"],
    "vary": {"optimizer.lr": "tag(log, interval(0.01, 1))"},
    "arms": {
        "naive": {"words": ["strategy=naive"]},
        "er": {"words": ["strategy=er"], "vary": {"strategy.memory": "choice(50, 100)"}},
    },
    "objectives": {"accuracy": "maximize"},
    "trials": 4,
    "minutes": 1,
}  # fmt: skip


def read(folder, **changed):
    """GOOD with changes; a value of None takes a key out."""
    given = {key: value for key, value in (GOOD | changed).items() if value is not None}
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(given, sort_keys=False))
    return question.read(path)


def test_what_is_left_out_has_a_default(tmp_path):
    sweep = read(tmp_path)
    assert (sweep.name, sweep.at_once, sweep.sampler, sweep.pruner) == ("mine", 8, {"name": "tpe"}, None)
    assert sweep.seeds == [1000, 1001, 1002]
    assert sweep.final_seeds == list(range(10))
    assert (sweep.first_tasks, sweep.validation, sweep.force) == (None, 0.1, False)
    assert {name: sorted(arm.vary) for name, arm in sweep.arms.items()} == {
        "naive": ["optimizer.lr"],
        "er": ["optimizer.lr", "strategy.memory"],
    }
    assert sweep.arms["er"].words == ["experiment=digits_permuted", "strategy=er"]


def test_without_arms_there_is_one_of_the_sweeps_name(tmp_path):
    assert list(read(tmp_path, arms=None).arms) == ["mine"]


def test_an_objective_alone_knows_which_way_is_better(tmp_path):
    assert read(tmp_path, objectives="forgetting").objectives == {"forgetting": "minimize"}
    assert read(tmp_path, objectives="accuracy").objectives == {"accuracy": "maximize"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"trails": 3}, "trails: there is no such key. Did you mean trials?"),
        ({"minutes": None}, "minutes: missing"),
        ({"objectives": None}, "objectives: missing"),
        ({"objectives": {}}, "objectives={}: expected maximize or minimize by measure"),
        ({"objectives": {"acuracy": "maximize"}}, "objectives.acuracy: no run reports it. Did you mean accuracy?"),
        ({"objectives": {"cost.memory": "minimize"}}, "objectives.cost.memory: no run reports it"),
        ({"objectives": {"accuracy": "max"}}, "objectives.accuracy=max: expected one of maximize, minimize"),
        ({"trials": 0}, "trials=0: expected a whole number from 1"),
        ({"trials": None}, "trials: missing; a sweep says how many for each arm"),
        ({"at_once": 0}, "at_once=0"),
        ({"minutes": 0}, "minutes=0: expected what it costs"),
        ({"sampler": "tpa"}, "sampler=tpa: expected one of tpe, gp, cmaes"),
        ({"sampler": {"seed": 1}}, "sampler={'seed': 1}: expected one of"),
        ({"pruner": "medain"}, "pruner=medain: expected one of median"),
        (
            {"pruner": "median", "objectives": {"accuracy": "maximize", "cost.passes": "minimize"}},
            "pruner=median: serves one objective, and these are accuracy, cost.passes",
        ),
        (
            {"sampler": "cmaes", "objectives": {"accuracy": "maximize", "cost.passes": "minimize"}},
            "sampler=cmaes: serves one objective",
        ),
        ({"tuning": {"seeds": 0}}, "tuning.seeds=0: expected a whole number from 1 on"),
        ({"tuning": {"seeds": [3, 4]}}, r"final.seeds=10: expected seeds that tuning does not have, and not \[3, 4\]"),
        ({"tuning": {"sedes": 3}}, "tuning.sedes: there is no such key. Did you mean seeds"),
        ({"tuning": {"validation": 1.0}}, "tuning.validation=1.0: expected a number in"),
        ({"tuning": {"first_tasks": 0}}, "tuning.first_tasks=0"),
        ({"final": {"seeds": [1, 1]}}, "final.seeds="),
        ({"force": "yes"}, "force=yes: expected true or false"),
        ({"arms": {}}, "arms={}: expected words and what varies, by name"),
        ({"arms": {"er/200": {}}}, "arms=er/200: expected a name that a file may have"),
        ({"arms": {"1": {}, 1: {}}}, "arms=1: expected a name that a file may have, and each once"),
        ({"vary": {"optimizer.lr": "interval(0, inf)"}}, "expected an interval with an end on both sides"),
        ({"arms": {"er": {"word": []}}}, "arms.er.word: there is no such key. Did you mean words"),
        ({"arms": {"er": {"words": ["seeds=3"]}}}, "arms.er=seeds=3: expected a setting; seeds and paths are the sweep's"),
        ({"common": ["~clip"]}, "expected a setting: best.yaml could not say that one is left out"),
        ({"vary": {"environment.tasks": "choice(2, 5)"}}, "environment.tasks: expected a setting of the method"),
        ({"vary": {"seed_for.stream": "choice(2, 5)"}}, "seed_for.stream: expected a setting of the method"),
        ({"vary": {}, "arms": {"er": {}}}, "something that varies, there or in `vary`"),
        ({"vary": {"optimizer.lr": "interval(1, 0)"}}, "optimizer.lr=interval.1, 0.: expected an interval that is not empty"),
        ({"vary": {"optimizer.lr": 0.1}}, "vary.optimizer.lr=0.1: expected choice"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path, changed, message):
    with pytest.raises(UserError, match=rf"mine\.yaml: .*{message}"):
        read(tmp_path, **changed)


@pytest.mark.parametrize("name", question.names())
def test_every_sweep_of_the_lab_reads_and_says_its_command(name):
    sweep = question.find(name)
    assert f"# lab sweep {name}" in sweep.path.read_text()
