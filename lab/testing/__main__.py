"""``python -m lab.testing strategy=mine``: the contract, check by check, in words. Status 0 kept, 1 violated, 2 a mistake."""

from __future__ import annotations

import sys

from lab.errors import UserError

USAGE = """usage: python -m lab.testing strategy=NAME [strategy.NAME.OPTION=VALUE ...] [network=...] [optimizer=...]

Puts a strategy through the contract that all of the lab's strategies keep. Your own is found as by `lab run`: its YAML in
strategy/ of a folder named in LAB_CONFIG, its package named in LAB_PACKAGES."""


def main(words: list[str]) -> int:
    """Check the strategies that the words name and print a line for each check."""
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from lab.protocols import Engine
    from lab.run import explained
    from lab.testing import CHECKS, ENGINE_CHECKS, Subject, violations

    try:
        subject, status = Subject.of(*words), 0
        for check in ENGINE_CHECKS if isinstance(subject.strategies()[0], Engine) else CHECKS:
            for title, wrong in violations(subject, [check]).items():
                print(f"{'violated' if wrong else '  kept  '}  {title}", flush=True)
                if wrong:
                    print(f"          -> {wrong}", flush=True)
                    status = 1
        return status
    except (UserError, HydraException, OmegaConfBaseException) as error:
        print(f"lab: {explained(error)}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    sys.exit(main(sys.argv[1:]))
