"""A study's file: what it must say, and what a mistake in it gets."""

import pytest
import yaml

from lab.errors import UserError
from lab.study import question

GOOD = {
    "claim": "er forgets less",
    "family": "baselines",
    "common": ["experiment=digits_permuted"],
    "budget": ["epochs=1"],
    "cells": {"naive": ["strategy=naive"], "er": ["strategy=er"]},
    "seeds": 10,
    "measure": "forgetting",
    "test": {"kind": "superiority", "better": "er", "than": "naive", "margin": 0.05},
    "minutes": 1,
}


def read(tmp_path, without=(), **changed):
    path = tmp_path / "mine.yaml"
    path.write_text(
        yaml.safe_dump({key: value for key, value in (GOOD | changed).items() if key not in without}, sort_keys=False)
    )
    return question.read(path)


def test_a_study_as_it_stands(tmp_path):
    study = read(tmp_path)
    assert study.name == "mine"
    assert study.words["er"] == ["experiment=digits_permuted", "epochs=1", "strategy=er"]
    assert study.looks == [10]
    (test,) = study.tests
    assert test.weights == {"er": -1.0, "naive": 1.0}  # less forgetting is better
    assert test.words == "er better than naive"


def test_more_of_other_measures_is_better(tmp_path):
    assert read(tmp_path, measure="accuracy").tests[0].weights == {"er": 1.0, "naive": -1.0}


def test_one_cell_against_several_is_several_tests(tmp_path):
    cells = GOOD["cells"] | {"joint": ["strategy=joint"]}
    tests = read(tmp_path, cells=cells, test={"kind": "superiority", "better": "er", "than": ["naive", "joint"]}).tests
    assert [test.words for test in tests] == ["er better than naive", "er better than joint"]


@pytest.mark.parametrize(("measure", "sign"), [("accuracy", 1.0), ("forgetting", -1.0)])
def test_of_a_contrast_more_is_better_whatever_the_measure(tmp_path, measure, sign):
    (test,) = read(tmp_path, measure=measure, test={"kind": "superiority", "contrast": {"er": 1, "naive": -1}}).tests
    assert test.weights == {"er": sign, "naive": -sign}
    assert test.words == "+1 er -1 naive"


def test_cells_are_tried_in_every_environment(tmp_path):
    study = read(tmp_path, common=[], environments={"a": ["experiment=digits_split"], "b": ["experiment=digits_permuted"]})
    assert list(study.words) == ["naive @ a", "er @ a", "naive @ b", "er @ b"]
    assert study.cells["er @ b"] == "er"
    assert study.words["er @ b"] == ["epochs=1", "experiment=digits_permuted", "strategy=er"]


