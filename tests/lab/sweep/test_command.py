"""`lab sweep` as its users meet it: from a question to winners on fresh seeds, stopped and gone on with; what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from lab.comparison.gathering import gather
from lab.errors import IncompleteError
from lab.results import load
from lab.run import composed
from lab.sweep import command, pruning, reporting

WORDS = ["environment=permuted", "environment.tasks=2", "network.width=12", "network.depth=1", "steps=5"]
GOOD = {
    "common": WORDS,
    "vary": {"optimizer.lr": "tag(log, interval(0.01, 1))"},
    "arms": {
        "naive": {"words": ["strategy=naive"]},
        "er": {"words": ["strategy=er"], "vary": {"strategy.memory": "choice(20, 40)"}},
    },
    "objectives": {"accuracy": "maximize"},
    "trials": 4,
    "at_once": 2,
    "sampler": "random",
    "tuning": {"seeds": 2},
    "final": {"seeds": 3},
    "minutes": 1,
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder of a user's, in which ``ask(**changes)`` writes a sweep."""
    (tmp_path / "sweeps").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lab.report.figures.write_run_figures", lambda results, folder: None)  # seconds of drawing

    # A report costs as much as such a sweep; test_reporting.py has it.
    monkeypatch.setattr(reporting, "report", lambda sweep, home, url: home / reporting.PAGE)

    def ask(**changed):
        Path("sweeps/mine.yaml").write_text(yaml.safe_dump(GOOD | changed, sort_keys=False))

    ask()
    return ask


def lab(capfd, *words):
    where = ["tracking=off", "trainer.enable_progress_bar=false", "plan.processes=1"]
    return command.main(["mine", *where, *words]), *capfd.readouterr()


def found():
    return json.loads(Path("runs/sweeps/mine/found.json").read_text())


def trained():
    return sorted(path.parent for path in Path("runs/sweeps").rglob("results.json"))


def test_a_sweep_from_its_question_to_its_winners(here, capfd):
    status, out, err = lab(capfd)
    assert status == 0, err
    assert out.splitlines()[0].startswith("protocol  chosen by accuracy on validation data (0.1 of")
    assert "mine: naive: trials 2, 3: " in err
    assert out.splitlines()[-1] == "runs/sweeps/mine/best.yaml"
    content = found()
    assert content["cost"]["trials"] == 8
    assert not content["forced"]
    for name, arm in content["arms"].items():
        assert arm["counts"] == {"complete": 4, "pruned": 0, "diverged": 0, "failed": 0}
        values = arm["tuning"]["by_seed"]["accuracy"]
        assert (arm["tuning"]["seeds"], len(values)) == ([1000, 1001], 2)
        assert arm["tuning"]["mean"]["accuracy"] == pytest.approx(sum(values) / 2)
        last = load(Path("runs") / arm["final"]["folder"])
        assert last.seeds == [0, 1, 2]
        assert last.config["optimizer"]["lr"] == arm["best"]["optimizer.lr"]
        assert (last.config["evaluation"]["split"], last.config["environment"]["validation"]) == ("test", 0.0)
        assert arm["final"]["by_seed"]["accuracy"] == last.metrics["accuracy"].tolist()
        assert arm["optimism"]["accuracy"] == arm["tuning"]["mean"]["accuracy"] - arm["final"]["mean"]["accuracy"]
        usual = load(Path("runs") / arm["default"]["folder"])
        assert usual.config == composed(*WORDS, f"strategy={name}", "tracking=off") | {
            key: usual.config[key] for key in ("seeds", "paths", "trainer", "plan", "tracking", "data")
        }
        kept = composed(f"experiment=runs/sweeps/mine/best_{name}.yaml")
        assert {key: kept[key] for key in ("optimizer", "strategy", "environment", "network", "steps")} == {
            key: last.config[key] for key in ("optimizer", "strategy", "environment", "network", "steps")
        }
    assert content["arms"]["er"]["best"].keys() == {"optimizer.lr", "strategy.er.memory"}
    assert {row["cell"] for row in content["comparison"]["cells"]} == {"naive", "er"}

    assert len(gather(["runs"]).runs) == len(
        {arm[what]["folder"] for arm in content["arms"].values() for what in ("final", "default")}
    )


def test_a_sweep_that_was_stopped_goes_on_as_if_it_had_not_been(here, capfd, monkeypatch, tmp_path):
    here(arms=None, final={"seeds": 2})
    whole, times = pruning.train, []

    def interrupted(*given):
        times.append(given)
        if len(times) in (1, 3):
            raise KeyboardInterrupt if len(times) == 1 else IncompleteError("a full machine")
        return whole(*given)

    monkeypatch.setattr(pruning, "train", interrupted)
    assert lab(capfd)[0] == 1
    assert lab(capfd)[0] == 1
    assert lab(capfd)[0] == 0
    stopped = found()["arms"]
    assert all(sum(arm["counts"].values()) == 4 for arm in stopped.values()), "none is counted twice"
    Path("runs").rename("stopped")
    assert lab(capfd)[0] == 0
    assert found()["arms"] == stopped


