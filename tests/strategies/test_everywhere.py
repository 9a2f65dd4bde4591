"""Property 4: every strategy works in every environment it claims, both found in the configuration, and resumes inside an
epoch there with the same bits."""

import numpy as np
import pytest
import torch
import yaml

from lab.config import CONF, build
from lab.errors import UserError
from lab.experiment import Experiment
from lab.plan import Plan
from lab.progress import Progress
from lab.protocols import SCENARIOS, Strategy
from lab.results import load
from lab.testing import composed, shipped
from lab.testing.miniature import checkpoint, fit, restored
from lab.testing.sentences import write_sick, write_snips

STRATEGIES = shipped(Strategy)
FILES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((CONF / "environment").glob("*.yaml"))}
ENVIRONMENTS = [name for name, node in FILES.items() if "_target_" in node]  # others are one of these with another option
RUN = ("seeds=2", "tracking=off", "batch_size=9", "epochs=1")
SMALL = (*RUN, "network.width=8", "network.depth=1")
SENTENCES = {
    "nli": ("network=pair_bag", "network.width=8", "environment.by=rule"),
    "slots": ("network=encoder", "network.width=8", "network.depth=1", "network.heads=2", "environment.by=intent",
              "environment.source.length=6", "batch_size=2", "optimizer.lr=0.01"),
    "transduction": ("network=encoder_decoder", "network.width=8", "environment.by=length", "environment.tasks=2",
                     "environment.longest=5", "environment.train=30", "environment.test=9"),
    "motif_families": ("network=pathways_small", "network.width=8", "network.heads=2", "network.slots=4", "network.kept=4",
                       "environment.tasks=[A1,B1]", "environment.length=12", "environment.train=30", "environment.test=8",
                       "environment.motifs=2", "environment.planted=[1,1]"),
}  # fmt: skip
"""Environments of sentences, which have data of their own, and the networks that read them."""
IN_SETUP = {
    "gpm": (tuple(SENTENCES), "linear layers and of convolutions"),
    "continual_backprop": (tuple(SENTENCES), "perceptrons|no activation modules"),
    "xdg": (tuple(SENTENCES), "gates layers of hidden units"),
    "pheromone": (("nli", "slots", "transduction"), "lays its fields between groups of units"),
    "ewc": (("slots", "transduction"), "expected another estimator"),
}
"""Strategies that cannot take these networks, or several labels an example, and say so when they are set up."""
NOT_ACROSS_A_RESET = (
    "continual_backprop", "from_scratch", "frozen", "gdumb", "joint", "separate", "shrink_perturb", "slda",
)  # fmt: skip
"""Strategies that set or hold parameters, or train on a stream of their own, where weights begin anew in the middle."""


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """Small images of four classes, and for environments that refuse them a table in order of time; as words."""
    draw, folder = np.random.default_rng(0), tmp_path_factory.mktemp("sources")
    images = {f"x_{split}": draw.integers(0, 256, (n, 1, 8, 8), np.uint8) for split, n in (("train", 80), ("test", 16))}
    labels = {f"y_{split}": np.arange(n) % 4 for split, n in (("train", 80), ("test", 16))}
    np.savez(folder / "images.npz", **images, **labels)
    np.savez(folder / "table.npz", x=draw.normal(size=(100, 3)).astype(np.float32), y=np.arange(100) % 2)
    return [
        ("environment.source=arrays", f"environment.source.path={folder / 'images.npz'}"),
        ("environment.source=table", f"environment.source.path={folder / 'table.npz'}"),
    ]


REFUSED = r"serves|must be told|one task at a time|needs rules|needs one class label|resets the weights in the middle"


def innermost(node):
    return innermost(node["base"]) if "base" in node else node


@pytest.fixture(scope="session")
def sentences(tmp_path_factory):
    """Sentences made up, as the word that tells where."""
    folder = tmp_path_factory.mktemp("sentences")
    write_sick(folder)
    write_snips(folder)
    return f"data.dir={folder}"


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def configuration(request, sources, sentences):
    """The environment's configuration, with two tasks over the first source that serves."""
    if request.param in SENTENCES:
        return composed(f"environment={request.param}", *RUN, *SENTENCES[request.param], sentences)
    plain = composed(f"environment={request.param}", *SMALL)
    base = "environment.base" if "base" in plain["environment"] else "environment"
    for words in sources:
        own = [word.replace("environment", base, 1) for word in words]
        config = composed(f"environment={request.param}", *own, f"{base}.tasks=2", *SMALL)
        inner = innermost(config["environment"])
        inner.update({"samples": 40} if "samples" in inner else {})
        try:
            build("environment", config["environment"])
        except UserError as error:
            assert "environment.source=" in str(error)  # noqa: PT017
        else:
            return config
    return pytest.fail(f"no small source serves {request.param}")


