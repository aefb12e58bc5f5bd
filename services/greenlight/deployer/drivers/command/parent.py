"""The parent of a deploy command: starts it, holds its target, and writes down how it ended.

It is a process outside Greenlight's process group that needs nothing of Greenlight once it has begun, so that a command's time
limit holds, its output is kept and its end is known, whatever becomes of Greenlight meanwhile. `serve` runs before there is a
command: it has imported what a parent needs, and keeps one forked parent waiting, so that a command costs no start of Python.
Only the standard library is imported, because the process has no site-packages.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import struct
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from greenlight.deployer.drivers.command.ends import End, write_end
from greenlight.deployer.lock import unlock, write_holder
from greenlight.lib.clock import Clock, SystemClock
from greenlight.lib.files import private
from greenlight.lib.process import FILE_LIMIT, LONGEST, TAIL, signal_group
from greenlight.lib.scrub import Scrubber

CANCEL = signal.SIGUSR1
"""Has the parent end its command."""

LAST_LINES = 0.5
"""Seconds that the output may go on after the command's end: what the command left running may hold the pipe for ever."""

NO_ROOM = 1.0
"""Seconds between two tries to write down an end."""


def main() -> None:
    """Run `serve` on the socket that is standard input."""
    with socket.socket(fileno=os.dup(0)) as control:
        serve(control)


def serve(control: socket.socket) -> None:
    """Keep one parent waiting for a command on `control`, until Greenlight closes its end of it or is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # parents that have ended leave no zombies
    gc.freeze()  # what is imported is shared with every parent
    while True:
        taken, mine = os.pipe()
        if os.fork() == 0:
            os.close(taken)
            _await_command(control, mine)
        os.close(mine)
        was_taken = os.read(taken, 1)
        os.close(taken)
        if not was_taken:  # Greenlight is gone, or the parent was killed: the next command starts another `serve`
            return


def _rehearse() -> None:
    """Do once what starting a command needs: what is loaded, computed or copied for the first time is slow."""
    near, far = socket.socketpair()
    nowhere = {"argv": [os.devnull], "cwd": "/", "env": {}, "deployment": "", "until": 0.0}
    with near, far, open(os.devnull, "wb") as lock:
        send(near, nowhere, [lock.fileno()])
        order, (copy,) = receive(far, descriptors=1) or ({}, (-1,))
        write_holder(copy, os.getpid(), order["deployment"], order["until"], os.getpid())
        with contextlib.suppress(OSError):  # it is no program
            _popen(order, subprocess.DEVNULL, copy)
        os.close(copy)


def _popen(order: Mapping[str, Any], output: int, lock: int) -> subprocess.Popen[bytes]:
    """Start the command of `order`, printing to `output`. Raises OSError, and ValueError."""
    return subprocess.Popen(  # noqa: S603 - an argument list from the pipeline file, without a shell
        order["argv"],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd=order["cwd"],
        env=order["env"],
        start_new_session=True,
        pass_fds=[lock],  # should this process be killed, the command itself holds the target
    )


def send(control: socket.socket, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Write a JSON object of any size, and hand over descriptors with it. Raises OSError if not all of it was taken."""
    text = json.dumps(message).encode()
    frame = struct.pack("!I", len(text)) + text
    sent = socket.send_fds(control, [frame], descriptors)
    if sent < len(frame):  # sending nothing would raise, too, where the other side has read it all and closed
        control.sendall(frame[sent:])


def receive(control: socket.socket, descriptors: int = 0) -> tuple[dict[str, Any], list[int]] | None:
    """Return what `send` wrote; None if the other side is gone. Raises OSError."""
    data, found, _, _ = socket.recv_fds(control, 4, descriptors)
    while len(data) < 4 or len(data) < 4 + struct.unpack("!I", data[:4])[0]:
        wanted = 4 if len(data) < 4 else 4 + struct.unpack("!I", data[:4])[0]
        part = control.recv(min(wanted - len(data), 65536))
        if not part:
            return None
        data += part
    return json.loads(data[4:]), found


def _await_command(control: socket.socket, taken: int) -> NoReturn:
    """Become the parent of the next command that arrives; the process ends here."""
    try:
        wake = _listen_to_signals()
        _rehearse()
        received = receive(control, descriptors=1)
        if received is not None:
            order, (lock,) = received
            parent = _Parent(order, lock, wake, SystemClock())
            command = parent.start(control)
            # Only now: making the next parent takes time that this command is to have.
            with contextlib.suppress(BrokenPipeError):  # `serve` was killed: this is the last parent that it made
                os.write(taken, b".")
            os.close(taken)
            if command is not None:
                parent.supervise(command)
    finally:
        os._exit(0)


def _listen_to_signals() -> int:
    """Have CANCEL and the command's end wake a poll of the returned descriptor; what a shutdown sends does nothing.

    By handlers, which a command does not inherit, as it would what is ignored.
    """
    wake, woken = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, CANCEL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)
    return wake


