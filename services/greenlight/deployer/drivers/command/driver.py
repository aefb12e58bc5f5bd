"""The `command` driver: an argument list without a shell, in a closed environment, one at a time per target."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from greenlight.deployer.driver import Busy, Order, Output, Part, Progress
from greenlight.deployer.drivers.command.ends import End, read_end
from greenlight.deployer.drivers.command.parent import CANCEL
from greenlight.deployer.drivers.command.spawner import Spawner
from greenlight.deployer.environment import inherited, variables
from greenlight.deployer.lock import TargetLock
from greenlight.deployer.printed import Printed
from greenlight.lib.clock import Clock
from greenlight.lib.durations import duration
from greenlight.lib.files import make_folder
from greenlight.lib.process import end_group, started_apart, wait_until_readable
from greenlight.lib.programs import not_installed, program, working_folder
from greenlight.lib.references import is_reference, resolve
from greenlight.lib.scrub import Scrubber, secrets_in, secrets_of_arguments

DEFAULT_TIMEOUT = 600.0  # seconds
GRACE = 15.0
"""Seconds between SIGTERM and SIGKILL."""

OUTPUT = 16 * 1024
"""Characters of the output's end that a deployment keeps."""


CMD = 500
"""Characters of a command line that its span has."""

COMPARED = 100
"""Characters that tell whether the output's file has its end: of a very long output it has not."""


class CommandDriver:
    """Keep locks, output and ends below `state`. See docs/deployer-command.md for what a command may rely on.

    A command runs below a parent of its own (`command_parent.py`), and what is known of it is on the disk: who holds the
    target's lock, and how the last command there ended. So it makes no difference which Greenlight started it.
    """

    def __init__(self, state: Path, *, scrub: Scrubber, clock: Clock, grace: float = GRACE) -> None:
        state = state.absolute()  # the parents of commands have another working folder
        self._locks, self._outputs, self._ends = state / "locks", state / "output", state / "ends"
        for folder in (self._locks, self._outputs, self._ends):
            make_folder(folder)
        self._scrub, self._clock, self._grace = scrub, clock, grace
        self._mutex = threading.Lock()
        self._begun: dict[str, Order] = {}  # the last that was started here, by target
        self._canceled: dict[str, tuple[str, str]] = {}  # by target: the last deployment that was canceled, and why
        self._printed: dict[str, tuple[str, int, Printed]] = {}  # by target: of that deployment's try
        self._path = inherited(os.environ)
        self._spawner = Spawner()
        self._closed, self._closing = os.pipe()

    def apply(self, order: Order) -> Progress:
        """Start the command, or find it running, or find how it ended. After an error only a later try starts it again."""
        with self._mutex:
            if self._closing < 0:
                raise Busy("this Greenlight is being stopped; the next one starts the command")
            lock = TargetLock(self._lock_path(order))
            try:
                if not self._take(lock, order):
                    return Progress("running")
                return self._end(order) or self._begun_in_vain(order) or self._begin(order, lock)
            except (OSError, ValueError) as problem:
                return Progress("error", f"the command cannot be started: {problem}")
            finally:
                lock.release()

    def watch(self, order: Order, seconds: float) -> Progress:
        """Wait for the end of whatever holds the target, and say how the command ended, if it is this deployment's."""
        try:
            return self._watch(order, seconds)
        except OSError:  # such as no descriptors: the next call may have one
            wait_until_readable(self._closed, min(seconds, 1.0))
            return Progress("running")

    def _watch(self, order: Order, seconds: float) -> Progress:
        now = self._clock.now().timestamp()
        lock = TargetLock(self._lock_path(order))
        end, holder = self._end(order), lock.holder()
        if end is None or (holder is not None and holder.deployment == order.deployment):  # which is about to let go
            is_known = lock.wait_for_holder(seconds, now, self._grace, wake=self._closed)
            end = self._end(order)
            if end is None and not is_known:
                wait_until_readable(self._closed, min(seconds, 1.0))  # look again soon
        return end or Progress("running")

    def output(self, order: Order) -> Output | None:
        """Return what the command has printed by now, in whole lines.

        None where its secrets are not known: this process has not started it, and they may have been changed since.
        """
        holder = TargetLock(self._lock_path(order)).holder()
        if holder is None or holder.deployment != order.deployment or not holder.begun:
            return None
        printed = self._printed_by(order)
        if printed is None and not any(is_reference(value) for value in order.config.get("env", {}).values()):
            printed = self._to_read(order, _hidden(order.config, order.config.get("env", {})))
        if printed is None:
            return None
        printed.read()
        return Output(printed.text, printed.total)

    def cancel(self, order: Order, reason: str) -> None:
        """End the command's process group."""
        holder = TargetLock(self._lock_path(order)).holder()
        if holder is None or holder.deployment != order.deployment:
            return
        self._canceled[_target(order)] = order.deployment, reason
        if holder.is_parent:
            with contextlib.suppress(ProcessLookupError):  # its command has just ended
                os.kill(holder.pid, CANCEL)
        else:
            end_group(holder.pid, self._grace)

    def check(self, config: Mapping[str, Any]) -> Sequence[str]:
        """Return what is missing of a program that is not below the pipeline file, as far as the PATH is known."""
        path = config.get("env", {}).get("PATH") or self._path.get("PATH")
        return [] if is_reference(path) else list(not_installed(config, path))

    def close(self) -> None:
        """Stop waiting, and start nothing more. Commands that run go on, and their ends are written down."""
        with self._mutex:
            if self._closing >= 0:
                os.close(self._closing)
                self._closing = -1
                self._spawner.close()

    def _take(self, lock: TargetLock, order: Order) -> bool:
        """Take the target; False if it is held by the parent of this deployment's command. Raises Busy, and OSError."""
        try:
            lock.take()
        except Busy:
            holder = lock.holder()
            if holder is None or not holder.is_parent or holder.deployment != order.deployment:
                raise
            started_apart(holder.pid)
            return False
        return True

    def _begin(self, order: Order, lock: TargetLock) -> Progress:
        """Start it below a parent, which holds the lock from now on."""
        config, target = order.config, _target(order)
        cwd = working_folder(config, order.directory)
        configured = config.get("env", {})
        env = {**self._path, **variables(order), **_values(configured, order.directory)}
        hidden = _hidden(config, env)
        timeout = _seconds(config.get("timeout"))
        start = {
            "argv": [program(config, cwd, env.get("PATH")), *config["run"][1:]],
            "env": env,
            "cwd": str(cwd),
            "timeout": timeout,
            "grace": self._grace,
            "until": self._clock.now().timestamp() + timeout,
            "log": str(self._outputs / f"{target}.log"),
            "end": str(self._ends / f"{target}.json"),
            "deployment": order.deployment,
            "fence": order.fence,
            "hidden": hidden,
        }
        try:
            started_apart(self._spawner.start(start, lock.descriptor))
        finally:
            lock.hand_over()
        self._begun[target] = order
        self._to_read(order, hidden)
        return Progress("running")

    def _to_read(self, order: Order, hidden: Sequence[str]) -> Printed:
        """Return the output of a try that has just been found, to be read from its beginning."""
        log = self._outputs / f"{_target(order)}.log"
        printed = Printed(self._scrub, OUTPUT)
        printed.follow(log, self._scrub.also(hidden))
        self._printed[_target(order)] = order.deployment, order.fence, printed
        return printed

    def _printed_by(self, order: Order) -> Printed | None:
        deployment, fence, printed = self._printed.get(_target(order), ("", 0, None))
        return printed if (deployment, fence) == (order.deployment, order.fence) else None

    def _end(self, order: Order) -> Progress | None:
        """Return how the deployment's command ended, if it is the last in its target.

        An earlier try's error does not count.
        """
        try:
            end = read_end(self._ends / f"{_target(order)}.json")
        except ValueError:  # no version of Greenlight wrote it
            return None
        if end is None or end.deployment != order.deployment:
            return None
        canceled, why = self._canceled.get(_target(order), ("", ""))
        outcome, reason = _meaning(end, why if canceled == order.deployment else "canceled")
        if outcome == "error" and end.fence != order.fence:
            return None
        output = self._scrub(end.output)[-OUTPUT:]
        return Progress(outcome, reason, output, self._count(order, output), self._parts(order, end, output))

    def _parts(self, order: Order, end: End, output: str) -> Sequence[Part]:
        """Return the one command of a try, where its parent wrote down when it began."""
        if end.began is None or end.ended is None:
            return []
        run = order.config["run"]
        cmd = self._scrub(Scrubber(secrets_of_arguments(run))(shlex.join(run)))[:CMD]
        began, ended = (datetime.fromtimestamp(time, UTC) for time in (end.began, end.ended))
        return [Part("command", began, ended, cmd, output)]

    def _count(self, order: Order, output: str) -> int | None:
        """Return how many characters the output has that was shown while the command ran; None: nothing of it was."""
        printed = self._printed_by(order)
        if printed is None or printed.total == 0:
            return None
        printed.finish()
        return printed.total if output.endswith(printed.text[-COMPARED:]) else printed.total + len(output)

    def _begun_in_vain(self, order: Order) -> Progress | None:
        """Return why this try must not start a command, though the target is free and no end is written down."""
        last = self._begun.get(_target(order))
        if last is None:
            return None
        if last.fence > order.fence:
            return Progress("error", f"a later try, with fence {last.fence}, has deployed to this target")
        if (last.deployment, last.fence) == (order.deployment, order.fence):
            return Progress(
                "error",
                "it is unknown how the command ended: the process that waited for it ended before it wrote the result",
            )
        return None

    def _lock_path(self, order: Order) -> Path:
        return self._locks / f"{_target(order)}.lock"


