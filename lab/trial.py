"""What is refused before a run leaves anything behind: parts that do not fit each other, tried once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lab import engine as engines
from lab.averaging import Averaging
from lab.company import moves
from lab.config import build
from lab.consistency import refuse_contradictions, refuse_unsayable
from lab.errors import UserError, invalid, require
from lab.learner import overrides
from lab.optimizers import StackedOptimizer
from lab.plan import LONGEST_BLOCK, Plan, why_in_turn
from lab.protocols import Method, Stream
from lab.stream import first_of
from lab.training import trainer_of

if TYPE_CHECKING:
    from lab.experiment import Experiment


def stream_for(experiment: Experiment, seed: int) -> Stream:
    """A member's stream, announced as the order leaves it and rewritten by the strategies, each of which it must serve."""
    config, data = experiment.config, experiment.environment.data
    stream = experiment.order.unbounded(first_of(experiment.environment.stream(seed), config["first_tasks"]))
    none = "this environment announces no boundaries"
    none = "order.over=stream leaves no boundaries" if config["order"].get("over") == "stream" else none
    for strategy in experiment.strategies():
        kind = strategy.title
        if stream.scenario not in strategy.scenarios:
            raise UserError(f"environment.scenario={stream.scenario}: {kind} serves {', '.join(strategy.scenarios)}")
        if strategy.needs_classes and data.train.targets.dim() != 1:
            name = data.name
            raise UserError(f"environment.source={name}: {kind} needs one class label an example, and these have one a token")
        if strategy.needs_boundaries and not all(phase.announced for phase in stream.phases):
            raise UserError(f"strategy: {kind} must be told when a task ends, and {none}")
        if strategy.needs_rules and not stream.rules:
            raise UserError(f"strategy: {kind} needs rules about the outputs, and this environment has none; see docs/rules.md")
        strategy.check(stream, data)
        rewritten = strategy.rewrite(stream, data, seed)
        _refuse_reset(experiment, strategy, stream, rewritten)
        stream = rewritten
    if config["reset_optimizer"] and not all(phase.announced for phase in stream.phases):
        raise UserError(f"reset_optimizer=true: {none} at which to reset")
    if (stream.prequential or stream.one_pass) and (config["epochs"], config["steps"]) != (1, None):
        given = f"epochs={config['epochs']}, steps={config['steps']}"
        raise UserError(f"{given}: this environment is one pass over its data; expected epochs=1 steps=null")
    if config["evaluation"]["split"] == "validation" and not all(len(task.validation) for task in stream.tasks):
        raise UserError(f"evaluation.split=validation: no data are held out; {_how_to_hold_out(experiment)}")
    return stream


def _refuse_reset(experiment: Experiment, strategy: Method, stream: Stream, rewritten: Stream) -> None:
    """Refuse a stream that resets the weights to who would not see it done, or would undo it."""
    if not any(phase.fresh for phase in stream.phases):
        return
    told = f"environment: resets the weights in the middle of the stream, and {strategy.title}"
    if experiment.engine:
        raise UserError(f"{told} trains by a loop of its own, which does not; expected a strategy of the lab")
    if [phase.fresh for phase in rewritten.phases] != [phase.fresh for phase in stream.phases]:
        raise UserError(f"{told} trains on a stream of its own, in which that is lost; expected another strategy")
    if moves(strategy):
        raise UserError(f"{told} sets or holds parameters itself; expected another strategy")
    if not all(phase.announced for phase in stream.phases):
        raise UserError("order.over=stream: leaves no boundary at which to reset the weights; expected task")


def _how_to_hold_out(experiment: Experiment) -> str:
    """What to set for data to be held out."""
    key = validation_key(experiment.config["environment"])
    return f"set {key} above 0" if key else "this environment can hold none out"


def validation_key(environment: dict) -> str | None:
    """The key of the share of training data that an environment's node holds out: its own, or that of the one it is made from;
    None where it has none."""
    key, node = "environment", environment
    while "validation" not in node and isinstance(node.get("base"), dict):
        key, node = f"{key}.base", node["base"]
    return f"{key}.validation" if "validation" in node else None


def refuse_loss(experiment: Experiment) -> None:
    """Refuse to measure a loss of answers that are no logits, say distances to means."""
    for name, strategy in zip(experiment.config["strategy"], experiment.strategies(), strict=True):
        scores = not experiment.engine and overrides(strategy, "predict") and not strategy.predicts_logits
        if experiment.config["evaluation"]["loss"] and scores:
            reason = f"{name} answers by scores of its own, which are not known to be logits and have no cross-entropy"
            raise UserError(f"evaluation.loss=true: {reason}; expected false")


