"""`greenlight broker` in a process that may kill itself: with SIGKILL, before step KILL_AT of what it asks of the disk.

Arguments: those of `greenlight`.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys

from greenlight.cli.main import main
from support.disk import OK, Disk, Step, available, watched


def dying(at: int) -> Disk:
    """A disk that is the last thing the process sees."""
    number = itertools.count(1)

    def answer(step: Step) -> int:
        if next(number) >= at:
            os.kill(os.getpid(), signal.SIGKILL)
        return OK

    return Disk(answer)


if "KILL_AT" in os.environ and available():
    with watched(dying(int(os.environ["KILL_AT"]))):
        main(sys.argv[1:])
else:
    main(sys.argv[1:])
