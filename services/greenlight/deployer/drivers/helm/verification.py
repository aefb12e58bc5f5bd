"""Checks once a release is up, by `verify`: an address answers, a command succeeds, Helm's tests pass."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import urllib3

from greenlight.deployer.driver import Order, Progress
from greenlight.deployer.drivers.helm.causes import error_line
from greenlight.deployer.environment import inherited, variables
from greenlight.lib.clock import Clock
from greenlight.lib.durations import duration
from greenlight.lib.errors import ConfigurationError
from greenlight.lib.process import Process, Start

STEPS = ("http", "command", "helm-test")
"""In this order; each within the same time."""


class Verification:
    """The steps that one deployment's `verify` asks for. One thread asks at a time."""

    def __init__(
        self,
        order: Order,
        clock: Clock,
        *,
        say: Callable[[str], None],
        start: Callable[[str, float], Process],
        output: Callable[[], str],
        pause: Callable[[float], None],
    ) -> None:
        """Make what verifies an order after its rollout, and says each step that begins.

        `start` begins a step that is a process, to end within so many seconds; `output` is what it printed; `pause` waits for
        the next question to an address, at most so many seconds.
        """
        self._order, self._clock, self._say = order, clock, say
        self._start, self._output, self._pause = start, output, pause
        self._wanted: Mapping[str, object] = order.config.get("verify", {})
        self._steps = [step for step in STEPS if step in self._wanted]
        self._process: Process | None = None
        self._until: float | None = None  # monotonic, for the step under way

    def watch(self, seconds: float) -> Progress | None:
        """Continue the step under way for at most `seconds`; return the end, once all hold or one does not."""
        if not self._steps:
            return Progress("succeeded")
        now, step = self._clock.monotonic(), self._steps[0]
        if self._until is None:
            self._say(f"verify: {self._named(step)}")
            self._until = now + duration(str(self._wanted.get("timeout", "1m"))).total_seconds()
        left = self._until - now
        if step == "http":
            return self._probe(str(self._wanted["http"]), left, seconds)
        if self._process is None:
            self._process = self._start(step, left)
        return self._ended(step, self._process) if self._process.wait(seconds) else None

    def _ended(self, step: str, process: Process) -> Progress | None:
        if process.code == 0:
            self._next()
            return None
        how = "took too long" if process.timed_out else f"ended with exit status {process.code}"
        return Progress("failed", f"the release is up, but {self._named(step)} {how}: {error_line(self._output())}")

    def _probe(self, url: str, left: float, seconds: float) -> Progress | None:
        try:
            answer = urllib3.request("GET", url, timeout=min(5.0, max(left, 0.1)), retries=False, redirect=False)
            if 200 <= answer.status < 300:
                self._next()
                return None
            found = f"answers {answer.status}"
        except urllib3.exceptions.HTTPError as problem:
            found = f"does not answer: {problem}"
        if left <= 0:
            return Progress("failed", f"the release is up, but {url} {found}")
        self._pause(seconds)
        return None

    def _named(self, step: str) -> str:
        if step == "command":
            return f"`{' '.join(self._order.config['verify']['command'])[:100]}`"
        return "helm test" if step == "helm-test" else str(self._wanted["http"])

    def _next(self) -> None:
        self._steps, self._process, self._until = self._steps[1:], None, None


def command_start(order: Order, env: Mapping[str, str], log: Path, left: float, grace: float) -> Start:
    """Return how the command of `verify` is started, in the command driver's environment."""
    whole = inherited(env) | variables(order)
    argv = list(order.config["verify"]["command"])
    found = str(order.directory / argv[0]) if os.sep in argv[0] else shutil.which(argv[0], path=whole.get("PATH"))
    if found is None:
        raise ConfigurationError(f"verify: {argv[0]!r} is not on the PATH of this Greenlight")
    return Start([found, *argv[1:]], whole, order.directory, log, left, grace)
