"""Child processes, with their end, output and time limit; and waiting for the end of any process."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from greenlight.lib.files import private

TAIL = 64 * 1024
"""Bytes of output that are kept in memory: the end is where the reason is."""

FILE_LIMIT = 1 << 20
"""Bytes of output that are kept on disk: what a command prints must not fill it."""

LONGEST = 86400.0
"""Seconds that one wait may last: poll knows no longer than 24 days."""

LOOK = 0.05
"""Seconds between two looks at a process whose end the kernel does not tell."""


@dataclass(frozen=True, slots=True)
class Start:
    """The command to start. `keep` are descriptors that the child inherits; all others are closed."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    log: Path
    timeout: float  # seconds
    grace: float  # seconds between SIGTERM and SIGKILL
    keep: Sequence[int] = ()
    stdin: int = subprocess.DEVNULL  # a descriptor


_running: set[Process] = set()
_changed = threading.Condition()
_apart: dict[int, str | None] = {}  # process id and start of what runs below a parent of its own


def all_ended(seconds: float) -> bool:
    """Wait at most `seconds` until all processes that were started or adopted here have ended.

    Returns whether they have.
    """
    end = time.monotonic() + seconds
    with _changed:
        if not _changed.wait_for(lambda: not _running, seconds):
            return False
        apart = list(_apart.items())
    return all(
        started_at(pid) != started or wait_for_exit(pid, max(end - time.monotonic(), 0)) for pid, started in apart
    )


def started_apart(pid: int) -> None:
    """Add a process that is no child of this one to those that `all_ended` waits for."""
    with _changed:
        for other, started in list(_apart.items()):
            if started_at(other) != started:
                del _apart[other]
        _apart[pid] = started_at(pid)


class Process:
    """A running command in a session of its own. A thread waits for its end and enforces its time limit."""

    def __init__(self, start: Start) -> None:
        """Start the command. Raises OSError if it cannot be started."""
        self._start = start
        self._calls: list[Callable[[], None]] = []
        self._done = threading.Event()
        self._drained = threading.Event()
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self.timed_out = False
        self.cancelled: str | None = None
        self._popen = subprocess.Popen(  # noqa: S603 - an argument list from the pipeline file, without a shell
            list(start.argv),
            stdin=start.stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=start.cwd,
            env=dict(start.env),
            start_new_session=True,
            pass_fds=tuple(start.keep),
        )
        self.pid = self._popen.pid
        with _changed:
            _running.add(self)
        threading.Thread(target=self._wait, name=f"wait-{self.pid}", daemon=True).start()
        threading.Thread(target=self._drain, name=f"drain-{self.pid}", daemon=True).start()

    @property
    def command(self) -> Sequence[str]:
        """Return the argument list."""
        return self._start.argv

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the variables that the command was started with."""
        return self._start.env

    @property
    def log(self) -> Path:
        """Return the file with what the command prints."""
        return self._start.log

    @property
    def code(self) -> int | None:
        """Return the exit status; negative for the signal that ended it; None while it runs."""
        return self._popen.returncode if self._done.is_set() else None

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` for the end; return whether the command has ended."""
        return self._done.wait(seconds)

    def on_end(self, call: Callable[[], None]) -> None:
        """Call once the command has ended, in the waiting thread; now if it has."""
        with _changed:
            if not self._done.is_set():
                self._calls.append(call)
                return
        call()

    def output(self) -> str:
        """Return the end of what the command has printed."""
        return b"".join(list(self._tail))[-TAIL:].decode("utf-8", "replace")

    def cancel(self, reason: str) -> None:
        """End the process group: SIGTERM, and SIGKILL after the grace."""
        self.cancelled = reason
        self._terminate()

    def _wait(self) -> None:
        if not wait_for_exit(self.pid, self._start.timeout):
            self.timed_out = self.cancelled is None
            self._terminate()
        self._popen.wait()
        self._drained.wait(0.5)  # the last lines are worth half a second; a daemon may hold the pipe for ever
        with _changed:
            self._done.set()
        try:
            for call in self._calls:
                call()
        finally:
            with _changed:
                _running.discard(self)
                _changed.notify_all()

    def _terminate(self) -> None:
        end_group(self.pid, self._start.grace)  # SIGKILL is for what is left of the group
        self._popen.wait()

    def _drain(self) -> None:
        """Keep the pipe empty, so that the command never blocks on what it prints; keep the end, and a bounded file."""
        pipe: BinaryIO = self._popen.stdout  # type: ignore[assignment]
        written = 0
        self._start.log.unlink(missing_ok=True)  # a process that still writes to the last one's log keeps that file
        with open(self._start.log, "wb", opener=private) as file, pipe:
            while chunk := os.read(pipe.fileno(), 65536):
                self._keep(chunk)
                if written < FILE_LIMIT:
                    file.write(chunk[: FILE_LIMIT - written])
                    file.flush()
                    written += len(chunk)
        self._drained.set()

    def _keep(self, chunk: bytes) -> None:
        self._tail.append(chunk)
        self._tail_size += len(chunk)
        while self._tail_size - len(self._tail[0]) > TAIL:
            self._tail_size -= len(self._tail.popleft())


def started_at(pid: int) -> str | None:
    """Return when a process began, by the kernel's count: unique together with its pid. None: it is gone.

    Raises OSError where that cannot be found out, such as without a descriptor.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(b")")[2].decode().split()
    return None if fields[0] in ("Z", "X") else fields[19]


def end_group(pid: int, grace: float) -> None:
    """End a process group, also one of another process's child. SIGTERM, and SIGKILL after the grace."""
    signal_group(pid, signal.SIGTERM)
    wait_for_exit(pid, grace)
    signal_group(pid, signal.SIGKILL)


def signal_group(pid: int, number: int) -> None:
    """Send a signal to a process group, if it exists and this process may."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # no process of the group is left that we may signal: one that runs as another user is waited for


def wait_for_exit(pid: int, seconds: float, wake: int = -1) -> bool:
    """Wait at most `seconds` for the end of a process, child or not; return whether it has ended.

    Its end is heard at once. Once the descriptor `wake` can be read, it is waited for no longer.
    """
    end = time.monotonic() + seconds
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except (AttributeError, OSError):  # not Linux, older than 5.3, or forbidden (some sandboxes)
        return _look_for_exit(pid, end, wake)
    try:
        while True:
            left = end - time.monotonic()
            found = _readable([descriptor, wake], min(left, LONGEST))
            if found or left <= LONGEST:
                return descriptor in found
    finally:
        os.close(descriptor)


def wait_until_readable(descriptor: int, seconds: float) -> None:
    """Wait at most `seconds` until there is something to read, or the other side has closed it."""
    _readable([descriptor], seconds)


def _look_for_exit(pid: int, end: float, wake: int) -> bool:
    """Poll for the end of a process, where the kernel has no descriptor to wait for; return whether it has ended."""
    first = started_at(pid)
    while first is not None and started_at(pid) == first:
        left = end - time.monotonic()
        if left <= 0 or _readable([wake], min(left, LOOK)):
            return False
    return True


def _readable(descriptors: Sequence[int], seconds: float) -> Sequence[int]:
    poller = select.poll()
    for descriptor in descriptors:
        if descriptor >= 0:
            poller.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poller.poll(max(seconds, 0) * 1000)]
