"""`lab run`: the Hydra application around :mod:`lab.experiment`."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.config import CONF, check, elements, nearest, refuse_duplicates, seeds_of
from lab.errors import IncompleteError, UserError

if TYPE_CHECKING:
    from lab.results import Results

OK, OURS, USERS = 0, 1, 2


def main(arguments: list[str]) -> int:
    """Run the cells that the overrides name; 0 done, 2 the user's mistake, 1 anything else."""
    return answered(lambda: _cells(arguments))


def answered(command: Callable[[], int | None]) -> int:
    """The exit status of a whole command: what it returns, or 0; its failure is a sentence on standard error."""
    try:
        return attempted(command)
    except KeyboardInterrupt:
        return _say("interrupted; the same command goes on from the newest checkpoint", OURS)


def attempted(work: Callable[[], int | None]) -> int:
    """The status of a command or of one of its cells; an interrupt is let through, since it ends all cells."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        return work() or OK
    except (UserError, HydraException, OmegaConfBaseException, YAMLError) as error:
        return _say(explained(error), USERS)
    except BrokenPipeError:
        raise  # whoever read our output has read enough
    except OSError as error:
        return _say(": ".join(str(part) for part in (error.filename, error.strerror or error) if part), USERS)
    except Exception as error:
        return _say(error, _ours(error))


def _ours(error: Exception) -> int:
    """The status of what the user cannot mend; where we did not expect it, its stack trace is printed."""
    from lab.workers import WorkerError

    if not isinstance(error, (IncompleteError, WorkerError)):
        traceback.print_exception(error)
    return OURS


def _cells(arguments: list[str]) -> int:
    """Have Hydra compose the cells and call us for each; the worst of their statuses. A failure leaves the others to run."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    import hydra

    statuses: list[int] = []
    here = os.getpid()

    def job(composed: Any) -> None:
        if os.getpid() == here:
            statuses.append(attempted(lambda: _cell(composed)))
        else:  # a launcher's process, which has a copy of the list; it brings back what is raised
            _cell(composed)

    def compose_all(words: list[str]) -> None:
        with _sweep_folder(words) as folder:
            sys.argv[1:] = [*overrides(words), *folder]
            try:
                hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()
            except ValueError as error:  # Hydra's own about flags that exclude each other; those of cells do not come here
                raise UserError(str(error)) from None

    for words in _by_environment(arguments):
        statuses.append(attempted(lambda words=words: compose_all(words)))
    return max(statuses, default=OK)


def _by_environment(arguments: list[str]) -> list[list[str]]:
    """The words of each environment of a sweep over several, since Hydra first composes without what is swept over: it would
    know no option that these environments have and the default one has not."""
    for place, word in enumerate(arguments if _sweeps(arguments) else ()):
        if word.startswith("environment="):
            return [[*arguments[:place], f"environment={name}", *arguments[place + 1 :]] for name in elements(word)]
    return [arguments]


def _sweeps(arguments: list[str]) -> bool:
    return not {"-m", "--multirun", "hydra.mode=MULTIRUN"}.isdisjoint(arguments)


SENT = "hydra.sweep.dir=${paths.runs}/launched"
"""Where a launcher keeps the jobs that it sends to other machines, and their logs: on a disk that these share."""


def is_launchers(word: str) -> bool:
    """Whether a word of a command chooses one of Hydra's launchers, or is an option of it."""
    return word.lstrip("+").startswith(("hydra/launcher=", "hydra.launcher."))


@contextmanager
def _sweep_folder(arguments: list[str]) -> Iterator[list[str]]:
    """Within it, an override that keeps Hydra's `multirun.yaml`, written before anything is validated, out of the runs."""
    if not _sweeps(arguments) or any(word.lstrip("+").startswith("hydra.sweep.dir=") for word in arguments):
        yield []
        return
    if any(is_launchers(word) for word in arguments):
        yield [SENT]
        return
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        yield [f"hydra.sweep.dir='{folder}'"]


