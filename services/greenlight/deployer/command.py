"""The `command` driver: an argument list without a shell, in a closed environment, one at a time per target."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from greenlight.deployer.driver import Order, Progress
from greenlight.deployer.lock import TargetLock
from greenlight.files import make_folder
from greenlight.policy.durations import duration
from greenlight.runtime.clock import Clock
from greenlight.runtime.process import Process, Start
from greenlight.runtime.references import is_reference, resolve
from greenlight.runtime.scrub import Scrubber, secrets_in, secrets_of_arguments

DEFAULT_TIMEOUT = 600.0  # seconds
GRACE = 15.0
"""Seconds between SIGTERM and SIGKILL."""

OUTPUT = 16 * 1024
"""Characters of the output's end that a deployment keeps."""

_INHERITED = ("PATH", "HOME")


@dataclass
class _Run:
    """One deployment's command, running or ended."""

    target: str
    fence: int  # of the try that started it
    lock: TargetLock
    hidden: Sequence[str]  # what of its environment and arguments must not be shown
    timeout: float
    process: Process | None = None
    end: Progress | None = None
    ended: threading.Event = field(default_factory=threading.Event)


class CommandDriver:
    """Keeps locks and output below `state`. See docs/deployer-command.md for what a command is promised."""

    def __init__(self, state: Path, *, scrub: Scrubber, clock: Clock, grace: float = GRACE) -> None:
        self._locks, self._outputs = state / "locks", state / "output"
        for folder in (self._locks, self._outputs):
            make_folder(folder)
        self._scrub, self._clock, self._grace = scrub, clock, grace
        self._mutex = threading.Lock()
        self._runs: dict[str, _Run] = {}
        self._closed = threading.Event()
        self._path = {name: os.environ[name] for name in _INHERITED if name in os.environ}

    def apply(self, order: Order) -> Progress:
        """Start the command; one that runs for this deployment goes on. After an error only a later try starts it again."""
        with self._mutex:
            run = self._runs.get(order.deployment)
            if run is not None and (run.end is None or run.end.outcome != "error" or run.fence == order.fence):
                return run.end or Progress("running")
            try:
                return self._begin(order)
            except OSError as problem:
                return Progress("error", f"the command cannot be started: {problem}")

    def watch(self, order: Order, seconds: float) -> Progress:
        """Wait for the end; where an orphan of an earlier process holds the target, wait for that."""
        run = self._runs.get(order.deployment)
        if run is not None:
            run.ended.wait(seconds)
            return run.end or Progress("running")
        now = self._clock.now().timestamp()
        if not TargetLock(self._lock_path(order)).wait_for_holder(seconds, now, self._grace):
            self._closed.wait(min(seconds, 1.0))  # its name is not known: look again soon
        return Progress("running")

    def cancel(self, order: Order, reason: str) -> None:
        """End the command's process group."""
        run = self._runs.get(order.deployment)
        if run is not None and run.process is not None:
            run.process.cancel(reason)

    def check(self, config: Mapping[str, Any]) -> Sequence[str]:
        """Whether the program is there."""
        program = config["run"][0]
        if os.sep not in program and shutil.which(program, path=self._path.get("PATH")) is None:
            return [f"{program!r} is not on the PATH of this Greenlight"]
        return []

    def close(self) -> None:
        """Commands that run go on, and hold their targets' locks; nobody waits for them here any more."""
        self._closed.set()

    def _begin(self, order: Order) -> Progress:
        config = order.config
        cwd = _below(order.directory, config.get("cwd", "."))
        configured = config.get("env", {})
        env = {**self._path, **_own(order), **_values(configured, order.directory)}
        hidden = [part for name in configured for part in secrets_in(env[name], name)]
        hidden += [env[name] for name, value in configured.items() if is_reference(value)]
        hidden += secrets_of_arguments(config["run"])
        lock, timeout = TargetLock(self._lock_path(order)), _seconds(config.get("timeout"))
        run = _Run(lock.target, order.fence, lock, hidden, timeout)
        run.lock.take()
        try:
            start = Start(
                argv=_argv(config["run"], env.get("PATH"), cwd),
                env=env,
                cwd=cwd,
                log=self._outputs / f"{order.application}--{order.environment}.log",
                timeout=run.timeout,
                grace=self._grace,
                keep=[run.lock.descriptor],
            )
            run.process = Process(start, lambda process: self._ended(run, process))
        except BaseException:
            run.lock.release()
            raise
        run.lock.name(run.process.pid, order.deployment, self._clock.now().timestamp() + timeout)
        # What ran in this target before has been written down, or the target would not be free: nobody asks for it again.
        self._runs = {id: other for id, other in self._runs.items() if other.target != run.target}
        self._runs[order.deployment] = run
        return Progress("running")

    def _ended(self, run: _Run, process: Process) -> None:
        outcome, reason = _meaning(process, run.timeout)
        with self._mutex:  # a command may end before its start has been written down
            run.lock.release()
        scrub = self._scrub.also(run.hidden) if run.hidden else self._scrub
        run.end = Progress(outcome, reason, scrub(process.output())[-OUTPUT:])
        run.ended.set()

    def _lock_path(self, order: Order) -> Path:
        return self._locks / f"{order.application}--{order.environment}.lock"


