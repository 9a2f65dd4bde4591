"""Ours and Avalanche's, from the same weights on the same batches: all parameters, behind every step (docs/conformance.md)."""

from functools import cache, partial

import pytest
import torch

import strategies.der
from lab.optimizers import SGD, Adam
from lab.seeding import integers
from strategies.agem import AGEM
from strategies.der import DER, DERpp
from strategies.er import ER
from strategies.ewc import EWC
from strategies.gem import GEM
from strategies.lwf import LwF
from strategies.si import SI

from .ours import RATE, gap, recorded

SCENARIOS = ("task", "domain", "class")
UNTOLD = ("domain", "class")
TOLERANCE = 1e-6
EFFECT = 1e-4
"""What a method must change, at least, for agreement to mean anything."""

everywhere = pytest.mark.parametrize("scenario", SCENARIOS)


@cache
def naive(scenario):
    return recorded(scenario)


def assert_alike(scenario, members, play):
    """What ``play(member)`` gives is what each of the members did, and not what it would have done anyway."""
    for member, plain in zip(members, naive(scenario), strict=True):
        effect, apart = gap(member.parameters, plain.parameters), gap(member.parameters, play(member))
        print(f"{scenario}: {apart:.1e} apart over {len(member.steps)} steps, {effect:.1e} from naive")
        assert apart < TOLERANCE
        assert effect > EFFECT


@everywhere
@pytest.mark.parametrize("which", ["sgd", "momentum", "adam"])
def test_naive(theirs, scenario, which):
    ours, other = {
        "sgd": (partial(SGD, lr=RATE), partial(torch.optim.SGD, lr=RATE)),
        "momentum": (partial(SGD, lr=RATE, momentum=0.9), partial(torch.optim.SGD, lr=RATE, momentum=0.9)),
        "adam": (partial(Adam, lr=1e-2), partial(torch.optim.Adam, lr=1e-2)),
    }[which]
    for member in recorded(scenario, optimizer=ours):
        apart = gap(member.parameters, theirs.played(member, optimizer=other))
        print(f"{scenario}: {apart:.1e} apart over {len(member.steps)} steps")
        assert apart < TOLERANCE


@everywhere
def test_experience_replay(theirs, scenario):
    members = recorded(scenario, ER(replay=3, buffer="task_end", per_class=4))
    assert_alike(scenario, members, lambda member: theirs.played(member, theirs.replay_of(member, 3)))


PULL = {"task": 30.0, "domain": 30.0, "class": 3.0}
"""Strengths at which a penalty is felt and a step is still stable."""


@everywhere
@pytest.mark.parametrize("mode", ["separate", "online"])
def test_elastic_weight_consolidation(theirs, scenario, mode):
    strength, decay = PULL[scenario], 0.8
    online = mode == "online"
    # Ours has the decay in the penalty as well (Schwarz et al., equation 9).
    options = {"mode": "online", "gamma": decay, "strength": strength / decay} if online else {"strength": strength}
    members = recorded(scenario, EWC(fisher="batched", factor=1.0, **options))
    assert_alike(scenario, members, lambda m: theirs.played(m, theirs.EWCPlugin(strength, mode, decay if online else None)))


@everywhere
def test_synaptic_intelligence(theirs, scenario):
    strength = PULL[scenario] / 10
    members = recorded(scenario, SI(strength=strength, xi=0.1, path="total"))
    assert_alike(scenario, members, lambda member: theirs.played(member, theirs.SI(2 * strength, 0.1)))


def test_synaptic_intelligence_below_the_cap(theirs):
    """Theirs as it is but for the copies: with a damping so large that no importance comes near 1e-3."""
    members = recorded("class", SI(strength=3e3, xi=1e3, path="total"))

    def play(member):
        plugin = theirs.SI(6e3, 1e3, cap=1e-3)
        parameters = theirs.played(member, plugin)
        assert 1e-5 < theirs.importances(plugin).max() < 1e-3
        return parameters

    assert_alike("class", members, play)


@pytest.mark.parametrize(("scenario", "strength", "alpha"), [("task", None, 1.0), ("domain", 0.7, 0.7), ("class", 0.7, 0.7)])
def test_learning_without_forgetting(theirs, scenario, strength, alpha):
    members = recorded(scenario, LwF(strength=strength, temperature=2.0, units="old"))
    assert_alike(scenario, members, lambda member: theirs.played(member, theirs.LwFPlugin(alpha, 2.0)))


