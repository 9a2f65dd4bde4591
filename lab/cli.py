"""The `lab` command. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import importlib
import io
import os
import sys

COMMANDS = {
    "run": "run",
    "schedule": "preview",
    "compare": "comparison.command",
    "study": "study.command",
    "sweep": "sweep.command",
    "report": "report.command",
    "demo": "demo",
    "list": "listing",
    "dashboard": "dashboard",
    "doctor": "doctor",
}
"""The module of `lab` whose ``main(arguments) -> status`` each command is."""

COMPOSING = ("run", "schedule")
"""Commands whose words are Hydra's."""

USAGE = """lab - a laboratory for continual learning

usage: lab COMMAND [ARGUMENTS]

  run         train one cell for all its seeds, e.g. lab run strategy=er environment=split seeds=10
              (a Hydra application: overrides, -m, --cfg job, --help, experiment=...)
  schedule    what lab run with the same words would schedule: data, rates, averages, before it trains
  compare     finished runs against a baseline, paired by seed: is A better than B?
  study       ask a question of sweeps/: claim, cells, seeds, test; run what is missing, say the verdict
  sweep       tune the arms of a question of sweeps/ alike, run the winners on fresh seeds
  report      a run, several, a study or a sweep as one page for a browser
  demo        two streams of digits, three strategies, ten seeds: two minutes
  list        environments, sources, strategies, networks, optimisers and experiments, a line each
  dashboard   open what was tracked in MLflow's pages
  doctor      check the installation and the machine

tab completion: eval "$(lab -sc install=bash)"
exit status: 0 done, 1 ours (or incomplete), 2 yours to mend: a mistake in what was given, a full disk"""


def main() -> None:
    """Entry point of the `lab` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that has no middle dot shows a question mark
    command, *rest = sys.argv[1:] or ["--help"]
    if command in ("-h", "--help"):
        print(USAGE)
        sys.exit(0)
    if command in ("-sc", "--shell-completion"):
        sys.exit(_complete(rest))
    if command not in COMMANDS:
        from lab.config import nearest

        print(f"lab: there is no command {command}. {nearest(command, list(COMMANDS))}`lab --help` lists them", file=sys.stderr)
        sys.exit(2)
    try:
        status = importlib.import_module(f"lab.{COMMANDS[command]}").main(rest)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has read enough: `lab list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    sys.exit(status)


def _complete(rest: list[str]) -> int:
    """Hydra's completion asks `lab` itself: the commands are ours, the words of `lab run` and its like Hydra's."""
    line = os.environ.get("COMP_LINE", "")
    asked = bool(rest) and rest[0].startswith("query=")
    command = next((name for name in COMPOSING if line.startswith(f"lab {name} ")), None)
    if asked and not command:
        typed = line.removeprefix("lab ")
        print(" ".join(name for name in COMMANDS if name.startswith(typed)))
        return 0
    from lab.run import main as run

    if asked:
        os.environ["COMP_LINE"] = "lab " + line.removeprefix(f"lab {command} ")
        os.environ["COMP_POINT"] = str(int(os.environ.get("COMP_POINT", len(line))) - len(f"{command} "))
    return run(["-sc", *rest])