@pytest.mark.parametrize("key", question.NEEDED)
def test_what_a_study_must_say(tmp_path, key):
    with pytest.raises(UserError, match=f"mine.yaml: {key}: missing"):
        read(tmp_path, without=[key])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"calim": "x"}, "calim: there is no such key. Did you mean claim"),
        ({"claim": " "}, "claim= : expected a text"),
        ({"cells": {"naive": []}}, "cells=.*: expected two cells or more"),
        ({"cells": {"naive": [], "er": "strategy=er"}}, "cells.er=strategy=er: expected a list of overrides"),
        ({"seeds": 0}, "seeds=0"),
        ({"cells": {"a": ["strategy=er"], "b": ["strategy=er"]}}, "cells.b=.*: expected something else than a"),
        ({"cells": {"a": ["strategy=er", "seeds=3"], "b": []}}, "cells.a=seeds=3: expected an override of the cell"),
        ({"test": {"kind": "superiority", "better": "er", "than": []}}, "test.than=.*: expected a cell"),
        ({"test": {"kind": "superiority", "contrast": {"er": 0, "naive": 0}}}, "test.contrast=.*none 0"),
        ({"alpha": "1e-2"}, "alpha=1e-2: expected a number between 0 and .5 .1e-2 is a text to YAML"),
        ({"seeds": 5}, "seeds=5: too few to decide anything: with 1 test the smallest possible p is 0.062.*6 seeds could"),
        ({"budget": ["optimizer.lr=1"]}, "budget=optimizer.lr=1: expected overrides of epochs, steps, batch_size"),
        ({"test": {"kind": "better"}}, "test.kind=better: expected one of superiority"),
        (
            {"test": {"kind": "superiority", "better": "er", "than": "niave"}},
            "test: there is no cell niave. Did you mean naive",
        ),
        ({"test": {"kind": "equivalence", "better": "er", "than": "naive"}}, "test.margin=None: expected a number above 0"),
        ({"test": {"kind": "superiority", "better": "er", "than": "er"}}, "two different cells"),
        ({"test": {"kind": "superiority", "beter": "er"}}, "test.beter=er: expected one of the keys"),
        ({"looks": [5, 8]}, r"looks=\[5, 8\]: expected rising numbers of seeds, the last all of them .10"),
        ({"looks": [4, 10]}, "seeds=4: too few to decide anything.*above the look's level of 0.0012"),
        ({"measure": "acuracy"}, "measure=acuracy: there is no such measure. Did you mean accuracy"),
        ({"metrics": ["aluc"]}, "metrics=aluc: there is no such measure. Did you mean aulc"),
        ({"test": {"kind": "superiority", "contrast": {"er": 1, "naive": 1}}}, "test.contrast=.*which sum to 0"),
        ({"test": {"kind": "superiority", "contrast": {"er": True, "naive": -1}}}, "test.contrast="),
        ({"test": {"kind": "superiority", "better": "er", "than": "naive", "margin": float("inf")}}, "test.margin=inf"),
        ({"minutes": 500}, "minutes=500: over 120; make the tasks, the data or the network smaller before the seeds"),
        ({"minutes": True}, "minutes=True"),
        ({"scale": 3}, "scale=3: expected a text"),
        ({"alpha": 2}, "alpha=2"),
        ({"reserve": 0.05}, "reserve=0.05: expected the part of alpha"),
        ({"spending": "evenly"}, "spending=evenly: expected one of obrien_fleming"),
        ({"minutes": 0}, "minutes=0"),
    ],
)
def test_a_mistake_is_a_sentence_that_names_file_and_key(tmp_path, changed, message):
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path, **changed)
    assert "mine.yaml" in str(error.value)


def test_a_file_that_is_no_mapping(tmp_path):
    (tmp_path / "mine.yaml").write_text("- a\n")
    with pytest.raises(UserError, match="expected keys and values"):
        question.read(tmp_path / "mine.yaml")


def test_a_key_that_is_given_twice(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(GOOD) + "seeds: 12\n")
    with pytest.raises(UserError, match="seeds=twice: expected one value"):
        question.read(tmp_path / "mine.yaml")


@pytest.mark.parametrize("text", [b"claim: caf\xe9\n", b"claim: [\n", b"\tclaim: x\n"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, text):
    (tmp_path / "mine.yaml").write_bytes(text)
    with pytest.raises(UserError, match=r"mine\.yaml"):
        question.read(tmp_path / "mine.yaml")


def test_what_is_no_study_does_not_hide_the_others(tmp_path, monkeypatch):
    (tmp_path / "sweeps" / "folder.yaml").mkdir(parents=True)
    (tmp_path / "sweeps" / "clam.yaml").write_text("clam: x\n")
    (tmp_path / "sweeps" / "latin.yaml").write_bytes(b"claim: caf\xe9\n")
    read(tmp_path / "sweeps")
    monkeypatch.chdir(tmp_path)
    assert {"mine", "latin"} <= set(question.names())
    with pytest.raises(UserError, match=r"clam.yaml: clam: there is no such key. Did you mean claim"):
        question.find("clam")


def test_the_users_own_studies_are_found_first(tmp_path, monkeypatch):
    (tmp_path / "sweeps").mkdir()
    read(tmp_path / "sweeps")
    (tmp_path / "sweeps" / "tuning.yaml").write_text("objective: accuracy\n")
    monkeypatch.chdir(tmp_path)
    assert question.names()[0] == "mine"
    assert "tuning" not in question.names()
    assert question.find("mine").claim == "er forgets less"
    with pytest.raises(UserError, match=r"lab study mien: there is none. Did you mean mine"):
        question.find("mien")


@pytest.mark.parametrize("name", question.names())
def test_every_study_of_the_lab_reads_and_costs_no_more_than_it_may(name):
    """Over 120 minutes on two cores the scale is reduced before the seeds."""
    study = question.find(name)
    assert study.minutes <= 120
    assert study.path.read_text().splitlines()[1].startswith(f"# lab study {name}")
