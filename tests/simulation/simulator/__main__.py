"""The command `python -m simulator`: many stories.

N is their number, SIMULATION_SEED the first seed; see docs/reliability.md.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .many import run


def main() -> int:
    """Return the exit code: 1 if a rule did not hold in a story."""
    given = os.environ.get("SIMULATION_SEED")
    tally = run(
        Path(".simulation"), int(given) if given else None, int(os.environ.get("N", "10000")), os.cpu_count() or 1
    )
    print(tally.text())
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