def versions(config):
    """The configuration in each scenario that its environment has."""
    inner = innermost(config["environment"])
    before = inner.get("scenario")
    for scenario in SCENARIOS if before else [None]:
        if before:
            inner["scenario"] = scenario
        yield config
    if before:
        inner["scenario"] = before


def members(experiment):
    return experiment.learner([0, 1], Plan(True, 1, 1, block=3, why="a test"))


def test_both_are_found():
    assert {"naive", "er", "joint", "cumulative"} <= set(STRATEGIES)
    assert {"permuted", "split", "rotated", "online", "blurry", "drift", "power_law"} <= set(ENVIRONMENTS)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_serves_where_it_claims_and_is_refused_elsewhere(configuration, strategy):
    config = configuration | {"strategy": composed(f"strategy={strategy}")["strategy"]}
    name = config["environment"]["_target_"].split(".")[1]
    for version in versions(config):
        environment = build("environment", version["environment"])
        stream = environment.stream(0)
        (made,) = (build(name, node) for name, node in version["strategy"].items())
        told = all(phase.announced for phase in stream.phases)
        mixed = any(len(phase.tasks.unique()) > 1 for phase in stream.phases)
        alone = strategy == "separate" and mixed
        without = made.needs_rules and not stream.rules
        many = made.needs_classes and environment.data.train.targets.dim() > 1
        reset = strategy in NOT_ACROSS_A_RESET and any(phase.fresh for phase in stream.phases)
        if stream.scenario not in made.scenarios or (made.needs_boundaries and not told) or alone or without or many or reset:
            with pytest.raises(UserError, match=REFUSED):
                Experiment(version)
        elif name in IN_SETUP.get(strategy, ((), ""))[0]:
            with pytest.raises(UserError, match=IN_SETUP[strategy][1]):
                members(Experiment(version))
        else:
            serves(Experiment(version))


@pytest.mark.slow
@pytest.mark.parametrize("other", ["er", "ewc"])
def test_pheromone_serves_beside_others_on_every_stream(configuration, other):
    if configuration["environment"]["_target_"].split(".")[1] in IN_SETUP["pheromone"][0]:
        pytest.skip("whose networks have neither slots nor units in a row")
    config = configuration | {"strategy": composed(f"strategy=[{other},pheromone]")["strategy"]}
    for version in versions(config):
        if other == "er" or all(p.announced for p in build("environment", version["environment"]).stream(0).phases):
            serves(Experiment(version))


def serves(experiment):
    """A run ends with finite results, and one resumed inside an epoch with the same bits."""
    whole, stopped, resumed = (members(experiment) for _ in range(3))
    fit(whole)
    assert whole.course.total > 4
    assert whole.population.finite().all()
    assert not (whole.diverged_at >= 0).any()
    assert not whole.evaluation.accuracy[:, -1].isnan().any()
    assert whole.clock.tolist() == [sum(lengths[m] for lengths in whole.course.lengths) for m in range(2)]
    inside = next(n for n, span in enumerate(whole.course.spans) if n and not span.begins)
    fit(resumed, restored(resumed, checkpoint(stopped, fit(stopped, until=inside))))
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0, equal_nan=True)


def test_an_engine_serves_where_it_claims_and_is_refused_elsewhere(configuration, tmp_path):
    """By whole runs, with finite results."""
    pytest.importorskip("avalanche")
    config = configuration | {"paths": {"runs": str(tmp_path)}, "plan": configuration["plan"] | {"processes": 1}}
    for version in versions(config):
        environment = build("environment", version["environment"])
        phases = environment.stream(0).phases
        told = all(phase.announced for phase in phases)
        if environment.data.train.targets.dim() > 1 or any(phase.fresh for phase in phases):
            with pytest.raises(UserError, match=REFUSED):
                Experiment(version | {"strategy": composed("strategy=avalanche")["strategy"]})
            continue
        engine = composed("strategy=avalanche", *([] if told else ["strategy.experiences=batch"]))["strategy"]
        if not told:
            with pytest.raises(UserError, match="announces no boundaries"):
                Experiment(version | {"strategy": composed("strategy=avalanche")["strategy"]})
        results = load(Experiment(version | {"strategy": engine}).run(Progress("a test", show=False)))
        assert not np.isnan(results.accuracy[:, -1]).any()
        assert (results.online_accuracy is not None) == environment.stream(0).prequential
