"""`lab run`: the Hydra application around :mod:`lab.experiment`."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from lab.config import CONF, refuse_duplicates
from lab.errors import UserError

OK, OURS, USERS = 0, 1, 2


def main(arguments: list[str]) -> int:
    """Run the cells that the overrides name; 0 done, 2 the user's mistake, 1 anything else."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    statuses: list[int] = []

    def job(composed: Any) -> None:
        statuses.append(_job(composed))

    try:
        sys.argv[1:] = overrides(arguments)
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        return _say(error, USERS)
    return max(statuses, default=OK)


def overrides(arguments: list[str]) -> list[str]:
    """The user's words as Hydra takes them: a source is a group (`environment.source=mnist` names a file of it), and folders
    in LAB_CONFIG (colon-separated) are searched for the user's own configuration files."""
    refuse_duplicates(arguments)
    words = [re.sub(r"^(environment)\.source=(?=[\w,]+$)", r"\1/source=", word) for word in arguments]
    own = [f"file://{Path(folder).expanduser().resolve()}" for folder in os.environ.get("LAB_CONFIG", "").split(":") if folder]
    return [*words, f"hydra.searchpath=[{','.join(own)}]"] if own else words


def _job(composed: Any) -> int:
    """One cell: prints its run directory on standard output."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        config = OmegaConf.to_container(composed, resolve=True)
        print(execute(config), flush=True)
        return OK
    except (UserError, OmegaConfBaseException) as error:
        return _say(error, USERS)
    except OSError as error:
        return _say(f"{error.filename or 'paths.runs'}: {error.strerror or error}; what was checkpointed is kept, the same command goes on", OURS)
    except Exception as error:
        from lab.experiment import Incomplete

        if not isinstance(error, Incomplete):
            raise
        return _say(error, OURS)


def execute(config: dict[str, Any], show: bool = True) -> Path:
    """Train a cell, draw its figures and track it; the run directory."""
    from lab.experiment import Experiment
    from lab.progress import Progress
    from lab.report.figures import write_run_figures
    from lab.report.summary import cell_name, print_table
    from lab.results import load

    experiment = Experiment(config)
    done = (experiment.folder / "results.json").exists()
    with Progress(cell_name(config), show) as progress:
        folder = experiment.run(progress)
    results = load(folder)
    if not done:
        write_run_figures(results, folder)
    track(folder, config["tracking"])
    if show:
        print_table([(cell_name(config), results)])
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