def _own(order: Order) -> dict[str, str]:
    """The variables that every command gets, and nothing else of ours."""
    return {
        "GREENLIGHT_REPO": order.repo,
        "GREENLIGHT_SHA": order.sha,
        "GREENLIGHT_APPLICATION": order.application,
        "GREENLIGHT_ENVIRONMENT": order.environment,
        "GREENLIGHT_DEPLOYMENT_ID": order.deployment,
        "GREENLIGHT_FENCE": str(order.fence),
        "TRACEPARENT": order.traceparent,
    }


def _values(configured: Mapping[str, Any], directory: Path) -> dict[str, str]:
    """What `env` says, with the secrets that it names, as they are now. Raises OSError where one is missing."""
    values = {}
    for name, value in configured.items():
        try:
            values[name] = resolve(value, directory) if is_reference(value) else str(value)
        except OSError as problem:
            raise OSError(f"env.{name}: {problem}") from problem
    return values


def _argv(run: Sequence[str], path: str | None, cwd: Path) -> list[str]:
    """The argument list as configured, its program resolved on the closed environment's PATH."""
    program = run[0]
    if os.sep in program:
        found: str | None = str(cwd / program)
    else:
        found = shutil.which(program, path=path)
    if found is None:
        raise FileNotFoundError(f"{program!r} is not on the PATH")
    return [found, *run[1:]]


def _below(directory: Path, cwd: str) -> Path:
    """The working directory, links resolved; below the pipeline file's folder, or nowhere."""
    root = directory.resolve()
    folder = (root / cwd).resolve()
    if not folder.is_relative_to(root):
        raise NotADirectoryError(f"cwd {cwd!r} leads out of the pipeline file's folder")
    if not folder.is_dir():
        raise NotADirectoryError(f"cwd {cwd!r} is not a folder beside the pipeline file")
    return folder


def _seconds(timeout: Any) -> float:
    return DEFAULT_TIMEOUT if timeout is None else duration(timeout).total_seconds()


def _meaning(process: Process, timeout: float) -> tuple[str, str | None]:
    """Exit 0 is succeeded; any other exit or the timeout is failed; a signal that was not ours is an error."""
    code = process.code
    assert code is not None, "asked after the end"
    if process.cancelled is not None:
        return "failed", process.cancelled
    if process.timed_out:
        return "failed", f"timed out after {timeout:g} s"
    if code == 0:
        return "succeeded", None
    if code > 0:
        return "failed", f"exit status {code}"
    name = signal.Signals(-code).name
    return "error", f"ended by {name}, which was not ours" + (" (out of memory?)" if name == "SIGKILL" else "")
