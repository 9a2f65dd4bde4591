"""The `lab` command. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import os
import sys

USAGE = """lab - a laboratory for continual learning

usage: lab COMMAND [ARGUMENTS]

  run         train one cell for all its seeds, e.g. lab run strategy=er environment=split seeds=10
              (a Hydra application: overrides, -m, --cfg job, --help, experiment=...)
  demo        two streams of digits, three strategies, ten seeds: two minutes
  list        environments, sources, strategies, networks, optimisers and experiments, a line each
  dashboard   open what was tracked in MLflow's pages
  doctor      check the installation and the machine

exit status: 0 done, 1 ours (or incomplete), 2 a mistake in what was given"""


def main() -> None:
    """Entry point of the `lab` command."""
    command, *rest = sys.argv[1:] or ["--help"]
    if command in ("-h", "--help"):
        print(USAGE)
        sys.exit(0)
    if command in ("-sc", "--shell-completion"):
        _complete(rest)
        return
    if command == "run":
        from lab.run import main as job
    elif command == "demo":
        from lab.demo import main as job
    elif command == "list":
        from lab.listing import main as job
    elif command == "dashboard":
        from lab.dashboard import main as job
    elif command == "doctor":
        from lab.doctor import main as job
    else:
        print(f"lab: there is no command {command}; lab --help lists them", file=sys.stderr)
        sys.exit(2)
    sys.exit(job(rest))


def _complete(rest: list[str]) -> None:
    """Hydra's completion asks `lab` itself; the words of `lab run` are Hydra's."""
    from lab.run import main as run

    line = os.environ.get("COMP_LINE", "")
    if line.startswith("lab run "):
        os.environ["COMP_LINE"] = "lab " + line[len("lab run ") :]
        os.environ["COMP_POINT"] = str(int(os.environ.get("COMP_POINT", len(line))) - len("run "))
    sys.exit(run(["-sc", *rest]))