@pytest.mark.parametrize("forced", [False, True])
def test_winners_of_a_forced_sweep_are_tagged(here, monkeypatch, capfd, forced):
    sent = []
    monkeypatch.setattr("lab.run.track", lambda folder, settings: sent.append(settings))
    monkeypatch.setattr(reporting, "track", lambda *given: None)
    split = "test" if forced else "validation"
    common = [*WORDS, "environment.validation=0.2", f"evaluation.split={split}"]
    here(common=common, arms=None, trials=2, final={"seeds": 2}, force=forced)
    status, _, err = lab(capfd, "tracking=mlflow", "tracking.tags={paper: draft}")
    assert status == 0, err
    finals = [settings["tags"] for settings in sent if settings["enabled"]]
    assert len(finals) >= 2, "the winner's and the default's"
    assert all(tags == {"paper": "draft"} | ({"forced": "chosen on test data"} if forced else {}) for tags in finals)


def test_a_trial_that_fails_fails_alone(here, capfd, monkeypatch):
    whole, broken = pruning.train, []

    def train(experiment, *rest):
        rates = experiment.config["optimizer"]["lr"]
        rates = rates if isinstance(rates, list) else [rates]
        broken.append(rates[0]) if not broken else None
        if broken[0] in rates:
            raise RuntimeError("cannot be trained")
        return whole(experiment, *rest)

    monkeypatch.setattr(pruning, "train", train)
    here(arms=None, at_once=4, final={"seeds": 2})
    status, _, err = lab(capfd)
    assert status == 0
    assert "mine: mine: trial 0: failed: cannot be trained" in err
    assert found()["arms"]["mine"]["counts"] == {"complete": 3, "pruned": 0, "diverged": 0, "failed": 1}


def test_two_objectives_have_a_front(here, capfd):
    here(objectives={"accuracy": "maximize", "cost.state_bytes": "minimize"}, sampler="nsga2", final={"seeds": 2})
    assert lab(capfd)[0] == 0
    content = found()
    assert {point["arm"] for point in content["front"]} <= {"naive", "er"}
    assert min(point["values"]["cost.state_bytes"] for point in content["front"]) == 0, "plain training keeps nothing"
    assert content["arms"]["er"]["final"]["mean"]["cost.state_bytes"] > 0


def test_one_arm_is_held_against_its_default(here, capfd):
    here(arms=None, final={"seeds": 2}, sampler="grid", trials=None, vary={"optimizer.lr": "choice(0.02, 0.5)"})
    assert lab(capfd)[0] == 0
    content = found()
    assert list(content["arms"]) == ["mine"]
    assert {row["cell"] for row in content["comparison"]["cells"]} == {"tuned", "default"}
    assert content["arms"]["mine"]["counts"]["complete"] == 2