def try_parts(experiment: Experiment) -> None:
    """Build once what would otherwise be refused only after the run directory is made."""
    refuse_contradictions(experiment.streams[0], experiment.environment.data)
    refuse_unsayable(experiment.streams[0], experiment.environment.data)
    _try_network(experiment)
    tried = build("optimizer", experiment.config["optimizer"], {"": torch.nn.Parameter(torch.zeros(len(experiment.seeds), 1))})
    if not isinstance(tried, StackedOptimizer):
        expected = "a lab.optimizers.StackedOptimizer, which steps all members and lets them rest"
        raise invalid("optimizer._target_", experiment.config["optimizer"]["_target_"], expected)
    _try_averaging(experiment, experiment.averaging(list(range(len(experiment.seeds)))))
    if experiment.engine:
        engines.try_out(experiment)
    trainer_of(experiment.trainer_options, [])


def _try_network(experiment: Experiment) -> None:
    """Refuse a network that does not answer two examples with a logit for each output unit."""
    inputs, outputs = _two_examples(experiment), experiment.streams[0].outputs
    network = experiment.make_network().eval()
    given = f"{type(network).__name__} on inputs of shape {list(inputs.shape)}"
    given += "" if inputs.is_floating_point() else f" with tokens up to {int(inputs.max())}"
    try:
        with torch.no_grad():
            logits = network(inputs)
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        _refuse_tokens(experiment.config["network"].get("vocabulary"), inputs)
        raise UserError(f"network: {given} fails ({str(error).splitlines()[0]})") from None
    shape = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    expected = [len(inputs), *experiment.environment.data.train.targets.shape[1:], outputs]
    if shape != expected:
        raise invalid("network", given, f"logits of shape {expected}, not {shape}")
    why_in_turn(experiment.wish, experiment.make_network, inputs, experiment.device)


def _refuse_tokens(vocabulary: int | None, inputs: torch.Tensor) -> None:
    """Refuse a vocabulary that lacks tokens of the inputs, where a network was told one."""
    tokens = 0 if inputs.is_floating_point() else 1 + int(inputs.max())
    if vocabulary is not None:
        require(tokens <= vocabulary, "network.vocabulary", vocabulary, f"at least {tokens}, as many as the data have tokens")


def _two_examples(experiment: Experiment) -> torch.Tensor:
    """Two training examples as a network is shown them; where they are tokens, the largest of all data among them."""
    data = experiment.environment.data
    inputs = data.train.inputs[:2]
    if inputs.dtype == torch.uint8 or inputs.is_floating_point():
        return inputs / 255 if inputs.dtype == torch.uint8 else inputs
    return inputs + (max(int(split.inputs.max()) for split in (data.train, data.test)) - inputs.max())


def _try_averaging(experiment: Experiment, averaging: Averaging) -> None:
    """Refuse an average, and with the course a schedule, that does not fit the run or its strategies."""
    averaging.check(experiment.course_at_random())
    for name, strategy in zip(experiment.config["strategy"], experiment.strategies(), strict=True):
        if averaging.averages and not experiment.engine and overrides(strategy, "predict"):
            told = f"strategy={name} answers by what it keeps of the weights as they are; expected averaging=none"
            raise UserError(f"averaging: {told}")
        over = experiment.config["averaging"].get("over", "task")
        if averaging.averages and over != "task" and any(phase.fresh for phase in experiment.streams[0].phases):
            told = "this environment resets the weights, and an average across that is of neither network"
            raise UserError(f"averaging.over={over}: {told}; expected task, or averaging=none")
        if averaging.averages and not experiment.engine and over != "task" and moves(strategy):
            told = f"strategy={name} sets weights itself (new networks, new units), and an average across that is of neither"
            raise UserError(f"averaging.over={over}: {told}; expected task, or averaging=none")


def try_strategies(experiment: Experiment) -> None:
    """Set the strategies up for the first member: what they refuse only there is to leave no run directory.

    Only before a run begins, which does the same for every member: a method whose memory is large takes its time.
    """
    if not experiment.engine and any(overrides(strategy, "setup") for strategy in experiment.strategies()):
        experiment.learner([0], Plan(False, 1, 1, LONGEST_BLOCK, why="a trial"))
