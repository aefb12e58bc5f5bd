"""A target's lock on this machine: it is held by the process that changes the target, and outlives whoever started it."""

from __future__ import annotations

import fcntl
import json
import math
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlight.deployer.driver import Busy
from greenlight.files import private
from greenlight.runtime.process import end_group, started_at, wait_for_exit

_NAMED = 256
"""Bytes of a lock file: writing over it is much cheaper than cutting it off."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A living command that holds a lock."""

    pid: int
    until: float  # seconds since 1970, when its time limit is reached


class TargetLock:
    """A target's lock: a descriptor that the command inherits, so that an orphan of ours still holds it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.target = path.stem
        self.descriptor = -1
        self._mutex = threading.Lock()  # who holds it may end before it has a name

    def take(self) -> None:
        """Lock, or raise Busy. A lock whose command has ended, but which something that it left behind holds, is replaced."""
        for _ in range(3):
            descriptor = private(str(self._path), os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                self._replace_or_refuse()
                continue
            if self._is_current(descriptor):
                self.descriptor = descriptor
                os.pwrite(descriptor, b" " * _NAMED, 0)  # nobody's, until the command that inherits it has a name
                return
            os.close(descriptor)
        raise Busy(f"{self._path.name} changes hands; try again")

    def name(self, pid: int, deployment: str, until: float) -> None:
        """Write down who holds it, and until when it may."""
        who = {"pid": pid, "started": started_at(pid), "deployment": deployment, "until": until}
        text = json.dumps(who).encode()
        with self._mutex:
            if self.descriptor >= 0:
                os.pwrite(self.descriptor, text.ljust(_NAMED), 0)

    def release(self) -> None:
        """Unlock, also for whatever the command left running with the descriptor. Again: nothing more."""
        with self._mutex:
            if self.descriptor >= 0:
                fcntl.flock(self.descriptor, fcntl.LOCK_UN)
                os.close(self.descriptor)
                self.descriptor = -1

    def holder(self) -> Holder | None:
        """The command that is named in it, if it is alive."""
        who = self._who()
        if who is None or not who["started"] or started_at(who["pid"]) != who["started"]:
            return None
        return Holder(who["pid"], who.get("until", math.inf))

    def wait_for_holder(self, seconds: float, now: float, grace: float) -> bool:
        """Wait for the command that is named in it, and end it once its time is up. False if nobody is named."""
        holder = self.holder()
        if holder is None:
            return False
        left = holder.until - now
        if left > 0:
            wait_for_exit(holder.pid, min(seconds, left))
        else:
            end_group(holder.pid, grace)  # whoever started it can no longer hold it to its time limit
        return True

    def _who(self) -> dict[str, Any] | None:
        try:
            who: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return who

    def _replace_or_refuse(self) -> None:
        holder = self.holder()
        if holder is not None:
            raise Busy(f"process {holder.pid}, started before Greenlight was, still deploys to this target")
        if self._who() is None:
            raise Busy(
                f"a process of an earlier life holds {self._path.name} and is not known by name; it is waited for"
            )
        fresh = self._path.with_suffix(".new")
        os.close(private(str(fresh), os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
        os.replace(fresh, self._path)

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.fstat(descriptor).st_ino == os.stat(self._path).st_ino
        except FileNotFoundError:
            return False
