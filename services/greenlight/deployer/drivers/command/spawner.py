"""The spawner of commands: each gets a parent of its own, from a process that exists before the first command."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import greenlight
from greenlight.deployer.drivers.command.parent import receive, send

ANSWER = 30.0
"""Seconds within which a parent says whether its command could be started: a thousand times what it takes."""

_RUN = "import sys; sys.path.append({!r}); from greenlight.deployer.drivers.command.parent import main; main()"


class Spawner:
    """Keep one process ready (`command_parent.serve`), and start another where that one has ended."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        with self._mutex:
            self._ready()

    def start(self, order: Mapping[str, Any], lock: int) -> int:
        """Start the command below a parent, which holds `lock` from now on too; return the parent's process id.

        Raises OSError if the command cannot be started, or if that could not be found out: then it may run, with the lock.
        """
        with self._mutex:
            try:
                self._send(order, lock)
            except ConnectionError:  # it was ended since the last command, so no parent has got the order
                self._drop()
                self._send(order, lock)
            answer = self._answer()
        if "problem" in answer:
            raise OSError(answer["problem"])
        return int(answer["pid"])

    def close(self) -> None:
        """End the process that waits; parents of commands that run are not concerned."""
        with self._mutex:
            self._drop()

    def _send(self, order: Mapping[str, Any], lock: int) -> None:
        send(self._ready(), order, [lock])

    def _answer(self) -> Mapping[str, Any]:
        try:
            received = receive(self._ready())
        except OSError:
            received = None
        if received is None:  # whatever it still says would be taken for the answer to the next order
            self._drop()
            raise ConnectionResetError("the process that starts commands does not answer")
        return received[0]

    def _ready(self) -> socket.socket:
        if self._control is None:
            control, theirs = socket.socketpair()
            control.settimeout(ANSWER)
            with theirs:
                root = str(Path(greenlight.__file__).parents[1])
                self._process = subprocess.Popen(  # noqa: S603 - this interpreter, with constants
                    [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", _RUN.format(root), "for deploy commands"],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env={},
                    start_new_session=True,
                )
            self._control = control
        return self._control

    def _drop(self) -> None:
        if self._control is not None and self._process is not None:
            self._control.close()
            self._process.kill()  # the parents that it made are on their own
            self._process.wait()
            self._control = self._process = None
