"""Processes that outlive the command which started them. Needs Linux: it reads /proc.

A process is known by a mark in its environment, not by a file with a number in it: nothing goes stale when a start is
killed half-way, and a number that another process has meanwhile is never taken for the cluster's.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from kit.settings import LISTENS, PORTS, RUN

MARK = "GREENLIGHT_CLUSTER_PROCESS"


def say(text: str) -> None:
    """Print progress, for people, on stderr; stdout is for the one line that scripts read."""
    print(text, file=sys.stderr, flush=True)


def fail(text: str) -> NoReturn:
    sys.exit(f"cluster: {text}")


def start(name: str, *command: str | Path | int, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a process; its output is in RUN/NAME.log."""
    if not shutil.which(str(command[0])):
        fail(f"{name} is run by {command[0]}, and there is none")
    with open(RUN / f"{name}.log", "ab") as log:
        return subprocess.Popen(
            [str(word) for word in command],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, **(env or {}), MARK: f"{RUN}:{name}"},
            cwd=RUN,
        )


def running() -> dict[str, int]:
    """Return the cluster's processes, by name: their pids."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (name := _name_of(int(entry.name))):
            found[name] = int(entry.name)
    return found


def _name_of(pid: int) -> str | None:
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # somebody else's, or gone
        return None
    mark = f"{MARK}={RUN}:".encode()
    return next((line[len(mark) :].decode() for line in variables if line.startswith(mark)), None)


def stop(names: tuple[str, ...] | None = None, seconds: float = 2) -> None:
    """End these processes of the cluster, or all: by SIGTERM, then by SIGKILL."""
    handles = []
    for name, pid in running().items():
        if names is None or name in names:
            try:
                handle = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            if (
                _name_of(pid) == name
            ):  # still the same: from now on the handle stands for it, whatever its number becomes
                handles.append(handle)
            else:
                os.close(handle)
    _signal(handles, signal.SIGTERM)
    left = _alive(handles, seconds)
    _signal(left, signal.SIGKILL)
    _alive(left, seconds)
    for handle in handles:
        os.close(handle)


def restart(name: str) -> subprocess.Popen[bytes]:
    """Kill a process of the cluster as a crash would, and start the same again."""
    pid = running().get(name) or fail(f"{name} does not run; `cluster status` says what does")
    command = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    variables = Path(f"/proc/{pid}/environ").read_bytes().rstrip(b"\0").split(b"\0")
    handle = os.pidfd_open(pid)
    _signal([handle], signal.SIGKILL)
    _alive([handle], 10)
    os.close(handle)
    env = dict(variable.decode().split("=", 1) for variable in variables)
    return start(name, *(word.decode() for word in command), env=env)


def _signal(handles: list[int], number: signal.Signals) -> None:
    for handle in handles:
        try:
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            pass


def _alive(handles: list[int], seconds: float) -> list[int]:
    """Return those that still run after so many seconds, as soon as there are none."""
    poll, left = select.poll(), set(handles)
    for handle in handles:
        poll.register(handle, select.POLLIN)
    deadline = time.monotonic() + seconds
    while left and (rest := deadline - time.monotonic()) > 0:
        for handle, _ in poll.poll(rest * 1000):
            poll.unregister(handle)
            left.discard(handle)
    return list(left)


def wait(what: str, ready: Callable[[], object], *processes: subprocess.Popen[bytes], seconds: float = 120) -> None:
    """Wait until it is ready; fail if one of the processes ends before, or time does."""
    deadline = time.monotonic() + seconds
    while not ready():
        for process in processes:
            if process.poll() is not None:
                fail(f"{what} ended at once, with {process.returncode}; its last words:\n{_last_words(what)}")
        if time.monotonic() > deadline:
            fail(f"{what} did not answer in {seconds:.0f} s; its last words (more in {RUN}):\n{_last_words(what)}")
        time.sleep(0.05)


def _last_words(name: str) -> str:
    try:
        return "\n".join(f"  {line[:300]}" for line in (RUN / f"{name}.log").read_text().splitlines()[-5:])
    except OSError:
        return "  none"


def listening(*names: str) -> bool:
    """Return whether something answers on these ports."""
    for name in names:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", PORTS[name])) != 0:
                return False
    return True


def check_ports(parts: list[str]) -> None:
    """Fail if a port that these parts need is taken: which, and by whom."""
    taken = [
        f"  {PORTS[name]} ({part}: {name}) by {_holder(PORTS[name])}"
        for part in parts
        for name in LISTENS[part]
        if not _free(PORTS[name])
    ]
    if taken:
        fail("ports are taken that it needs; end who has them and try again:\n" + "\n".join(taken))


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _holder(port: int) -> str:
    """Return who listens on a port, as far as it can be seen."""
    sockets = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if Path(table).exists():
            for line in Path(table).read_text().splitlines()[1:]:
                words = line.split()
                if int(words[1].rsplit(":", 1)[1], 16) == port and words[3] == "0A":  # 0A is LISTEN
                    sockets.add(f"socket:[{words[9]}]")
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(entry) in sockets:
                pid = entry.parts[2]
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                return f"pid {pid}: {command[:120].strip()}"
        except OSError:  # gone, or not to be looked at
            pass
    return "a process of another user" if sockets else "a connection that is about to end"