@pytest.mark.parametrize(
    ("changed", "words", "message"),
    [
        ({"vary": {"optimizer.lrr": "interval(0, 1)"}}, [], r"naive has no such key. Did you mean optimizer.lr\?"),
        ({"vary": {"optimizer.lr": "interval(1, 0)"}}, [], "expected an interval that is not empty"),
        ({"vary": {"optimizer.lr": "interval(-0.5, 1)"}}, [], "vary.optimizer.lr: -0.5 is among its values, and a run"),
        ({"vary": {"batch_size": "choice(10, 0)"}}, [], "vary.batch_size: 0 is among its values, and a run refuses it"),
        ({"vary": {"network": "choice(mlp, cnnn)"}}, [], "network=cnnn: there is none. Did you mean cnn"),
        ({"objectives": "acuracy"}, [], "objectives.acuracy: no run reports it. Did you mean accuracy"),
        ({"objectives": "aulc"}, [], "objectives.aulc: no run reports it: no curves are recorded; set evaluation.every"),
        ({"objectives": "loss"}, [], "objectives.loss: no run reports it: set evaluation.loss=true"),
        ({"objectives": "span_f1"}, [], "objectives.span_f1: no run reports it"),
        ({"common": [*WORDS, "environment.tasks=1"], "objectives": "forgetting"}, [], "no run reports it: there is only one"),
        ({"pruner": "median", "objectives": {"accuracy": "maximize", "forgetting": "minimize"}}, [], "serves one objective"),
        ({"common": [*WORDS, "evaluation.split=test"]}, [], "accuracy would be read from test data"),
        ({"sampler": {"name": "tpe", "n_startup": 2}}, [], "sampler.n_startup: tpe has no such option"),
        ({"sampler": {"name": "tpe", "n_startup_trials": "six"}}, [], "'n_startup_trials': 'six'"),
        ({"pruner": {"name": "hyperband", "reduction_factor": 1}}, [], "'reduction_factor': 1"),
        ({"sampler": "cmaes", "vary": {"optimizer.lr": "choice(0.1, 0.2)"}}, [], "sampler=cmaes: draws choices at random"),
        ({"vary": {"strategy": "interval(0, 1)"}, "arms": None}, [], "vary.strategy=.*expected choice.* names of its files"),
        (
            {"arms": {name: {"words": [f"network.width={width}"]} for name, width in (("a", 12), ("b", 13), ("c", 12))}},
            [],
            "arms.b: network.width is 13, and 12 in a, so that their winners could not be compared",
        ),
        ({"sampler": "grid"}, [], "vary.optimizer.lr: is an interval, of which there is no grid"),
        ({"common": [*WORDS, "batch_size=0"]}, [], "batch_size=0"),
        ({}, ["optimizer.lr=3"], "optimizer.lr=3: would change the declared sweep"),
        ({}, ["trainer={precision: 64}"], "would change the declared sweep"),
        ({}, ["trainer.precision=64"], "trainer.precision=64: would change the declared sweep"),
    ],
)  # fmt: skip
def test_what_is_refused_before_anything_is_trained(here, capfd, changed, words, message):
    here(**changed)
    status, out, err = lab(capfd, *words)
    assert (status, out) == (2, "")
    assert re.search(message, err), err
    assert not trained()
    assert not Path("runs/sweeps/mine/populations").exists()


def test_another_question_under_the_same_name_is_refused(here, capfd):
    here(arms=None, final={"seeds": 2}, trials=2)
    assert lab(capfd)[0] == 0
    here(arms=None, final={"seeds": 2}, trials=2, vary={"optimizer.lr": "tag(log, interval(0.01, 2))"})
    status, _, err = lab(capfd)
    assert status == 2
    assert "mine was begun with another question: vary.optimizer.lr was" in err
    here(arms=None, final={"seeds": 2}, trials=3)
    assert lab(capfd)[0] == 0, "more of the same is no other question"
    assert found()["arms"]["mine"]["counts"]["complete"] == 3


def test_a_misspelt_sweep_and_the_list(here, capfd):
    assert command.main(["mien"]) == 2
    assert "lab sweep mien: there is none. Did you mean mine?" in capfd.readouterr().err
    assert command.main([]) == 0
    out = capfd.readouterr().out
    assert next(line for line in out.splitlines() if line.startswith("mine ")).split()[1:3] == ["not", "run"]


def test_the_list_of_a_sweep_that_has_got_another_arm_or_objective_since(here, capfd):
    """What was found is of the file as it was."""
    final = {"mean": {"accuracy": 0.5}}
    Path("runs/sweeps/mine").mkdir(parents=True)
    found = {"forced": True, "arms": {"naive": {"final": final}, "er": {"final": final}}}
    Path("runs/sweeps/mine/found.json").write_text(json.dumps(found))
    for changed, told in (
        ({}, "done    accuracy of naive 0.5, er 0.5 (chosen on test data)"),
        ({"objectives": "forgetting"}, "done    forgetting of naive undefined, er undefined"),
        ({"arms": GOOD["arms"] | {"si": {"words": ["strategy=si"]}}}, "not run accuracy of naive, er, si"),
    ):
        here(**changed)
        assert command.main([]) == 0
        assert re.search(f"^mine +{re.escape(told)}", capfd.readouterr().out, re.MULTILINE)


def test_fresh_seeds_that_diverge_are_said():
    run = {"mean": {"accuracy": None}, "interval": {"accuracy": [None, None]}, "diverged": {"0": 3, "1": 4}}
    arm = {"best": {"clip": 1}, "trial": 0, "counts": {"complete": 2}, "tuning": {"mean": {"accuracy": 0.5}}, "final": run}
    arm |= {"default": run | {"diverged": {}}, "optimism": {"accuracy": None}}
    content = {"protocol": "", "forced": False, "objectives": {"accuracy": "maximize"}, "arms": {"er": arm}}
    told = command.summary(content | {"cost": {"minutes": 1.0, "declared": 2.0}}).splitlines()
    assert told[2] == "  accuracy: tuning 0.5, final undefined, optimism undefined, default undefined"
    assert told[3] == "  winner: 2 fresh seeds diverged, and are in no mean"