class _Parent:
    """One command, from its start until its end is written down and its target is released."""

    def __init__(self, order: Mapping[str, Any], lock: int, wake: int, clock: Clock) -> None:
        self._order, self._lock, self._wake, self._clock = order, lock, wake, clock
        self._pipe, self._theirs = os.pipe()
        self._poll = select.poll()
        self._poll.register(wake, select.POLLIN)
        self._poll.register(self._pipe, select.POLLIN)
        self._printing = True  # a process has the pipe's other end
        self._file = -1
        self._filled = 0
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._canceled = False
        self._began = 0.0  # seconds since 1970

    def start(self, control: socket.socket) -> subprocess.Popen[bytes] | None:
        """Start the command, and report it to Greenlight.

        If it cannot be started, report why, and release the target.
        """
        self._name(command=None)
        self._began = self._now()
        try:
            command = self._start()
        except (OSError, ValueError) as problem:
            unlock(self._lock)
            _answer(control, {"problem": str(problem)})
            return None
        self._name(command=command.pid)
        _answer(control, {"pid": os.getpid()})
        control.close()
        os.close(0)
        return command

    def supervise(self, command: subprocess.Popen[bytes]) -> None:
        """Wait for the end, write it down, and release the target."""
        ended_by = self._end_of(command)
        ended = self._now()
        self._read_last_lines()
        self._write_down(command.returncode, ended_by, ended)
        unlock(self._lock)
        if self._printing and os.fork() == 0:  # for what the command left running: without a reader it would be ended
            os.close(self._lock)
            while self._printing:
                self._listen(None)

    def _name(self, command: int | None) -> None:
        write_holder(self._lock, os.getpid(), self._order["deployment"], self._order["until"], command)

    def _start(self) -> subprocess.Popen[bytes]:
        log = Path(self._order["log"])
        log.unlink(missing_ok=True)  # a process that still prints to the last one's log keeps that file
        self._file = private(str(log), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            return _popen(self._order, self._theirs, self._lock)
        finally:
            os.close(self._theirs)

    def _end_of(self, command: subprocess.Popen[bytes]) -> str | None:
        """Wait for the command, and hold it to its time limit; return what ended it on this side, if anything did."""
        if self._ends_within(command, self._order["timeout"], heed_cancel=True):
            return None
        ended_by = "cancel" if self._canceled else "timeout"
        signal_group(command.pid, signal.SIGTERM)
        self._ends_within(command, self._order["grace"], heed_cancel=False)
        signal_group(command.pid, signal.SIGKILL)  # what is left of the group
        command.wait()
        return ended_by

    def _ends_within(self, command: subprocess.Popen[bytes], seconds: float, *, heed_cancel: bool) -> bool:
        """Wait at most `seconds`, or until the command is canceled; return whether it has ended."""
        end = self._clock.monotonic() + seconds
        while command.poll() is None:
            left = end - self._clock.monotonic()
            if left <= 0 or (heed_cancel and self._canceled):
                return False
            self._listen(left)
        return True

    def _read_last_lines(self) -> None:
        end = self._clock.monotonic() + LAST_LINES
        while self._printing and (left := end - self._clock.monotonic()) > 0:
            self._listen(left)

    def _listen(self, seconds: float | None) -> None:
        """Wait at most so long until something is printed, the command ends or is to be canceled; keep what was printed."""
        for descriptor, _ in self._poll.poll(None if seconds is None else min(seconds, LONGEST) * 1000 + 1):
            if descriptor == self._wake:
                self._canceled |= CANCEL in os.read(self._wake, 4096)
            else:
                self._keep(os.read(self._pipe, 65536))

    def _keep(self, chunk: bytes) -> None:
        """Keep the end in memory, and a bounded file."""
        if not chunk:
            self._poll.unregister(self._pipe)
            self._printing = False
            return
        self._tail.append(chunk)
        self._tail_size += len(chunk)
        while self._tail_size - len(self._tail[0]) > TAIL:
            self._tail_size -= len(self._tail.popleft())
        if self._filled < FILE_LIMIT:
            try:
                self._filled += os.write(self._file, chunk[: FILE_LIMIT - self._filled])
            except OSError:  # no room: what it prints is worth less than that it goes on
                self._filled = FILE_LIMIT

    def _now(self) -> float:
        return self._clock.now().timestamp()

    def _write_down(self, status: int, ended_by: str | None, ended: float) -> None:
        """Write the end to the disk before the target is released; while there is no room, the target is held."""
        order = self._order
        printed = b"".join(self._tail)[-TAIL:].decode("utf-8", "replace")
        output = Scrubber(order["hidden"])(printed)
        end = End(order["deployment"], order["fence"], status, order["timeout"], ended_by, output, self._began, ended)
        while True:
            try:
                return write_end(Path(order["end"]), end)
            except FileNotFoundError:
                return  # the data folder was removed: the end will not be read
            except OSError:
                self._listen(NO_ROOM)


def _answer(control: socket.socket, message: Mapping[str, Any]) -> None:
    try:
        send(control, message)
    except OSError:
        pass  # Greenlight is gone: the next one finds the command by its lock, or starts it
