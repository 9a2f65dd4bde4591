"""`lab demo` as its users meet it: the story it tells, and their mistakes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from lab import demo
from lab.run import composed

MINIATURE = (
    "environment.tasks=2",
    "environment.validation=0.9",
    "network.width=12",
    "network.depth=1",
    "epochs=null",
    "steps=2",
)
SMALL = (*MINIATURE, "plan.processes=1", "plan.stack=true", "trainer.enable_progress_bar=false")


@pytest.fixture
def run(tmp_path, capfd, monkeypatch):
    """``run(*words)`` is `lab demo`, with small cells: (status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lab"])
    monkeypatch.setattr("lab.run.composed", lambda *words: composed(*words, *SMALL))

    def call(*words: str) -> tuple[int, str, str]:
        GlobalHydra.instance().clear()
        status = demo.main(["--no-tracking", *words])
        return status, *capfd.readouterr()

    return call


def test_it_compares_and_draws(run):
    status, out, err = run("--seeds", "2", "--runs", "there")
    assert status == 0, err
    assert out == ""
    assert err.count("picture: there/demo-") == 2
    assert "verdict   undecided: " in err
    assert "look 1" in err
    assert Path("there/studies/demo/report.html").exists()
    assert not Path("runs").exists()
    assert not Path("docs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--seeds", "0"), "--seeds=0: expected a whole number from 2 on"),
        (("--seeds", "1"), "--seeds=1: expected a whole number from 2 on"),
        (("--seeds", "-3"), "--seeds=-3"),
        (("--runs", "/proc/nowhere"), "/proc/nowhere"),
        (("--runs", "occupied"), "occupied"),
    ],
)
def test_a_mistake_gets_one_sentence_before_anything_is_trained(run, words, said):
    Path("occupied").write_text("a file, not a folder")
    status, out, err = run(*words)
    assert (status, out) == (2, ""), err
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert list(Path().iterdir()) == [Path("occupied")]


def test_an_unknown_option(run, capfd):
    with pytest.raises(SystemExit) as stopped:
        run("--sedes", "3")
    assert stopped.value.code == 2
    assert "--sedes" in capfd.readouterr().err


def test_an_interrupt_is_no_stack_trace(run, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("lab.run.execute", interrupted)
    status, _, err = run()
    assert (status, len(err.strip().splitlines())) == (1, 1)
