"""What the documents tell users to type works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab.results import load
from lab.run import composed

from .lab.forked import SMALL, train

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_strategy_of_the_how_to(tmp_path, monkeypatch):
    text = (ROOT / "docs" / "how-to.md").read_text()
    (tmp_path / "conf" / "strategy").mkdir(parents=True)
    (tmp_path / "mine.py").write_text(re.search(r"```python\n(.*?)```", text, re.S)[1])
    (tmp_path / "conf" / "strategy" / "mine.yaml").write_text(re.search(r"```yaml\n(# pull.*?)```", text, re.S)[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAB_CONFIG", "conf")
    monkeypatch.setenv("LAB_PACKAGES", "mine")
    words = [*SMALL, "steps=3", "seeds=2", "strategy=[er,mine]", "strategy.mine.strength=1", f"paths.runs={tmp_path}"]
    assert load(train(composed(*words))).accuracy.shape == (2, 4, 3)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target
