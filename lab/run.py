"""`lab run`: the Hydra application around :mod:`lab.experiment`."""

from __future__ import annotations

import os
import re
import sys
import traceback
from pathlib import Path
from typing import Any

from lab.config import CONF, nearest, refuse_duplicates
from lab.errors import UserError

OK, OURS, USERS = 0, 1, 2


def main(arguments: list[str]) -> int:
    """Run the cells that the overrides name; 0 done, 2 the user's mistake, 1 anything else."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    statuses: list[int] = []

    def job(composed: Any) -> None:
        statuses.append(_job(composed))

    try:
        sys.argv[1:] = overrides(arguments)
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()
    except (UserError, HydraException, OmegaConfBaseException, YAMLError, ValueError) as error:
        return _say(explained(error), USERS)
    except OSError as error:
        return _say(f"{error.filename or 'paths.runs'}: {error.strerror or error}", USERS)
    except KeyboardInterrupt:
        return _say("interrupted; the same command goes on from the newest checkpoint", OURS)
    return max(statuses, default=OK)


def overrides(arguments: list[str]) -> list[str]:
    """The user's words as Hydra takes them: a source and a wrapped environment are groups (`environment.source=mnist` and
    `environment.base=split` name a file of theirs), and folders in LAB_CONFIG (colon-separated) are searched for the user's
    own configuration files."""
    refuse_duplicates(arguments)
    place = r"^(?:environment/(?:source|base)@)?(environment[.\w]*\.(source|base))=(?=[\w,]+$)"
    words = [re.sub(place, _group, word) for word in arguments]
    folders = [Path(folder).expanduser().resolve() for folder in os.environ.get("LAB_CONFIG", "").split(":") if folder]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"LAB_CONFIG: there is no folder {folder}")
    own = [f"file://{folder}" for folder in folders]
    # Hydra's parser takes the overrides in one piece only: flags go first, wherever they were typed.
    flags = [word for word in words if word.startswith("-") or not re.search("^~|=", word)]
    rest = [word for word in words if word not in flags]
    return [*flags, *rest, *([f"hydra.searchpath=[{','.join(own)}]"] if own else [])]


def _group(found: re.Match) -> str:
    """`environment.base.source=` as `environment/source@environment.base.source=`; Hydra refuses to hear where a group lies
    that lies where its name says."""
    place, group = found[1], f"environment/{found[2]}"
    return f"{group}=" if place == group.replace("/", ".") else f"{group}@{place}="


def explained(error: Exception) -> str:
    """Hydra's and OmegaConf's messages with the nearest name that there is, where one was misspelt."""
    text = str(error)
    option = re.search(r"Could not find '([^']+)/([^'/]+)'\s+Available options in '[^']+':\s+([\s\S]*)", text)
    if option:
        names = option[3].split("Config search path")[0].split()
        return f"{option[1]}={option[2]}: there is none. {nearest(option[2], names)}Possible: {', '.join(names)}"
    key = re.search(r"Could not override '([^']+)'", text)
    if key:
        known = _known_keys(key[1])
        return f"{key[1]}: there is no such key. {nearest(key[1], known)}`lab run --cfg job` shows all of them."
    return text


def _known_keys(wrong: str) -> list[str]:
    """The dotted keys of the configuration that the command line's groups give, to suggest one for ``wrong``."""
    from hydra import compose
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    groups = [word for word in sys.argv[1:] if "=" in word and "." not in word.split("=")[0] and not word.startswith("-")]
    try:
        if not GlobalHydra.instance().is_initialized():
            from hydra import initialize_config_dir

            initialize_config_dir(str(CONF), version_base="1.3")
        composed = OmegaConf.to_container(compose("config", groups))
    except (HydraException, ValueError):
        return []
    return list(_dotted(composed))


def _dotted(node: Any, prefix: str = "") -> Any:
    for key, value in node.items() if isinstance(node, dict) else ():
        yield f"{prefix}{key}"
        yield from _dotted(value, f"{prefix}{key}.")


def _job(composed: Any) -> int:
    """One cell: prints its run directory on standard output. Its failure is its own: under `-m` the others still run."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        print(execute(OmegaConf.to_container(composed, resolve=True)), flush=True)
        return OK
    except (UserError, OmegaConfBaseException) as error:
        return _say(error, USERS)
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the first into the second
        raise KeyboardInterrupt from None
    except OSError as error:
        where, what = error.filename or "paths.runs", error.strerror or error
        return _say(f"{where}: {what}; what was checkpointed is kept, the same command goes on", OURS)
    except Exception as error:
        from lab.experiment import IncompleteError
        from lab.workers import WorkerError

        if not isinstance(error, (IncompleteError, WorkerError)):
            traceback.print_exc()
        return _say(error, OURS)


def execute(config: dict[str, Any], table: bool = True) -> Path:
    """Train a cell, draw its figures and track it; the run directory."""
    from lab.experiment import Experiment
    from lab.progress import Progress
    from lab.report.figures import write_run_figures
    from lab.report.summary import cell_name, print_table
    from lab.results import load
    from lab.tracking import check, imported_meanwhile

    if config["tracking"]["enabled"]:
        check(config["tracking"])
    experiment = Experiment(config)
    name, shown = cell_name(config), config["trainer"]["enable_progress_bar"]
    with imported_meanwhile(config["tracking"]) as meanwhile, Progress(name, shown, meanwhile) as progress:
        folder = experiment.run(progress)
    results = load(folder)
    write_run_figures(results, folder)
    track(folder, config["tracking"])
    if table:
        print_table([(name, results)])
    return folder


def track(folder: Path, settings: dict[str, Any]) -> None:
    """Publish a run where tracking is on; a store that does not answer costs a warning, never the run."""
    if settings["enabled"]:
        from lab.tracking import publish

        warning = publish(folder, settings)
        if warning:
            print(f"lab: {warning}", file=sys.stderr)


def _say(error: object, status: int) -> int:
    """One sentence for the user."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    print("lab: " + " ".join(lines), file=sys.stderr)
    return status
