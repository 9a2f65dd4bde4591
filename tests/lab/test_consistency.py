"""What is said of rules before training: which cannot be kept, and which the labels break."""

from dataclasses import replace

import pytest
import torch

from environments.graded import Graded
from environments.slots import Slots
from environments.sources.snips import snips
from environments.transduction import Transduction
from lab.consistency import announcements, refuse_contradictions, refuse_unsayable
from lab.errors import UserError
from lab.experiment import Experiment
from lab.protocols import Examples
from lab.testing import composed
from lab.testing.sentences import write_snips

SMALL = {"pairs": {"az": "a", "bz": "b"}, "longest": 2, "train": 4, "test": 2}
WORDS = (
    "environment=transduction", "network=encoder_decoder", "tracking=off", "seeds=2", "steps=1", "epochs=null",
    "environment.longest=2", "environment.pairs={az: a, bz: b}", "environment.train=4", "environment.test=2",
)  # fmt: skip


def test_rules_that_nothing_keeps_together_are_refused_by_name():
    rules = {"starts": "out[0] = a", "never": "for all i: not out[i] = a"}
    environment = Transduction(rules=rules, **SMALL)
    with pytest.raises(UserError, match=r"environment\.rules: .*keeps these rules together: starts: out\[0\] = a; never: "):
        refuse_contradictions(environment.stream(0), environment.data)
    environment = Transduction(rules={"starts": "out[0] = a"}, **SMALL)
    refuse_contradictions(environment.stream(0), environment.data)
    environment = Transduction(rules={"odd": "out[0] = a and not out[0] = a"}, **SMALL)
    with pytest.raises(UserError, match="no answer keeps this rule: odd"):
        refuse_contradictions(environment.stream(0), environment.data)


def test_a_contradiction_is_found_before_a_run_directory_is_there(tmp_path):
    words = "environment.rules={starts: 'out[0] = a', never: 'for all i: not out[i] = a'}"
    with pytest.raises(UserError, match="together: starts"):
        Experiment(composed(*WORDS, words, f"paths.runs={tmp_path}"))
    assert not list(tmp_path.iterdir())


def test_labels_that_break_rules_are_counted_over_all_tasks_each_example_once():
    environment = Transduction(by="rule", longest=4, train=9, test=5)
    data = environment.data
    assert not list(announcements(environment, environment.stream(0)))
    targets = data.train.targets.clone()
    targets[:3, 0] = (targets[:3, 0] + 1) % 2  # a <-> b, z -> b: the first symbol is another one in three strings
    environment.data = replace(data, train=Examples(data.train.inputs, targets))
    (told,) = announcements(environment, environment.stream(0))
    assert told.startswith("labels of training examples break rules: ")
    assert "count_b by 3 of 9" in told
    assert "test" not in told


class Inner:
    def announcement(self):
        return "told within"


def test_what_wrapped_environments_tell_is_told_before_training_with_the_labels(capsys, tmp_path):
    environment = Transduction(**SMALL)
    environment.base = Inner()
    assert list(announcements(environment, environment.stream(0))) == ["told within"]
    words = "environment.rules={short: 'count(i: out[i] = a) + count(i: out[i] = b) <= 1'}"
    experiment = Experiment(composed(*WORDS, words, f"paths.runs={tmp_path}"))
    longer = [int((split.targets[:, :2] != 2).all(1).sum()) for split in (experiment.environment.data.train,
                                                                        experiment.environment.data.test)]  # fmt: skip
    assert sum(longer) == 4
    capsys.readouterr()
    experiment._announce()
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "break rules" in line] == [
        f"lab: labels of {split} examples break rules: short by {wrong} of {whole}"
        for split, wrong, whole in zip(("training", "test"), longer, (4, 2), strict=True)
        if wrong
    ]
    assert torch.equal(experiment.environment.data.train.inputs, environment.data.train.inputs)


def test_labels_where_they_cannot_be_said_are_refused(tmp_path):
    write_snips(tmp_path)
    sound = Slots(snips(str(tmp_path), length=6), by="intent", scenario="class")
    refuse_unsayable(sound.stream(0), sound.data)
    tokens = Graded(sound, kinds="token", share=1.0)
    refuse_unsayable(tokens.stream(0), tokens.data)
    labels = Graded(sound, kinds="label", share=1.0)
    with pytest.raises(UserError, match=r"environment: \d+ training labels are no answers at their places"):
        refuse_unsayable(labels.stream(0), labels.data)
