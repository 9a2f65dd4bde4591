"""Studies and sweeps lie in one folder and are told apart by their keys."""

import pytest

from lab.errors import UserError
from lab.questions import STUDIES, SWEEPS


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "asked.yaml").write_text("# why\nclaim: er forgets less\ncells: {}\n")
    (tmp_path / "sweeps" / "tuned.yaml").write_text("claim: er is better when tuned\nobjectives: {accuracy: maximize}\n")
    (tmp_path / "sweeps" / "neither.yaml").write_text("clam: x\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "sweeps"


def test_a_sweep_may_claim_something_and_is_no_study(here):
    own = {"asked", "tuned", "neither"}
    assert own & set(STUDIES.files()) == {"asked"}
    assert own & set(SWEEPS.files()) == {"tuned"}


def test_each_command_names_the_other_and_the_nearest(here):
    with pytest.raises(UserError, match="lab study tuned: is asked by lab sweep tuned"):
        STUDIES.path("tuned")
    with pytest.raises(UserError, match="lab sweep asked: is asked by lab study asked"):
        SWEEPS.path("asked")
    with pytest.raises(UserError, match=r"lab sweep tunde: there is none\. Did you mean tuned"):
        SWEEPS.path("tunde")
    assert SWEEPS.path("neither") == here.relative_to(here.parent) / "neither.yaml", "it says what it lacks when it is read"


def test_a_word_names_a_file_or_a_question_but_no_folder(here):
    assert SWEEPS.named("tuned") == here / "tuned.yaml"
    assert SWEEPS.named("sweeps/tuned.yaml").samefile(here / "tuned.yaml")
    assert STUDIES.named("sweeps/tuned.yaml") is None
    assert STUDIES.named("tuned") is None
    (here.parent / "tuned").mkdir()
    assert SWEEPS.named("tuned") is None, "a folder of that name comes first"
