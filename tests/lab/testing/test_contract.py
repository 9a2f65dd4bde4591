"""The battery bites: every sin is caught by the check meant for it, which says in words what is wrong and where."""

from pathlib import Path

import pytest
import torch

from lab.testing import ContractError, Subject, check_strategy, composed, violations
from lab.testing import strategy as battery
from lab.testing.__main__ import main
from lab.testing.miniature import fit

SINS = [
    ("Item", battery.stays_on_the_device, r"reads a tensor's value .*sinful.py, line \d+: .*\.item\(\)"),
    ("Branch", battery.stays_on_the_device, r"reads a tensor's value .*Python branch.*: if logits.mean\(\) > 100:"),
    ("BooleanMask", battery.stays_on_the_device, r"shape depends on values .*boolean mask.*one\[one > 0\]"),
    ("MaskedAssignment", battery.stays_on_the_device, r"boolean mask.*parameter.data\[mask\]"),
    ("CpuIndex", battery.stays_on_the_device, r"mixes devices \(cpu and meta\).*torch.tensor\(\[0, 1\]\)"),
    ("CpuIndex", battery.leaves_nothing_on_the_cpu, r"mixes devices \(cpu and cuda\).*torch.tensor\(\[0, 1\]\)"),
    ("ListIndex", battery.leaves_nothing_on_the_cpu, r"copies a tensor from cpu to cuda.*logits\[:, \[0, 1\]\]"),
    ("CopiedConstant", battery.stays_on_the_device, r"copies a tensor from cpu to meta.*\.to\(logits.device\)"),
    ("FreshConstant", battery.leaves_nothing_on_the_cpu, r"copies a tensor from cpu to cuda.*torch.tensor\("),
    ("WholeComparison", battery.stays_on_the_device, r"compares whole tensors.*if not torch.equal"),
    ("ToTheHost", battery.stays_on_the_device, r"copies a tensor from meta to cpu.*batch.inputs.cpu\(\)"),
    ("ToTheHost", battery.leaves_nothing_on_the_cpu, r"copies a tensor from cuda to cpu.*batch.inputs.cpu\(\)"),
    ("Nonzero", battery.stays_on_the_device, r"shape depends on values.*nonzero\(\)"),
    ("PlainTensor", battery.survives_a_resume, r"PlainTensor.mean \(dict\) is not in the checkpoint.*register_buffer"),
    ("PlainTensor", battery.stays_on_the_device, r"mixes devices.*self.mean\[name\]"),
    ("PlainCounter", battery.survives_a_resume, r"PlainCounter.tasks_done \(int\) is not in the checkpoint"),
    ("QuietList", battery.survives_a_resume, r"QuietList.kept \(list\) is not in the checkpoint"),
    ("UnsavedBuffer", battery.survives_a_resume, r"UnsavedBuffer.counts \(Tensor\) is not in the checkpoint"),
    ("LateBuffer", battery.survives_a_resume, r"make every buffer in setup\(\).*anchor"),
    ("GrowingBuffer", battery.survives_a_resume, r"make every buffer in setup\(\), in its final shape.*tasks"),
    ("ScalarLoss", battery.gives_every_member_its_axis, r"loss returned shape \[\]; expected \[3\], one value a member"),
    ("SharedBuffer", battery.gives_every_member_its_axis, r"buffer mean has shape \[1, 8, 8\] in a population of 3"),
    (
        "OneForAll",
        battery.gives_every_member_its_axis,
        r"diagnostics gives losses shape \[\]; expected \[3\], one value a member",
    ),
    ("JointNorm", battery.keeps_members_apart, r"ends with other weights .* beside \[11, 4\] than alone"),
    ("JointNorm", battery.goes_on_when_others_are_cut, r"ends with other bits where other members were cut"),
    ("WideAsTheLongest", battery.goes_on_when_others_are_cut, r"met: it has shape \[4, \d+\], and \[2, \d+\].*course.crowd"),
    ("Transposed", battery.gives_every_member_its_axis, r"batch whose weights have shape \[4\]; expected \[3, ...\]"),
    ("InFront", battery.gives_every_member_its_axis, r"InFront.rehearse changed the samples that were there"),
    ("Misshapen", battery.gives_every_member_its_axis, r"rehearse gave steps whose tasks have shape \[1, .*; expected \[3, "),
    ("OncePerBlock", battery.trains_alike_in_blocks_of_any_length, r"ends with other bits where blocks are cut elsewhere"),
    ("UnknownParameter", battery.gives_every_member_its_axis, r"names head, which is no parameter; there are .*head/weight"),
    ("RestlessAverage", battery.lets_members_rest, r"its buffer steps changed for a member that takes no part"),
    ("GlobalDraw", battery.draws_from_its_own_generators, r"torch's global generator"),
    ("GlobalDraw", battery.keeps_members_apart, r"drawn over the member axis"),
    ("PythonDraw", battery.draws_from_its_own_generators, r"Python's random"),
    ("Raises", battery.trains_where_it_claims, r"scenario class, .*: training fails: .*3 and 7 elements.*sinful.py, line \d+"),
    ("Explodes", battery.trains_where_it_claims, r"scenario class, .*NaN or infinite"),
    ("NoSuchScenario", battery.trains_where_it_claims, r"scenarios: class-incremental is none of task, domain, class"),
]


