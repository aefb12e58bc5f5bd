"""A child process group whose end, output and time limit are seen to, whoever asks."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from greenlight.files import private

TAIL = 64 * 1024
"""Bytes of output that are kept in memory: the end is where the reason is."""

FILE_LIMIT = 1 << 20
"""Bytes of output that are kept on disk: what a command prints must not fill it."""


@dataclass(frozen=True, slots=True)
class Start:
    """What to start. `keep` are descriptors that the child inherits; all others are closed."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    log: Path
    timeout: float  # seconds
    grace: float  # seconds between SIGTERM and SIGKILL
    keep: Sequence[int] = ()


_running: set[Process] = set()
_changed = threading.Condition()


def all_ended(seconds: float) -> bool:
    """Wait at most `seconds` until no process that was started here runs any more; whether none does."""
    with _changed:
        return _changed.wait_for(lambda: not _running, seconds)


class Process:
    """A running command in a session of its own. A thread waits for its end and enforces its time limit."""

    def __init__(self, start: Start, ended: Callable[[Process], None]) -> None:
        """Start it. Raises OSError if it cannot be started. `ended` is called once, in the waiting thread."""
        self._start, self._ended = start, ended
        self._done = threading.Event()
        self._drained = threading.Event()
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self.timed_out = False
        self.cancelled: str | None = None
        self._popen = subprocess.Popen(  # noqa: S603 - an argument list from the pipeline file, without a shell
            list(start.argv),
            stdin=subprocess.DEVNULL,
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
    def code(self) -> int | None:
        """The exit status; negative for the signal that ended it; None while it runs."""
        return self._popen.returncode if self._done.is_set() else None

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, after waiting at most `seconds` for it."""
        return self._done.wait(seconds)

    def output(self) -> str:
        """The end of what it has printed."""
        return b"".join(list(self._tail))[-TAIL:].decode("utf-8", "replace")

    def cancel(self, reason: str) -> None:
        """End its group: SIGTERM, and SIGKILL after the grace."""
        self.cancelled = reason
        self._terminate()

    def _wait(self) -> None:
        try:
            self._popen.wait(self._start.timeout)
        except subprocess.TimeoutExpired:
            self.timed_out = self.cancelled is None
            self._terminate()
        self._drained.wait(0.5)  # the last lines are worth half a second; a daemon may hold the pipe for ever
        self._done.set()
        try:
            self._ended(self)
        finally:
            with _changed:
                _running.discard(self)
                _changed.notify_all()

    def _terminate(self) -> None:
        self._signal(signal.SIGTERM)
        try:
            self._popen.wait(self._start.grace)
        except subprocess.TimeoutExpired:
            pass
        self._signal(signal.SIGKILL)  # whoever of the group is left
        self._popen.wait()

    def _signal(self, number: int) -> None:
        _signal_group(self.pid, number)

    def _drain(self) -> None:
        """Keep the pipe empty, so that the command never blocks on what it prints; keep the end, and a bounded file."""
        pipe: BinaryIO = self._popen.stdout  # type: ignore[assignment]
        written = 0
        self._start.log.unlink(missing_ok=True)  # whoever still writes to the last one's keeps that
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
    """When a process began, as the kernel counts it: with its pid it names one process for good. None: it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else fields[19]


def end_group(pid: int, grace: float) -> None:
    """End the process group of a command that may not be our child: SIGTERM, and SIGKILL after the grace."""
    _signal_group(pid, signal.SIGTERM)
    wait_for_exit(pid, grace)
    _signal_group(pid, signal.SIGKILL)


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # nobody of the group is left, or only who became somebody else: such a one is waited for


def wait_for_exit(pid: int, seconds: float) -> bool:
    """Whether a process that may not be our child is gone, after waiting at most `seconds` for it."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        return bool(poller.poll(seconds * 1000))
    finally:
        os.close(descriptor)
