"""`lab list` against the configuration tree itself, without heavy imports, and from a wheel outside the checkout."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import listing
from lab.config import CONF, OWN_PACKAGES
from lab.listing import first_comment, found, main

HEAVY = {"torch", "lightning", "mlflow", "hydra", "omegaconf", "numpy", "yaml"}


def listed(capsys, *arguments):
    assert main([*arguments, "--json"]) == 0
    return {(choice["group"], choice["name"]): choice for choice in json.loads(capsys.readouterr().out)}


def test_every_choice_of_every_group_is_listed_with_a_line(capsys):
    choices = listed(capsys)
    files = {(p.parent.relative_to(CONF).as_posix(), p.stem) for p in CONF.glob("*/**/*.yaml")}
    assert {pair for pair in files if pair[0] not in listing.HIDDEN} == set(choices)
    assert {"environment", "environment/source", "strategy", "network", "optimizer", "tracking"} <= {g for g, _ in choices}
    for key, choice in choices.items():
        assert 4 <= len(choice["line"]) <= 140, f"{key} needs a first comment line that says what it is"
        assert not choice["own"]


@pytest.mark.parametrize(
    ("word", "group"),
    [("strategy", "strategy"), ("strategies", "strategy"), ("source", "environment/source"), ("optimisers", "optimizer")],
)
def test_one_group_by_any_of_its_names(capsys, word, group):
    assert {g for g, _ in listed(capsys, word)} == {group}


def test_the_table_names_what_to_type(capsys):
    assert main(["strategy"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("strategies (strategy=...)\n")
    assert any(line.split()[:3] == ["er", "experience", "replay"] for line in text.splitlines())
    assert main(["source"]) == 0
    assert "environment.source=..." in capsys.readouterr().out


def test_a_misspelt_group_is_answered_with_the_nearest(capsys):
    assert main(["stratgy"]) == 2
    error = capsys.readouterr().err
    assert "lab list stratgy: there is no such group. Did you mean strategy?" in error
    assert "environment/source" in error


def test_the_users_folders_are_listed_too_and_cannot_hide_the_labs(monkeypatch, tmp_path, capsys):
    (tmp_path / "a" / "strategy").mkdir(parents=True)
    (tmp_path / "a" / "strategy" / "mine.yaml").write_text("# @package _global_\n\n# a method of my own\nmine: {}\n")
    (tmp_path / "a" / "strategy" / "er.yaml").write_text("# not the lab's\n")
    (tmp_path / "b" / "warming").mkdir(parents=True)
    (tmp_path / "b" / "warming" / "warm.yaml").write_text("warm: 1\n# too late\n")
    monkeypatch.setenv("LAB_CONFIG", f"{tmp_path}/a:{tmp_path}/b:{tmp_path}/nowhere")
    choices = listed(capsys)
    assert choices["strategy", "mine"]["line"] == "a method of my own"
    assert choices["strategy", "mine"]["own"]
    assert not choices["strategy", "er"]["own"]
    assert choices["warming", "warm"]["line"] == ""
    assert main([]) == 0
    assert "a method of my own  [yours]" in capsys.readouterr().out
    assert list(found())[-1].group == "warming", "groups that the lab does not know come last"


@pytest.mark.parametrize(
    ("text", "line"), [("# one\n# two\n", "one"), ("\n#\n## three ##\n", "three ##"), ("a: 1\n# late", ""), ("", "")]
)
def test_the_first_comment(tmp_path, text, line):
    (tmp_path / "some.yaml").write_text(text)
    assert first_comment(tmp_path / "some.yaml") == line


def test_listing_imports_nothing_heavy():
    code = "import sys, lab.cli; sys.argv = ['lab', 'list']\ntry: lab.cli.main()\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "lab.listing" in loaded
    assert not HEAVY & loaded


def test_a_wheel_lists_the_same_outside_the_checkout(tmp_path):
    root = Path(__file__).resolve().parent.parent
    ignored = {".git", ".venv", "build", "dist", "runs", "tests", "docs"}
    source = tmp_path / "source"
    source.mkdir()
    for entry in root.iterdir():  # a copy: building writes into the tree
        if entry.name not in ignored and not entry.name.endswith((".egg-info", "_cache")):
            subprocess.run(["cp", "-r", str(entry), str(source)], check=True)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(source)]
    made = subprocess.run(build, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    for package in OWN_PACKAGES:
        modules = {path.relative_to(root) for path in (root / package).rglob("*.py")}
        assert modules == {path.relative_to(site) for path in (site / package).rglob("*.py") if "conf" not in path.parts}
    code = "import sys, lab, lab.cli; print(lab.__file__); sys.argv = ['lab', 'list', '--json']; lab.cli.main()"
    run = {"cwd": tmp_path, "env": {"PATH": os.environ["PATH"], "PYTHONPATH": str(site)}}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, **run)
    where, _, listed_there = done.stdout.partition("\n")
    assert Path(where).is_relative_to(site)
    here = [(choice.group, choice.name, choice.line) for choice in found()]
    assert [(c["group"], c["name"], c["line"]) for c in json.loads(listed_there)] == here
    assert (site / "lab" / "conf" / "config.yaml").exists()
