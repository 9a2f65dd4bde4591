"""The command line as its users and their scripts meet it: statuses, sentences, nothing half-written."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import resource
import signal
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from lab import cli
from lab.config import refuse_duplicates
from lab.errors import UserError
from lab.run import main, overrides

from .lab.forked import SMALL, forked


@pytest.fixture
def run(tmp_path, capfd, monkeypatch):
    """``run(*words)`` is `lab run` with a small cell: (status, lines of standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAB_DATA", raising=False)
    monkeypatch.setattr(sys, "argv", ["lab"])

    def call(*words: str, small: bool = True) -> tuple[int, list[str], str]:
        GlobalHydra.instance().clear()
        status = main([*(SMALL if small else ["tracking=off"]), "steps=3", "seeds=2", *words])
        out, err = capfd.readouterr()
        return status, out.splitlines(), err

    return call


def test_a_run_says_where_its_results_are(run):
    status, out, err = run("strategy=er", "evaluation.every=2")
    assert status == 0
    results = json.loads((Path(out[-1]) / "results.json").read_text())
    assert {"config", "seeds", "accuracy", "curves", "metrics", "cost"} <= results.keys()
    members, tasks = 2, 3
    accuracy = results["accuracy"]
    assert (len(accuracy), len(accuracy[0]), len(accuracy[0][0])) == (members, tasks + 1, tasks)
    points = len(results["curves"]["steps"])
    assert (len(results["curves"]["accuracy"]), len(results["curves"]["accuracy"][0])) == (members, points)
    assert len(results["metrics"]["accuracy"]) == members
    # Twice the batch of 32: three steps a task, three tasks, both directions.
    assert results["cost"]["passes"] == {"forward": 3 * 3 * 64, "backward": 3 * 3 * 64}
    assert "er" in err
    assert "[" in err


def test_a_finished_run_is_not_run_again(run):
    _, first, _ = run()
    stamp = (Path(first[-1]) / "results.json").stat().st_mtime_ns
    status, second, _ = run()
    assert (status, second[-1]) == (0, first[-1])
    assert (Path(first[-1]) / "results.json").stat().st_mtime_ns == stamp


def test_multirun_prints_a_folder_for_each_job_and_goes_on_after_a_failure(run):
    status, out, err = run("-m", "strategy=naive,er", "batch_size=-1,8")
    assert status == 2
    assert len(out) == 2
    assert all((Path(line) / "results.json").exists() for line in out)
    assert err.count("batch_size=-1") == 2
    assert not list(Path().rglob("multirun.yaml"))


REENCOUNTERS = ["environment.base=permuted", "environment.base.tasks=2", "network.width=8", "batch_size=8"]


def test_a_sweep_over_environments_may_set_what_these_alone_have(run):
    """Hydra composes once without what is swept over, where the default environment has no base and no law."""
    status, out, _ = run("-m", "environment=power_law,once", *REENCOUNTERS, "strategy=naive,er", small=False)
    assert (status, len(out)) == (0, 4)
    laws = [json.loads((Path(line) / "results.json").read_text())["config"]["environment"]["law"] for line in out]
    assert laws == ["power", "power", "once", "once"]


def test_an_environment_that_is_none_leaves_the_others_to_run(run):
    status, out, err = run("-m", "environment=power_lw,once", *REENCOUNTERS, small=False)
    assert (status, len(out)) == (2, 1)
    assert "Did you mean power_law?" in err


def test_a_mistake_in_a_sweep_leaves_nothing(run, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    status, _, err = run("-m", "strategy=naive,err")
    assert (status, "Did you mean er?" in err) == (2, True)
    assert list(Path().rglob("*")) == [Path("tmp")]


def test_a_sweep_folder_that_the_user_names_is_used(run):
    status, out, _ = run("-m", "strategy=naive", "hydra.sweep.dir=mine")
    assert (status, len(out)) == (0, 1)
    assert Path("mine/multirun.yaml").exists()


@pytest.mark.parametrize(
    ("word", "refused"),
    [
        ("strategy=[er,naive],[cumulative,er]", False),
        ("strategy=er,[er,naive],er", False),
        ("strategy=naive,[er,er]", True),
        ("strategy=[er,naive],[naive, 'naive']", True),
        ("strategy=choice([er,er],naive)", True),
        ("strategy=[er,er]", True),
        ("strategy=['er',er]", True),
        ("strategy=[er,naive]", False),
        ("strategy=[]", False),
    ],
)
def test_a_strategy_given_twice_is_sought_in_each_element_of_a_sweep(word, refused):
    with pytest.raises(UserError, match="names a strategy twice") if refused else nullcontext():
        refuse_duplicates(["seeds=2", word])


def test_seeds_can_be_named_and_swept_over(run):
    _, out, _ = run("seeds=[3,7]")
    assert json.loads((Path(out[-1]) / "results.json").read_text())["seeds"] == [3, 7]


def test_hydras_own_habits(run, capfd):
    status, out, _ = run("--cfg", "job", "strategy=er")
    assert status == 0
    assert "memory: 500" in "\n".join(out)
    with pytest.raises(SystemExit) as stopped:
        run("--help")
    assert stopped.value.code in (0, None)
    assert "environment" in capfd.readouterr().out


WRONG = {
    "strategy=err": "Did you mean er?",
    "environment=splt": "Did you mean split?",
    "environment.tsks=3": "Did you mean environment.tasks?",
    "strategy.er.memory=4": "er is not among the strategies; choose it, strategy=er",
    "sedes=3": "Did you mean seeds?",
    "network.foo=1": "network.foo: there is no such key. ",
    "network.widht=1": "Did you mean network.width?",
    "data.download=maybe": "data.download=maybe: expected true or false",
    "strategy=[er,er]": "names a strategy twice",
    "strategy=[]": "expected at least one",
    "trainer.precision=16-mixed": "bf16",
    "trainer.precision=8": "expected one of",
    "trainer.accelerator=tpu": "expected one of",
    "+trainer.limit_train_batches=4": "trainer.max_steps",
    "+trainer.gradient_clip_val=1": "clip",
    "+trainer.log_every_n_steps=5": "evaluation.every",
    "+trainer.num_sanity_val_steps=2": "nothing instead",
    "+trainer.detect_anomlay=true": "Did you mean detect_anomaly?",
    "+trainer.profiler=nonsense": "Lightning refuses",
    "+trainer.callbacks.mine._target_=os.getcwd": "LAB_PACKAGES",
    "+network._target_=torch.hub.os.path.join": "_target_",
    "batch_size=-1": "whole number from 1 on",
    "batch_size=2.5": "whole number from 1 on",
    "epochs=0": "whole number from 1 on",
    "optimizer.lr=-1": "number from 0 on",
    "optimizer.lr=[0.1,0.2,0.3]": "a list of 2",
    "optimizer.momentum=fast": "number from 0 on",
    "clip=-1": "above 0",
    "clip=true": "clip=True: expected a finite number above 0, or null",
    "outputs=none": "all, seen, current",
    "evaluation.every=0": "whole number from 1 on",
    "evaluation.split=validation": "environment.validation",
    "network.width=0": "whole number from 1 on",
    "network.dropout=1.5": "[0, 1)",
    "network=tagger": "network",
    "environment.tasks=-2": "whole number from 1 on",
    "environment.scenario=clas": "one of domain",
    "environment.validation=1": "[0, 1)",
    "environment.source=mnist": "data.dir",
    "seeds=0": "whole number from 1 on",
    "seeds=[1,1]": "different whole numbers",
    "seeds=many": "whole number from 1 on",
    "seeds=[1": "input",
    "plan.processes=0": "auto or a whole number",
    "plan.stack=maybe": "auto, true or false",
    "paths.runs=/proc/nowhere": "/proc/nowhere",
    "experiment=nothing": "experiment",
}


@pytest.mark.parametrize("word", WRONG)
def test_a_mistake_gets_one_sentence_and_leaves_nothing(run, word):
    status, out, err = run(word, small=False)
    assert status == 2, err
    assert not out
    assert "Traceback" not in err
    assert WRONG[word] in err
    assert len(err.strip().splitlines()) == 1
    assert not list(Path().rglob("config.yaml"))


SPLIT = ("environment=split", "environment.scenario=class")
TASKS = ("environment=split", "environment.scenario=task")
REFUSED_BY_SETUP = [
    (("strategy=ncm", "strategy.source=memory", *SPLIT), "strategy.ncm.source=memory: expected a strategy with a memory"),
    (("strategy=[joint,separate]", *TASKS), "separate trains a network on one task at a time, and here tasks are mixed"),
    (
        ("strategy=ewc", "strategy.strength=[1,2,3]", *SPLIT),
        "strategy.ewc.strength=[1.0, 2.0, 3.0]: expected one number, or a list of 2",
    ),
    (("strategy=gpm", "network=cnn", "network.norm=batch", *SPLIT), "strategy.gpm: protects the parameters of linear layers"),
    (("strategy=continual_backprop", "network=slim_resnet18", *SPLIT), "network: "),
    (("strategy=xdg", "network=slim_resnet18", *TASKS), "network: xdg gates layers of hidden units"),
    (("strategy=slda", "network=plain", *SPLIT), "network: Plain has no method `features`"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED_BY_SETUP, ids=[" ".join(words[:2]) for words, _ in REFUSED_BY_SETUP])
def test_what_a_strategy_refuses_when_it_is_set_up_leaves_nothing_either(run, tmp_path, monkeypatch, words, said):
    (tmp_path / "plain.py").write_text(PLAIN)
    (tmp_path / "conf" / "network").mkdir(parents=True)
    (tmp_path / "conf" / "network" / "plain.yaml").write_text("_target_: plain.Plain\n")
    monkeypatch.setenv("LAB_CONFIG", "conf")
    monkeypatch.setenv("LAB_PACKAGES", "plain")
    status, out, err = run(*words, small=False)
    assert (status, out, len(err.strip().splitlines())) == (2, [], 1), err
    assert said in err
    assert not Path("runs").exists()


def test_a_run_that_goes_on_is_not_tried_again(run, monkeypatch):
    words = ("strategy=er", "trainer.max_steps=3")
    assert run(*words)[0] == 1
    monkeypatch.setattr("lab.trial.try_strategies", lambda _experiment: pytest.fail("tried again"))
    assert run("strategy=er")[0] == 0


def test_more_tasks_than_classes(run):
    status, _, err = run("environment=split", "environment.tasks=11", small=False)
    assert (status, "at most 10" in err) == (2, True)


def test_a_strategy_settings_without_the_strategy(run, tmp_path, monkeypatch):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "ghost.yaml").write_text("# @package _global_\nstrategy:\n  er:\n    memory: 5\n")
    monkeypatch.setenv("LAB_CONFIG", str(tmp_path))
    status, _, err = run("experiment=ghost", small=False)
    assert status == 2
    assert "strategy.er" in err


def test_a_member_that_diverges_is_reported_and_leaves_the_others(run):
    config = ("optimizer.lr=[0.1,1e30]", "steps=12", "evaluation.every=4", "checkpoint.every=4")
    status, out, err = run(*config)
    assert status == 0
    results = json.loads((Path(out[-1]) / "results.json").read_text())
    _, alone, _ = run("seeds=[0]", "optimizer.lr=0.1", *config[1:])
    sound = json.loads((Path(alone[-1]) / "results.json").read_text())
    assert results["diverged"][0] is None
    assert 1 <= results["diverged"][1] <= 4
    assert results["metrics"]["accuracy"] == [pytest.approx(sound["metrics"]["accuracy"][0], abs=0.02), None]
    assert results["accuracy"][1][1:] == [[None] * 3] * 3
    assert all(point is None for row in results["curves"]["accuracy"][1][2:] for point in row)
    assert "diverged" in err
    assert "seed 1 at step" in err


def test_a_run_all_of_whose_members_diverge_ends(run):
    status, out, _ = run("optimizer.lr=1e30", "steps=12", "checkpoint.every=4")
    assert status == 0
    assert json.loads((Path(out[-1]) / "results.json").read_text())["metrics"]["accuracy"] == [None, None]


def test_full_disk_is_one_sentence_and_the_run_goes_on_later(run, tmp_path):
    """A limit on the size of files stands in for a full disk: the write fails in the same call with the same exception."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))
        sys.stderr = io.StringIO()
        GlobalHydra.instance().clear()
        status = main([*SMALL, "steps=3", "seeds=2"])
        said = sys.stderr.getvalue()
        assert status == 2
        assert "Traceback" not in said
        assert len(said.strip().splitlines()) == 1
        assert re.match(r"lab: paths\.runs: runs/\w+/\w+\S*: File too large; what was checkpointed is kept", said)
        assert "the same command goes on" in said

    assert forked(limited) == 0
    assert not list(tmp_path.rglob("results.json"))
    status, _, _ = run()
    assert status == 0


def test_a_file_that_cannot_be_written_is_the_users_and_named(run, monkeypatch):
    def refused(folder, *_):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder / "plan.json"))

    with monkeypatch.context() as patch:
        patch.setattr("lab.experiment.settled", refused)
        status, out, err = run()
    assert (status, out) == (2, []), err
    assert re.fullmatch(r"lab: paths\.runs: runs/\S+/plan\.json: Permission denied; .*\n", err)
    assert run()[0] == 0


def test_what_nobody_expected_is_ours_with_its_stack_trace(run, monkeypatch):
    def broken(*_):
        raise ValueError("a slip of ours")

    monkeypatch.setattr("lab.experiment.settled", broken)
    status, _, err = run("-m", "strategy=naive,er")
    assert (status, err.count("Traceback"), err.count("lab: a slip of ours")) == (1, 2, 2)


def test_flags_that_exclude_each_other(run):
    status, _, err = run("--run", "--multirun")
    assert (status, "Traceback" in err, len(err.strip().splitlines())) == (2, False, 1)


def test_two_commands_on_one_run_directory(run):
    from lab.workers import locked

    _, out, _ = run()
    folder = Path(out[-1])
    (folder / "results.json").unlink()
    with locked(folder):
        status, _, err = run()
    assert status == 2
    assert "another process" in err


def test_sources_are_groups_whatever_the_environment():
    assert overrides(["environment.source=mnist"]) == ["environment/source=mnist"]
    assert overrides(["environment.source._target_=x"]) == ["environment.source._target_=x"]


def test_unknown_commands(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lab", "rnu"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert "rnu" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("lab ", "run schedule compare study sweep report demo list dashboard doctor"),
        ("lab d", "demo dashboard doctor"),
        ("lab run strategy=na", "strategy=naive"),
        ("lab run environment.tas", "environment.tasks="),
        ("lab schedule co_schedule=cd", "co_schedule=cdma"),
    ],
)
def test_tab_completion(monkeypatch, capfd, line, words):
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["lab", "-sc", "query=bash"])
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    assert capfd.readouterr().out.split() == words.split()


PLAIN = """
from torch import nn


class Plain(nn.Sequential):
    def __init__(self, shape, outputs):
        super().__init__(nn.Flatten(), nn.Linear(64, outputs))
"""

USERS = """
import torch
from torch import nn


class Answers(nn.Module):
    def __init__(self, shape, outputs, how):
        super().__init__()
        self.how, self.layer = how, nn.Linear(64, outputs)

    def forward(self, x):
        y = self.layer(x.flatten(1))
        if self.how == "raises":
            return y + self.no
        return {"dict": {"logits": y}, "narrow": y[:, :3], "right": y}[self.how]
"""


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("dict", "not dict"),
        ("narrow", "expected logits of shape [2, 10], not [2, 3]"),
        ("raises", "no attribute"),
        ("right", None),
    ],
)
def test_a_users_network_that_cannot_be_used(run, tmp_path, monkeypatch, how, said):
    (tmp_path / "answers.py").write_text(USERS)
    (tmp_path / "conf" / "network").mkdir(parents=True)
    (tmp_path / "conf" / "network" / "own.yaml").write_text(f"_target_: answers.Answers\nhow: {how}\n")
    monkeypatch.setenv("LAB_CONFIG", "conf")
    monkeypatch.setenv("LAB_PACKAGES", "answers")
    words = [word for word in SMALL if not word.startswith("network")]
    status, out, err = run(*words, "network=own", small=False)
    assert (status, bool(out)) == ((2, False) if said else (0, True)), err
    assert "Traceback" not in err
    assert said is None or said in err


@pytest.mark.parametrize("file", ["plan.json", "results.json"])
def test_a_damaged_file_of_a_run_directory(run, file):
    _, out, _ = run()
    (Path(out[-1]) / "results.json").unlink()
    (Path(out[-1]) / file).write_text("{")
    status, _, err = run()
    assert (status, "Traceback" in err) == (2, False)
    assert file in err


def test_the_users_folder_that_is_not_there_and_a_file_that_is_no_yaml(run, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_CONFIG", str(tmp_path / "nowhere"))
    status, _, err = run()
    assert (status, "LAB_CONFIG" in err) == (2, True)
    (tmp_path / "strategy").mkdir()
    (tmp_path / "strategy" / "broken.yaml").write_text("x: [")
    monkeypatch.setenv("LAB_CONFIG", str(tmp_path))
    status, _, err = run("strategy=broken")
    assert (status, "broken.yaml" in err, "Traceback" in err) == (2, True, False)


def test_a_reader_that_has_read_enough_is_no_failure(monkeypatch, capfd):
    """`lab list | head -1`: the pipe breaks while we write."""
    read, write = os.pipe()
    os.close(read)

    def piped() -> None:
        os.dup2(write, 1)
        sys.stdout = os.fdopen(1, "w")
        monkeypatch.setattr(sys, "argv", ["lab", "list"])
        with pytest.raises(SystemExit, match=r"^0$"):
            cli.main()

    assert forked(piped) == 0
    assert "Traceback" not in capfd.readouterr().err


def test_in_a_log_file_a_line_now_and_then_tells_how_far_it_is(monkeypatch, capfd):
    from lab.progress import Progress

    monkeypatch.setattr("lab.progress.EVERY", 0.0)
    with Progress("naive on digits") as progress:
        progress.begin(200, 2)
        progress.report(1, 100)  # resumed there
        progress.report(1, 150)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].endswith("25% in 0:00:00, too early to say how long")
    assert re.fullmatch(r"naive on digits: 38% in 0:00:0\d, about 0:00:0\d left", lines[1])