def composed(*words: str) -> dict[str, Any]:
    """The resolved configuration that `lab run` with these words would have."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_container(compose("config", overrides(list(words))), resolve=True)


def overrides(arguments: list[str]) -> list[str]:
    """The user's words as Hydra takes them: a source and a wrapped environment are groups (`environment.source=mnist` and
    `environment.base=split` name a file of theirs), and folders in LAB_CONFIG (colon-separated) are searched for the user's
    own configuration files; `experiment=best.yaml` is a file that lies anywhere. Where one strategy is listed,
    ``strategy.memory=200`` is an option of that one."""
    refuse_duplicates(arguments)
    place = r"^(?:environment/(?:source|base)@)?(environment[.\w]*\.(source|base))=(?=[\w,]+$)"
    words = [re.sub(place, _group, word) for word in arguments]
    folders = [Path(folder).expanduser().resolve() for folder in os.environ.get("LAB_CONFIG", "").split(":") if folder]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"LAB_CONFIG: there is no folder {folder}")
    words = [_experiment_file(word, folders) for word in words]
    own = [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders)}]"] if folders else []
    words = _told_to_the_only_strategy(words, [CONF, *folders], own)
    # Hydra's parser takes the overrides in one piece only: flags go first, wherever they were typed.
    flags = [word for word in words if word.startswith("-") or not re.search("^~|=", word)]
    rest = [word for word in words if word not in flags]
    return [*flags, *rest, *own]


def _experiment_file(word: str, folders: list[Path]) -> str:
    """`experiment=PATH.yaml` as the name of an experiment that Hydra finds, in a folder that is made for it and searched."""
    if not (word.startswith("experiment=") and word.endswith((".yaml", ".yml"))):
        return word
    path = Path(word.removeprefix("experiment=")).expanduser()
    if not path.is_file():
        raise UserError(f"{word}: there is no such file")
    folder = Path(tempfile.mkdtemp(prefix="lab-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "experiment").mkdir()
    name = re.sub(r"\W", "_", path.stem) + "_file"  # no name of the lab's own, which would be found first
    shutil.copy(path, folder / "experiment" / f"{name}.yaml")
    folders.append(folder)
    return f"experiment={name}"


def _told_to_the_only_strategy(words: list[str], folders: list[Path], own: list[str]) -> list[str]:
    """`strategy.KEY=` as `strategy.NAME.KEY=` where one strategy, NAME, is listed and there is none called KEY."""
    option = re.compile(r"^[+~]*strategy\.(?=(\w+))")
    named = {path.stem for folder in folders for path in (folder / "strategy").glob("*.yaml")}
    if not any(found and found[1] not in named for found in map(option.match, words)):
        return words
    listed = _listed_strategies(words, own)
    if len(listed) != 1:
        return words

    def told(word: str) -> str:
        found = option.match(word)
        return word if not found or found[1] in {*named, *listed} else f"{found[0]}{listed[0]}.{word[found.end() :]}"

    return [told(word) for word in words]


def _listed_strategies(words: list[str], own: list[str]) -> list[str]:
    """Of the cell that the words compose; none where they are of several cells, or what they choose is not there."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    chosen = [word for word in words if re.match("(strategy|experiment)=", word)]
    try:
        values = [elements(word) for word in chosen]
        if any(len(each) > 1 for each in values):
            return []
        for word, (value,) in zip(chosen, values, strict=True):
            if word.startswith("strategy="):
                return [str(name) for name in (value if isinstance(value, list) else [value])]
        begun = GlobalHydra.instance().is_initialized()
        with nullcontext() if begun else initialize_config_dir(str(CONF), version_base="1.3"):
            return list(compose("config", [*chosen, *own])["strategy"])
    except HydraException:
        return []  # it is told of when the whole is composed


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
        group, name = [*key[1].split("."), ""][:2]
        known = _known_keys(key[1])
        if group == "strategy" and f"{group}.{name}" not in known and (CONF / group / f"{name}.yaml").exists():
            return f"{key[1]}: {name} is not among the strategies; choose it, strategy={name}, to set what is its own"
        parent = key[1].rpartition(".")[0]
        if parent in known and parent.endswith(".options"):
            return f"{key[1]}: {parent} does not hold it yet; with a + in front, +{key[1]}=..., it is put there"
        beside = [word for word in known if (word.startswith(f"{group}.") if name else "." not in word)]
        return f"{key[1]}: there is no such key. {nearest(key[1], beside)}`lab run --cfg job` shows all of them."
    return text


def _known_keys(wrong: str) -> list[str]:
    """The dotted keys of the configuration that the command line's groups give, to suggest one for ``wrong``."""
    from hydra import compose
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    plain = [word for word in sys.argv[1:] if "=" in word and not word.startswith("-")]
    groups = [word for word in plain if "." not in word.split("=")[0] and word.split("=")[0] != wrong]
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


def _cell(composed: Any) -> None:
    """One cell: prints its run directory on standard output."""
    from omegaconf import OmegaConf

    print(execute(OmegaConf.to_container(composed, resolve=True)), flush=True)


def execute(config: dict[str, Any], table: bool = True) -> Path:
    """Train a cell, draw its figures and track it; the run directory."""
    check(config)  # before the seconds that the rest of the imports take
    seeds_of(config["seeds"])

    from lab.core import another
    from lab.experiment import Experiment
    from lab.progress import Progress
    from lab.report.figures import write_run_figures
    from lab.report.summary import cell_name, print_table
    from lab.tracking import check as check_tracking
    from lab.tracking import imported_meanwhile, sampled

    if config["tracking"]["enabled"]:
        check_tracking(config["tracking"])
    experiment = Experiment(config)
    finished_before = (experiment.folder / "results.json").exists()
    name, shown = cell_name(config), config["trainer"]["enable_progress_bar"]
    with _at_work_in(experiment.folder):
        tracking, sampling = imported_meanwhile(config["tracking"]), sampled(config["tracking"], experiment.folder)
        with sampling, tracking as meanwhile, Progress(name, shown, meanwhile) as progress:
            folder = experiment.run(progress)
        results = _readable(folder)
        if finished_before and (other := another(results.provenance.get("core"))):
            print(f"lab: {folder}: was trained by {other}; removed, it is trained again by the same command", file=sys.stderr)
        write_run_figures(results, folder)
    track(folder, config["tracking"])
    if table:
        print_table([(name, results)])
    return folder


def _readable(folder: Path) -> Results:
    """The results of a run that is finished, just now or before."""
    from lab.results import load

    try:
        return load(folder)
    except UserError as error:
        raise UserError(f"{error}; remove it, and the same command trains the run again") from None


@contextmanager
def _at_work_in(folder: Path) -> Iterator[None]:
    """Name the run directory, and its key, where the system refuses a file there (a full disk) without naming the file."""
    try:
        yield
    except SystemExit:  # what Lightning makes of an interrupt
        raise KeyboardInterrupt from None
    except OSError as error:
        where, what = error.filename or folder, error.strerror or error
        raise UserError(f"paths.runs: {where}: {what}; what was checkpointed is kept, the same command goes on") from error


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
