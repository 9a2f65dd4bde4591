"""From a composed configuration to checked plain values, parts and digests."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.errors import LARGEST, UserError, invalid, number, one_of, whole

if TYPE_CHECKING:
    from lab.protocols import Data

_HERE = Path(__file__).resolve().parent
CONF = next(path for path in (_HERE / "conf", _HERE.parent / "conf") if path.is_dir())

OWN_PACKAGES = ("lab", "strategies", "environments")


def allowed_packages() -> tuple[str, ...]:
    """Packages that `_target_` may name: the lab's own and those in LAB_PACKAGES (comma-separated), never the YAML's choice."""
    extra = [name.strip() for name in os.environ.get("LAB_PACKAGES", "").split(",")]
    return (*OWN_PACKAGES, *filter(None, extra))


def locate(key: str, target: str) -> Any:
    """The object that ``target`` names, if its own module lies in an allowed package."""
    allowed = allowed_packages()
    package = str(target).split(".")[0]
    if package not in allowed:
        raise invalid(f"{key}._target_", target, f"something in {', '.join(allowed)}; name your own packages in LAB_PACKAGES")
    if package not in OWN_PACKAGES and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # the user's package may lie in the folder that the command is given in
    module, _, name = str(target).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{key}._target_={target}: cannot be imported ({error})") from None
    home = getattr(found, "__module__", "").split(".")[0]
    if home not in allowed or not callable(found):
        raise invalid(f"{key}._target_", target, f"a class or function of {', '.join(allowed)}")
    return found


def build(key: str, node: dict, *args: Any, **extra: Any) -> Any:
    """Instantiate a configuration node and the nodes within it; errors name the key.

    A class says in ``factories`` which of its arguments it wants as functions yet to be called (with more arguments, maybe
    several times), where a node gives them.
    """
    if "_target_" not in node:
        raise UserError(
            f"{key}: has no _target_, so there is nothing to build; is a name misspelt, or was its group overridden?"
        )
    target = locate(key, node["_target_"])
    made = _parts(key, node, getattr(target, "factories", ()))
    try:
        inspect.signature(target).bind(*args, **made, **extra)
    except TypeError as error:
        raise UserError(f"{key}: {error}; {node['_target_']} takes {', '.join(inspect.signature(target).parameters)}") from None
    try:
        return target(*args, **made, **extra)
    except UserError as error:
        raise UserError(_in_place(str(error), key)) from None


def build_network(node: dict, data: Data, outputs: int) -> Any:
    """The network that a node describes, for examples of these data; one that takes a ``layout`` is told the data's."""
    told = {"shape": tuple(data.train.inputs.shape[1:]), "outputs": outputs}
    if "_target_" in node and "layout" in inspect.signature(locate("network", node["_target_"])).parameters:
        told["layout"] = data.layout
    return build("network", node, **told)


def _parts(key: str, node: dict, factories: tuple[str, ...] = ()) -> dict[str, Any]:
    """The arguments that a node gives, the nodes among them instantiated, or as functions that would do it."""
    made = {}
    for name, value in node.items():
        place = f"{key}.{name}"
        if not isinstance(value, dict) or "_target_" not in value:
            made[name] = value
        elif name in factories:
            made[name] = partial(locate(place, value["_target_"]), **_parts(place, value))
        else:
            made[name] = build(place, value)
    del made["_target_"]
    return made


def _in_place(message: str, key: str) -> str:
    """A message of an environment or source that does not know that it is the inner one of another."""
    inner = re.match(r"environment(\.base)+(?=\.source$|$)", key)
    return message.replace("environment.", f"{inner[0]}.", 1) if inner and message.startswith("environment.") else message


def seeds_of(given: Any) -> list[int]:
    """The seeds that `seeds=` names: a count, or a list."""
    if isinstance(given, list):
        sound = (
            given
            and all(isinstance(s, int) and not isinstance(s, bool) and s >= 0 for s in given)
            and len(set(given)) == len(given)
        )
        if not sound:
            raise invalid("seeds", given, "a count, or a list of different whole numbers from 0 on")
        return given
    return list(range(whole("seeds", given, 1)))