def assert_alike_in_projecting(scenario, members, plugin_of, played):
    """As :func:`assert_alike`, having projected, and but for class-incremental steps not always."""
    projected = []

    def play(member):
        plugin = plugin_of(member)
        parameters = played(member, plugin)
        projected.extend(plugin.projected)
        return parameters

    assert_alike(scenario, members, play)
    assert True in projected
    assert False in projected or scenario == "class"


@everywhere
def test_averaged_gradient_episodic_memory(theirs, scenario):
    members = recorded(scenario, AGEM(per_class=4, reference=5))
    assert_alike_in_projecting(scenario, members, theirs.AGEM, theirs.played)


@everywhere
def test_gradient_episodic_memory(theirs, scenario):
    members = recorded(scenario, GEM(per_task=6, memory_strength=0.5, ridge=1e-3))
    assert_alike_in_projecting(scenario, members, lambda member: theirs.GEM(member, 0.5), theirs.played)


def kept_logits(learner):
    """Those of the first draw, and whether there was anything to draw from."""
    (der,) = learner.strategies
    first = der.slots[:, : der.count, None]
    return {"logits": der.logits.gather(1, first.expand(-1, -1, der.logits.shape[2])), "filled": der.store.seen > 0}


def play_der(theirs, member, beta):
    draws = theirs.GivenDraws(member)
    return theirs.played(member, draws, strategy=theirs.DER, alpha=0.4, beta=beta, batch_size_mem=draws.count)


@pytest.mark.parametrize("scenario", UNTOLD)
def test_dark_experience_replay(theirs, scenario):
    members = recorded(scenario, DER(memory=20, alpha=0.4, replay=3), note=kept_logits)
    assert_alike(scenario, members, lambda member: play_der(theirs, member, 0.0))


@pytest.mark.parametrize("scenario", UNTOLD)
def test_dark_experience_replay_with_labels(theirs, scenario, monkeypatch):
    def one_draw(keys, clock, count, below):
        """For both terms, as theirs has it."""
        return integers(keys, clock, count // 2, below).repeat(1, 2)

    monkeypatch.setattr(strategies.der, "integers", one_draw)
    members = recorded(scenario, DERpp(memory=20, alpha=0.4, beta=0.5, replay=3), note=kept_logits)
    assert_alike(scenario, members, lambda member: play_der(theirs, member, 0.5))


# --- what differs on purpose -------------------------------------------------------------------------------------------

BATCHED = {"fisher": "batched", "factor": 1.0, "strength": 30.0}


@pytest.mark.parametrize(
    ("make", "play"),
    [
        (lambda: EWC(**BATCHED | {"factor": 0.5}), lambda theirs, m: theirs.played(m, theirs.EWCPlugin(30.0))),
        (lambda: EWC(**BATCHED | {"fisher": "exact"}), lambda theirs, m: theirs.played(m, theirs.EWCPlugin(30.0))),
        (
            lambda: EWC(**BATCHED | {"mode": "online", "gamma": 0.5}),
            lambda theirs, m: theirs.played(m, theirs.EWCPlugin(30.0, "online", 0.5)),
        ),
        (lambda: SI(strength=3.0, path="loss"), lambda theirs, m: theirs.played(m, theirs.SI(6.0, 0.1))),
        (lambda: LwF(), lambda theirs, m: theirs.played(m, theirs.LwFPlugin(1.0))),
        (lambda: GEM(per_task=6), lambda theirs, m: theirs.played(m, theirs.GEM(m, 0.5))),
        (lambda: DERpp(memory=20, alpha=0.4, replay=3), lambda theirs, m: play_der(theirs, m, 0.5)),
    ],
    ids=["ewc-factor", "ewc-fisher", "ewc-online", "si-path", "lwf-strength", "gem-ridge", "derpp-draws"],
)
def test_what_differs_on_purpose(theirs, make, play):
    strategy = make()
    members = recorded("domain", strategy, note=kept_logits if isinstance(strategy, DER) else lambda learner: {})
    apart = max(gap(member.parameters, play(theirs, member)) for member in members)
    print(f"{apart:.1e} apart")
    assert apart > 10 * TOLERANCE
