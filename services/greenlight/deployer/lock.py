"""A target's lock on this machine.

The process that changes the target holds it, and outlives the one that started it.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenlight.deployer.driver import Busy
from greenlight.lib.files import private
from greenlight.lib.process import end_group, started_at, wait_for_exit

_NAMED = 512
"""Bytes of a lock file: writing over it is much cheaper than cutting it off."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A living process that deploys to a target, and holds its lock."""

    pid: int
    deployment: str
    until: float  # seconds since 1970, when its time limit is reached
    is_parent: bool  # of the command: it sees to the time limit, and writes down the end
    begun: bool = True  # whether the command was started


def write_holder(descriptor: int, pid: int, deployment: str, until: float, command: int | None) -> None:
    """Write into a lock file that the parent `pid` holds it, and for which command; None: it is about to start one."""
    child = None if command is None else {"pid": command, "started": started_at(command)}
    _write(
        descriptor, {"pid": pid, "started": started_at(pid), "deployment": deployment, "until": until, "command": child}
    )


def unlock(descriptor: int) -> None:
    """Release the lock, also for every process that has inherited the descriptor."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def _write(descriptor: int, holder: Mapping[str, Any]) -> None:
    os.pwrite(descriptor, json.dumps(holder).encode().ljust(_NAMED), 0)


def _is_alive(process: Mapping[str, Any]) -> bool:
    return bool(process["started"]) and started_at(process["pid"]) == process["started"]


class TargetLock:
    """A target's lock.

    It is a descriptor that a deploying process inherits, so that it holds the target when Greenlight is gone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.target = path.stem
        self.descriptor = -1
        self._mutex = threading.Lock()  # who holds it may end before it has a name

    def take(self) -> None:
        """Lock, or raise Busy. A lock that is held only by what an ended command left running is replaced."""
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
                os.pwrite(descriptor, b" " * _NAMED, 0)  # no holder's, until the command that inherits it has a name
                return
            os.close(descriptor)
        raise Busy(f"{self._path.name} is being taken over; try again")

    def name(self, pid: int, deployment: str, until: float) -> None:
        """Write down who holds the lock, and until when."""
        with self._mutex:
            if self.descriptor >= 0:
                _write(
                    self.descriptor, {"pid": pid, "started": started_at(pid), "deployment": deployment, "until": until}
                )

    def release(self) -> None:
        """Unlock, also for whatever the command left running with the descriptor. A second call does nothing."""
        with self._mutex:
            if self.descriptor >= 0:
                unlock(self.descriptor)
                os.close(self.descriptor)
                self.descriptor = -1

    def hand_over(self) -> None:
        """Close the descriptor: a process that inherited it holds the lock; without one, the lock is free."""
        os.close(self.descriptor)
        self.descriptor = -1

    def holder(self) -> Holder | None:
        """Return who deploys to the target, by the lock file, if alive: the command's parent before the command."""
        who = self._who()
        if who is None:
            return None
        command = who.get("command")
        for process in (who, command):
            if process is not None and _is_alive(process):
                is_parent = process is who and "command" in who
                return Holder(
                    process["pid"], who["deployment"], who.get("until", math.inf), is_parent, command is not None
                )
        return None

    def wait_for_holder(self, seconds: float, now: float, grace: float, wake: int = -1) -> bool:
        """Wait for the holder that the lock file names, and end it once its time is up. False if none is named.

        A command's parent sees to the time limit itself. Once the descriptor `wake` can be read, nothing is waited for.
        """
        holder = self.holder()
        if holder is None:
            return False
        left = math.inf if holder.is_parent else holder.until - now
        if left > 0:
            wait_for_exit(holder.pid, min(seconds, left), wake)
        else:
            end_group(holder.pid, grace)  # the process that started it can no longer end it at its time limit
        return True

    def _who(self) -> dict[str, Any] | None:
        try:
            who: Any = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return who if isinstance(who, dict) and {"pid", "started", "deployment"} <= who.keys() else None

    def _replace_or_refuse(self) -> None:
        holder = self.holder()
        if holder is not None:
            raise Busy(f"process {holder.pid}, started before Greenlight was, still deploys to this target")
        who = self._who()
        if who is None or ("command" in who and who["command"] is None):  # its parent was killed while it began
            raise Busy(
                f"a process of an earlier life holds {self._path.name} and is not known by name; Greenlight waits for it"
            )
        fresh = self._path.with_suffix(".new")
        os.close(private(str(fresh), os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
        os.replace(fresh, self._path)

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.fstat(descriptor).st_ino == os.stat(self._path).st_ino
        except FileNotFoundError:
            return False