def _target(order: Order) -> str:
    return f"{order.application}--{order.environment}"


def _values(configured: Mapping[str, Any], directory: Path) -> dict[str, str]:
    """Return the variables of `env`, with the secrets that it names, as they are now.

    Raises OSError for a missing one.
    """
    values = {}
    for name, value in configured.items():
        try:
            values[name] = resolve(value, directory) if is_reference(value) else str(value)
        except OSError as problem:
            raise OSError(f"env.{name}: {problem}") from problem
    return values


def _hidden(config: Mapping[str, Any], env: Mapping[str, str]) -> list[str]:
    """Return the secrets of a command's variables and arguments."""
    configured = config.get("env", {})
    hidden = [part for name in configured for part in secrets_in(env[name], name)]
    hidden += [env[name] for name, value in configured.items() if is_reference(value)]
    return hidden + secrets_of_arguments(config["run"])


def _seconds(timeout: Any) -> float:
    return DEFAULT_TIMEOUT if timeout is None else duration(timeout).total_seconds()


def _meaning(end: End, canceled: str) -> tuple[str, str | None]:
    """Return the outcome: exit 0 is succeeded; any other exit or the timeout is failed.

    A signal that Greenlight did not send is an error.
    """
    if end.ended_by == "cancel":
        return "failed", canceled
    if end.ended_by == "timeout":
        return "failed", f"timed out after {end.timeout:g} s"
    if end.exit == 0:
        return "succeeded", None
    if end.exit > 0:
        return "failed", f"exit status {end.exit}"
    name = signal.Signals(-end.exit).name
    return "error", f"ended by {name}, which Greenlight did not send" + (
        " (out of memory?)" if name == "SIGKILL" else ""
    )
