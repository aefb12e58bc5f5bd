"""`python -m simulator`: many stories. N says how many, SIMULATION_SEED the first seed; see docs/reliability.md."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from .many import run


def main() -> int:
    """The exit code: 1 if a rule did not hold in a story."""
    seed = int(os.environ.get("SIMULATION_SEED") or secrets.randbelow(1 << 32))
    tally = run(Path(".simulation"), seed, int(os.environ.get("N", "1000")), os.cpu_count() or 1)
    print(tally.text())
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