@pytest.fixture
def sinful(monkeypatch):
    """Makes the subject for a class in `sinful.py`, found as a user's package is."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setenv("LAB_PACKAGES", "sinful")
    config = Subject.of().config
    return lambda name: Subject(config | {"strategy": {"mine": {"_target_": f"sinful.{name}"}}})


@pytest.mark.parametrize(("name", "check", "words"), SINS, ids=[f"{name}-{check.__name__}" for name, check, _ in SINS])
def test_a_sin_is_caught_in_words(sinful, name, check, words):
    with pytest.raises(ContractError, match=words):
        check(sinful(name))


RESNET = ("network=slim_resnet18", "network.filters=3")


def test_rounding_that_training_magnifies_is_no_sin():
    """Batch normalisation over four samples: in float32 another order of summation ends far away; in double it is rounding."""
    subject = Subject.of("strategy=naive", *RESNET)
    ends = []
    for stack in (True, False):
        learner = subject.learner([3], stack)
        fit(learner)
        ends.append(torch.cat([leaf.detach().flatten() for leaf in learner.population.leaves.values()]))
    assert (ends[0] - ends[1]).abs().max() > 1e-3
    battery.keeps_members_apart(subject)


def test_a_sin_is_told_from_magnified_rounding(sinful):
    config = Subject.of(*RESNET).config
    with pytest.raises(ContractError, match=r"where a rounding of the weights it begins with makes \d\.\de-\d\d"):
        battery.keeps_members_apart(Subject(config | {"strategy": sinful("JointNorm").config["strategy"]}))


def test_scratch_within_a_step_is_no_sin(sinful):
    assert not any(violations(sinful("Scratch")).values())


def test_the_miniature_stream_lets_members_rest_and_fills_a_last_batch(sinful):
    course = sinful("Scratch").learner().course
    assert any(len(set(lengths)) > 1 for lengths in course.lengths)
    assert any(len(phase.examples) % course.budget.batch_size for stream in course.streams for phase in stream.phases)


OWN = """
from lab.protocols import Strategy

class Mine(Strategy):
    def __init__(self, strength=0.01):
        super().__init__()
        self.strength = strength

    def loss(self, learner, batch, logits):
        return self.strength * logits.square().mean((1, 2)){sin}
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes a user's own strategy and its YAML outside of the repository; the argument is appended to its loss."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("LAB_CONFIG", str(tmp_path / "conf"))
    (tmp_path / "conf" / "strategy").mkdir(parents=True)

    def write(package: str, sin: str = "") -> None:
        monkeypatch.setenv("LAB_PACKAGES", package)
        (tmp_path / f"{package}.py").write_text(OWN.format(sin=sin))
        (tmp_path / "conf" / "strategy" / "mine.yaml").write_text(f"mine:\n  _target_: {package}.Mine\n  strength: 0.01\n")

    return write


def test_one_command_checks_the_users_own_strategy(own, capsys):
    own("kept_package")
    assert main(["strategy=mine", "strategy.mine.strength=0.1"]) == 0
    assert capsys.readouterr().out.count("kept") == len(battery.CHECKS)


def test_the_command_says_what_is_violated(own, capsys):
    own("violating_package", ".mean() * float(logits.detach().max())")
    assert main(["strategy=mine"]) == 1
    out = capsys.readouterr().out
    assert "expected [3], one value a member" in out
    assert "reads a tensor's value" in out


@pytest.mark.parametrize(("words", "said"), [("strategy=mime", "there is none"), ("strategy.er.memory=5", "strategy.er")])
def test_a_mistake_in_the_command_is_said_in_a_sentence(words, said, capsys):
    assert main([words]) == 2
    assert said in capsys.readouterr().err


def test_check_strategy_lists_all_that_is_wrong(sinful, monkeypatch):
    subject = sinful("JointNorm")
    monkeypatch.setattr(Subject, "of", classmethod(lambda cls, *words: subject))
    with pytest.raises(ContractError) as caught:
        check_strategy("strategy=mine")
    assert "than alone" in str(caught.value)


def test_composed_is_what_lab_run_would_have():
    config = composed("environment=split", "environment.source=digits", "seeds=[3,7]")
    assert config["environment"]["source"]["_target_"] == "environments.sources.digits.digits"
    assert config["seeds"] == [3, 7]
