"""The `helm` driver: Helm applies and returns, Greenlight watches. See docs/deployer-helm.md.

Helm is run once, without --wait, in a closed environment; what it left in the release's record says where a deployment
stands, also after a crash. The phases of a deployment are in run.py, beginning.py and phases.py.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from greenlight.deployer.clusters.access import Access
from greenlight.deployer.clusters.named import access_of
from greenlight.deployer.clusters.refusals import Forbidden, Refused
from greenlight.deployer.driver import Busy, Order, Output, Progress
from greenlight.deployer.drivers.helm.beginning import begin
from greenlight.deployer.drivers.helm.phases import step
from greenlight.deployer.drivers.helm.program import Helm
from greenlight.deployer.drivers.helm.run import Run, target_name
from greenlight.deployer.drivers.helm.tools import OUTPUT, Clusters, Tools
from greenlight.deployer.lock import TargetLock
from greenlight.deployer.printed import Printed
from greenlight.lib.clock import Clock
from greenlight.lib.durations import duration
from greenlight.lib.errors import ConfigurationError, Unavailable
from greenlight.lib.files import make_folder
from greenlight.lib.scrub import Scrubber

GRACE = 15.0
"""Seconds between SIGTERM, at which Helm writes `failed` into the release's record, and SIGKILL."""

LOST = 60.0
"""Seconds in which a cluster that answered before has to answer again, before the try ends as an error."""

LOOK = 3.0
"""Seconds between two looks at a release that is locked elsewhere."""


class HelmDriver:
    """Keep locks, charts and values below `state`. One object for the process, used from many threads."""

    def __init__(
        self,
        state: Path,
        *,
        scrub: Scrubber,
        clock: Clock,
        grace: float = GRACE,
        access: Callable[[Mapping[str, Any], Path], Access] = access_of,
        env: Mapping[str, str] = os.environ,
    ) -> None:
        self._locks, self._folders, kept = state / "locks", state / "runs", state / "charts"
        for folder in (self._locks, self._folders, kept):
            make_folder(folder)
        self._clock, self._grace = clock, grace
        helm, closed = Helm(state, clock, grace, env), threading.Event()
        self._tools = Tools(Clusters(access), helm, clock, scrub, kept, _host(state), closed)
        self._mutex = threading.Lock()  # guards _runs; nothing is waited for while it is held
        self._runs: dict[str, Run] = {}

    def apply(self, order: Order) -> Progress:
        """Look at the release, and start Helm if it does not run this commit. After an error only a later try does it again."""
        with self._mutex:
            known = self._runs.get(order.deployment)
            if known is not None and (
                known.end is None or known.end.outcome != "error" or known.order.fence == order.fence
            ):
                return known.end or Progress("running")
            timeout = duration(order.config.get("timeout", "10m")).total_seconds()
            printed = Printed(self._tools.scrub, OUTPUT)
            run = Run(order, self._lock(order), self._folders / order.deployment, timeout, printed)
            run.lock.take()
            # What was deployed to this target before has been written down, or the target would not be free.
            self._runs = {id: other for id, other in self._runs.items() if other.target != run.target}
            self._runs[order.deployment] = run
        try:
            end = begin(run, self._tools)
            run.began = self._clock.now()
        except Busy:
            self._forget(run)
            raise
        except Forbidden as problem:
            where = f"in namespace {order.config['namespace']}, which has to be there"
            end = Progress("error", f"{problem}; docs/deployer-helm.md lists the rights that are needed {where}")
        except (ConfigurationError, Unavailable, Refused, OSError) as problem:
            end = Progress("error", str(problem))
        if end is not None:
            self._end(run, end)
        return run.end or Progress("running")

    def watch(self, order: Order, seconds: float) -> Progress:
        """Go through the deployment's phases for at most `seconds`; where another process's Helm is at work, wait for that."""
        run = self._runs.get(order.deployment)
        if run is None:
            self._await_holder(order, seconds)
            return Progress("running")
        end = self._clock.monotonic() + seconds
        if not run.turn.acquire(timeout=seconds):
            return run.end or Progress("running")
        try:
            while run.end is None and not self._tools.closed.is_set():
                left = end - self._clock.monotonic()
                if left <= 0:
                    break
                progress = self._step(run, left)
                if progress is not None:
                    self._end(run, progress)
        finally:
            run.turn.release()
        return run.end or Progress("running")

    def output(self, order: Order) -> Output | None:
        """Return what the deployment has printed by now; None where another process has begun it."""
        run = self._runs.get(order.deployment)
        if run is None:
            return None
        run.printed.read()
        return Output(run.printed.text, run.printed.total)

    def cancel(self, order: Order, reason: str) -> None:
        """End what runs for the deployment; what was applied stays, until a person rolls it back."""
        run = self._runs.get(order.deployment)
        if run is None or run.end is not None:
            return
        run.canceled = reason
        if run.process is not None:
            run.process.cancel(reason)
        if run.rollout is not None:
            run.rollout.close()
            self._end(run, Progress("failed", reason))

    def check(self, config: Mapping[str, Any]) -> Sequence[str]:
        """Return what is missing on this machine: Helm, or nothing."""
        missing = self._tools.helm.missing()
        return [] if missing is None else [missing]

    def close(self) -> None:
        """Stop watching. Helms that run go on, and hold their targets' locks."""
        self._tools.closed.set()
        for run in list(self._runs.values()):
            run.close()

    def _step(self, run: Run, seconds: float) -> Progress | None:
        """Continue with one phase. A cluster that does not answer is asked again; a missing right is an error."""
        phase = run.phase
        try:
            progress = step(run, seconds, self._tools)
        except Unavailable as problem:
            now = self._clock.monotonic()
            run.unreachable = now if run.unreachable is None else run.unreachable
            if now - run.unreachable >= LOST:
                return Progress("error", str(problem))
            self._tools.pause(seconds)
            return None
        except (ConfigurationError, Refused, OSError) as problem:
            return Progress("error", str(problem))
        run.unreachable = None
        if run.began is not None and (run.phase is not phase or progress is not None):
            over = self._tools.part(run, phase, run.began)
            run.parts.append(over)
            run.began = over.ended
        return progress

    def _end(self, run: Run, end: Progress) -> None:
        run.close()
        run.drop()
        run.lock.release()
        run.end = self._tools.cleaned(end, run)
        shutil.rmtree(run.folder, ignore_errors=True)

    def _forget(self, run: Run) -> None:
        run.lock.release()
        with self._mutex:
            if self._runs.get(run.order.deployment) is run:
                del self._runs[run.order.deployment]

    def _await_holder(self, order: Order, seconds: float) -> None:
        if not self._lock(order).wait_for_holder(seconds, self._clock.now().timestamp(), self._grace):
            self._tools.closed.wait(min(seconds, LOOK))

    def _lock(self, order: Order) -> TargetLock:
        return TargetLock(self._locks / f"{target_name(order)}.lock")


def _host(state: Path) -> str:
    """Name this machine since it started, with this folder of locks: within it, a Helm that holds no lock is dead."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = ""
    return hashlib.sha256(f"{socket.gethostname()}\n{boot}\n{state.resolve()}".encode()).hexdigest()[:16]