def check(config: dict) -> None:
    """Refuse values that no part would refuse by itself, before anything is built."""
    one_of("outputs", config["outputs"], ("all", "seen", "current"))
    one_of("evaluation.split", config["evaluation"]["split"], ("test", "validation"))
    one_of("evaluation.tasks", config["evaluation"]["tasks"], ("all", "log_lags"))
    whole("batch_size", config["batch_size"], 1)
    for key, value in (("epochs", config["epochs"]), ("steps", config["steps"])):
        if value is not None:
            whole(key, value, 1)
    if config["first_tasks"] is not None:
        whole("first_tasks", config["first_tasks"], 1)
    whole("evaluation.constrained", config["evaluation"]["constrained"], 0)
    number("evaluation.criterion", config["evaluation"]["criterion"], 0, 1)
    if config["epochs"] is None and config["steps"] is None:
        raise UserError("epochs=null, steps=null: one of them must say how long a task is trained")
    for section, name in (
        ("evaluation", "every"),
        ("evaluation", "samples"),
        ("evaluation", "batch"),
        ("evaluation", "at_most"),
        ("checkpoint", "every"),
        ("trainer", "max_steps"),
    ):
        if config[section][name] is not None:
            whole(f"{section}.{name}", config[section][name], 1)
    clip = config["clip"]
    if clip is not None and not (isinstance(clip, (int, float)) and not isinstance(clip, bool) and 0 < clip <= LARGEST):
        raise invalid("clip", clip, "a finite number above 0, or null")
    switches = {"reset_optimizer": config["reset_optimizer"], "data.download": config["data"]["download"]}
    for key, value in (switches | {"evaluation.loss": config["evaluation"]["loss"]}).items():
        if not isinstance(value, bool):
            raise invalid(key, value, "true or false")
    check_trainer(config["trainer"])
    check_plan(config["plan"])
    if not config.get("strategy"):
        raise UserError("strategy=[]: expected at least one; strategy=naive is plain training")
    for name, node in config["strategy"].items():
        if not isinstance(node, dict) or "_target_" not in node:
            raise UserError(
                f"strategy.{name}: given, but strategy={name} is not among the strategies; "
                f"add it (strategy=[...,{name}]) or leave its settings out"
            )


def check_plan(plan: dict) -> None:
    """Refuse wishes about the plan that none could fulfil."""
    if plan["block"] != "auto":
        whole("plan.block", plan["block"], 1)
    if plan["stack"] not in ("auto", True, False):
        raise invalid("plan.stack", plan["stack"], "auto, true or false")
    if plan["processes"] != "auto" and (
        isinstance(plan["processes"], bool) or not isinstance(plan["processes"], int) or plan["processes"] < 1
    ):
        raise invalid("plan.processes", plan["processes"], "auto or a whole number from 1 on")


INSTEAD = {
    "accumulate_grad_batches": "batch_size",
    "barebones": "trainer.enable_progress_bar=false and tracking=off",
    "default_root_dir": "paths.runs",
    "devices": "plan.processes: a population is split by member",
    "enable_checkpointing": "checkpoint.every",
    "fast_dev_run": "trainer.max_steps, or steps",
    "gradient_clip_algorithm": "clip, each member's own norm",
    "gradient_clip_val": "clip, each member's own norm",
    "limit_test_batches": "evaluation.samples and evaluation.tasks",
    "limit_train_batches": "steps, or trainer.max_steps to stop early",
    "limit_val_batches": "evaluation.samples and evaluation.tasks",
    "log_every_n_steps": "evaluation.every: steps between points of the curves",
    "logger": "tracking",
    "max_epochs": "epochs",
    "max_time": "trainer.max_steps",
    "min_epochs": "epochs",
    "min_steps": "steps",
    "num_nodes": "plan.processes: a population is split by member",
    "num_sanity_val_steps": "nothing instead: accuracy is measured before training in any case",
    "overfit_batches": "steps",
    "plugins": "plan and checkpoint",
    "reload_dataloaders_every_n_epochs": "a strategy that rewrites the stream",
    "strategy": "plan.processes: a population is split by member",
    "sync_batchnorm": "network.norm",
    "use_distributed_sampler": "plan.processes: a population is split by member",
    "val_check_interval": "evaluation.every",
    "check_val_every_n_epoch": "evaluation.every",
}
"""Options of Lightning's Trainer that would do nothing to a population, or something else than they say, and the lab's own."""


def check_trainer(options: dict) -> None:
    """Refuse Trainer options that have no meaning here; the others are passed on to Lightning."""
    for name, value in options.items():
        if name in INSTEAD:
            raise UserError(f"trainer.{name}={value}: not here; use {INSTEAD[name]}")
    if not isinstance(options["enable_progress_bar"], bool):
        raise invalid("trainer.enable_progress_bar", options["enable_progress_bar"], "true or false")


def refuse_duplicates(overrides: list[str]) -> None:
    """`strategy=[er,er]` would silently be one ER, by itself and as an element of a sweep."""
    for override in overrides:
        if override.startswith("strategy="):
            for names in elements(override):
                if isinstance(names, list) and len(set(map(str, names))) < len(names):
                    raise UserError(f"{override}: names a strategy twice")


def elements(override: str) -> list[Any]:
    """The values that an override gives its key, one after the other under `-m`."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create()
    parsed = parser.parse_override(override)
    if not parsed.is_choice_sweep():
        return [parsed.value()]
    key = parsed.get_key_element()
    return [parser.parse_override(f"{key}={element}").value() for element in parsed.sweep_string_iterator()]


def nearest(word: str, words: list[str]) -> str:
    """A sentence about the names nearest to a misspelt one."""
    close = difflib.get_close_matches(word, words, 1)
    return f"Did you mean {close[0]}? " if close else ""
