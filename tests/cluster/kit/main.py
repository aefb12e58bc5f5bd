"""The commands."""

from __future__ import annotations

import contextlib
import fcntl
import re
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator

from kit import parts as starting
from kit.build import build, check_tools, stale
from kit.processes import check_ports, fail, listening, restart, running, say, stop, wait
from kit.settings import BIN, BUILDS, HOME, LISTENS, PORTS, RUN, SERVERS

STARTED = RUN / "started"
"""The parts whose start came to its end, one a line."""

START_ORDER = ("dynamodb", "kube", "knative", "nodes")
"""What takes long and needs nobody else comes first."""


def main(words: list[str], usage: str) -> int:
    """Return the exit code: 0 done, 1 not so."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that a half start is cleaned up
    command, rest = (words[0], words[1:]) if words else ("", [])
    if unknown := [part for part in rest if command in ("build", "up") and part not in BUILDS]:
        fail(f"there is no part {' and no '.join(unknown)}; there are: {', '.join(BUILDS)}")
    if command == "build":
        with _alone():
            check_tools([part for part in rest or BUILDS if stale(part)])
            for part in rest or BUILDS:
                build(part)
        return 0
    if command == "up":
        with _alone():
            up(rest or list(SERVERS))
        print(RUN / "env")
        return 0
    if command == "status" and not rest:
        return status()
    if command == "down" and not rest:
        with _alone():
            stop()
            STARTED.unlink(missing_ok=True)
        return 0
    if command == "subscriber" and len(rest) == 3 and re.fullmatch(r"\d+", rest[2]):
        if "knative" not in _started():
            fail("knative does not run; `cluster up kube knative` starts it")
        starting.subscriber(rest[0], rest[1], int(rest[2]))
        return 0
    if command == "restart" and len(rest) == 1:
        process = restart(rest[0])
        part = next(part for part, names in SERVERS.items() if rest[0] in names)
        wait(rest[0], lambda: listening(*LISTENS[part]), process)
        return 0
    sys.exit(usage)


def up(wanted: list[str]) -> None:
    """Build and start what is not there yet; what was left half-way or has ended in part is started again."""
    if {"nodes", "knative"} & set(wanted):
        wanted = ["kube", *wanted]
    if damage := _damage():
        say(f"ended first, because {damage}")
        wanted = [*_started(), *wanted]
        stop()
        STARTED.unlink(missing_ok=True)
    missing = [part for part in BUILDS if part in wanted and part not in _started()]
    check_tools([part for part in missing if stale(part)])
    for part in missing:
        build(part)
    missing = [part for part in START_ORDER if part in missing]
    check_ports(missing)
    if not _started():
        shutil.rmtree(RUN, ignore_errors=True)
    RUN.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    try:
        for waiting in [starting.STARTS[part]() for part in missing]:
            waiting()
    except BaseException:
        stop(tuple(name for part in missing for name in SERVERS[part]))  # half a part helps nobody; its logs stay
        raise
    if missing:
        say(f"{' '.join(missing)} up in {time.monotonic() - started:.1f} s")
    up_now = [part for part in SERVERS if part in [*_started(), *missing]]
    STARTED.write_text("\n".join(up_now) + "\n")
    (RUN / "env").write_text(_environment(up_now))


def _environment(parts: list[str]) -> str:
    """Return what tests need to know, for a shell to read."""
    lines = [f"export PATH={shlex.quote(str(BIN))}:$PATH", f"export CLUSTER_RUN={shlex.quote(str(RUN))}"]
    if "kube" in parts:
        lines.append(f"export KUBECONFIG={shlex.quote(str(starting.KUBECONFIG))}")
    if "knative" in parts:
        lines.append(f"export BROKER_INGRESS=http://127.0.0.1:{PORTS['ingress']}")
    if "dynamodb" in parts:
        lines.append(f"export AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:{PORTS['dynamodb']}")
        lines.append("export AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local")
    return "\n".join(lines) + "\n"


def _started() -> list[str]:
    return STARTED.read_text().split() if STARTED.exists() else []


def _damage() -> str | None:
    """Return why the present state cannot be continued, if so."""
    there, started = running(), _started()
    wanted = {name for part in started for name in SERVERS[part]}
    if half := sorted(set(there) - wanted):
        return f"an earlier start did not come to its end: {', '.join(half)}"
    if ended := sorted(wanted - set(there)):
        return f"it no longer runs: {', '.join(ended)} (see the logs in {RUN})"
    if deaf := [part for part in started if not listening(*LISTENS[part])]:
        return f"it does not answer: {', '.join(deaf)}"
    return None


def status() -> int:
    """Print one line a process."""
    there, started = running(), _started()
    for part, names in SERVERS.items():
        for name in names:
            state = f"pid {there[name]}" if name in there else "ended" if part in started else "-"
            print(f"{part:10} {name:20} {state}")
    damage = _damage()
    print(f"source {RUN / 'env'}" if started and not damage else damage or "nothing runs")
    return 0 if started and not damage else 1


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let one command at a time change what is built and what runs."""
    HOME.mkdir(parents=True, exist_ok=True)
    with open(HOME / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another cluster command is at work; waiting for it ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
