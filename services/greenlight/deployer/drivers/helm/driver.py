"""The `helm` driver: Helm applies and returns, we watch. See docs/deployer-helm.md for what is promised.

Nothing is set up for a deployment: no plugin, no repository, no kubeconfig. Helm is run once, without --wait, in a closed
environment; what it left in the release's record says where a deployment stands, also after a crash.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import rfc8785

from greenlight.deployer.clusters.access import Access
from greenlight.deployer.clusters.api import Api
from greenlight.deployer.clusters.exec_plugin import INHERITED
from greenlight.deployer.clusters.named import access_of
from greenlight.deployer.clusters.refusals import Conflict, Forbidden, Refused
from greenlight.deployer.driver import Busy, Order, Progress
from greenlight.deployer.drivers.helm import causes, charts, hooks, keeping, live, release
from greenlight.deployer.drivers.helm.charts import Chart
from greenlight.deployer.drivers.helm.hooks import Hooks
from greenlight.deployer.drivers.helm.release import PENDING, Revision
from greenlight.deployer.drivers.helm.verification import Verification, command_start
from greenlight.deployer.lock import TargetLock
from greenlight.deployer.rollout.proof import Rollout
from greenlight.lib.clock import Clock
from greenlight.lib.durations import duration
from greenlight.lib.errors import ConfigurationError, Unavailable
from greenlight.lib.files import make_folder
from greenlight.lib.process import Process, Start
from greenlight.lib.scrub import Scrubber

GRACE = 15.0
"""Seconds between SIGTERM, at which Helm writes `failed` into the release's record, and SIGKILL."""

HISTORY = "5"
"""Revisions that Helm keeps: it reads all of them, whole, several times in every run."""

OUTPUT = 16 * 1024
REASON = 600
"""Characters of a deployment's output and reason."""

HOOKS = 2.0
"""Seconds that Helm may run before its hooks are looked at: without any it has ended by then."""

FOREIGN = 60.0
"""Seconds that a release may stay locked by a Helm that is not ours, before the deployment fails."""

LOST = 60.0
"""Seconds in which a cluster that could be asked before has to answer again, before the try ends as an error."""

PULL = 60.0
"""Seconds in which a chart has to be there."""

LOOK = 3.0
"""Seconds between two looks at a release that is locked elsewhere."""

AT_ONCE = 0.01
"""Seconds in which what has come is taken."""

PAUSE = 0.5
"""Seconds between two questions to what does not answer well yet."""

_MARKUP = re.compile(r"\$\{(sha|repo|artifacts\.([a-z0-9_-]+))\}")


@dataclass
class _Run:
    """One deployment, from the first look at its release to its end. `phase` is what is done next."""

    order: Order
    lock: TargetLock
    folder: Path
    timeout: float
    identity: str = ""
    marks: Mapping[str, str] = field(default_factory=dict)
    chart: Chart | None = None
    process: Process | None = None
    rollout: Rollout | None = None
    notes: list[str] = field(default_factory=list)  # what else the deployment tells, whatever its end
    live: live.Release | None = None  # the release before, as it is in the cluster
    helm_began: float = 0.0  # monotonic
    hooks: Hooks | None = None
    verification: Verification | None = None
    lost: float | None = None  # monotonic, since when the cluster cannot be asked
    end: Progress | None = None
    cancelled: str | None = None
    turn: threading.Lock = field(default_factory=threading.Lock)
    ended: threading.Event = field(default_factory=threading.Event)
    phase: Callable[[_Run, float], Progress | None] | None = None

    @property
    def target(self) -> str:
        return f"{self.order.application}--{self.order.environment}"


class HelmDriver:
    """Keeps locks, charts and values below `state`. One object for the process, used from many threads."""

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
        self._locks, self._runs_folder, self._charts = state / "locks", state / "runs", state / "charts"
        homes = [state / "home" / name for name in ("cache", "config", "data")]
        for folder in (self._locks, self._runs_folder, self._charts, *homes):
            make_folder(folder)
        self._scrub, self._clock, self._grace, self._access_of = scrub, clock, grace, access
        self._helm = env.get("GREENLIGHT_HELM") or shutil.which("helm", path=env.get("PATH"))
        self._env = {
            **{name: env[name] for name in INHERITED if name in env},
            "HELM_CACHE_HOME": str(homes[0]),
            "HELM_CONFIG_HOME": str(homes[1]),
            "HELM_DATA_HOME": str(homes[2]),
            "HELM_NO_PLUGINS": "1",
            **keeping.install(homes[2], env),
        }
        self._host = _host(state)
        self._mutex = threading.Lock()
        self._runs: dict[str, _Run] = {}
        self._foreign: dict[str, float] = {}  # deployment -> since when it waits for a lock that is not ours
        self._accesses: dict[str, Access] = {}
        self._closed = threading.Event()

    def apply(self, order: Order) -> Progress:
        """Look at the release, and start Helm if it does not run this commit. After an error only a later try does it again."""
        with self._mutex:
            known = self._runs.get(order.deployment)
            if known is not None and (
                known.end is None or known.end.outcome != "error" or known.order.fence == order.fence
            ):
                return known.end or Progress("running")
            timeout = duration(order.config.get("timeout", "10m")).total_seconds()
            lock = TargetLock(self._locks / f"{order.application}--{order.environment}.lock")
            run = _Run(order, lock, self._runs_folder / order.deployment, timeout)
            lock.take()
            # What was deployed to this target before has been written down, or the target would not be free.
            self._runs = {id: other for id, other in self._runs.items() if other.target != run.target}
            self._runs[order.deployment] = run
        try:
            end = self._begin(run)
        except Busy:
            self._forget(run)
            raise
        except Forbidden as problem:
            where = f"in namespace {order.config['namespace']}, which has to be there"
            end = Progress("error", f"{problem}; docs/deployer-helm.md lists the rights that are needed {where}")
        except (ConfigurationError, Unavailable, Refused, OSError) as problem:
            end = Progress("error", self._said(str(problem)))
        if end is not None:
            self._end(run, end)
        return run.end or Progress("running")

    def watch(self, order: Order, seconds: float) -> Progress:
        """Go through the deployment's phases for at most `seconds`; where somebody else's Helm is at work, wait for that."""
        run = self._runs.get(order.deployment)
        if run is None:
            self._await_holder(order, seconds)
            return Progress("running")
        end = self._clock.monotonic() + seconds
        if not run.turn.acquire(timeout=seconds):
            return run.end or Progress("running")
        try:
            while run.end is None and not self._closed.is_set():
                left = end - self._clock.monotonic()
                if left <= 0:
                    break
                progress = self._step(run, left)
                if progress is not None:
                    self._end(run, progress)
        finally:
            run.turn.release()
        return run.end or Progress("running")

    def cancel(self, order: Order, reason: str) -> None:
        """End what runs for it; what was applied stays, until somebody rolls it back."""
        run = self._runs.get(order.deployment)
        if run is None or run.end is not None:
            return
        run.cancelled = reason
        if run.process is not None:
            run.process.cancel(reason)
        if run.rollout is not None:
            run.rollout.close()
            self._end(run, Progress("failed", reason))

    def check(self, config: Mapping[str, Any]) -> Sequence[str]:
        """Whether Helm is there."""
        if self._helm is not None and os.access(self._helm, os.X_OK):
            return []
        where = f"GREENLIGHT_HELM names {self._helm!r}, which is no program" if self._helm else "it is not on the PATH"
        return [
            f"Helm is missing: {where}; install Helm 4 (https://helm.sh/docs/intro/install/), or set GREENLIGHT_HELM"
        ]

    def close(self) -> None:
        """Helms that run go on, and hold their targets' locks; nobody watches here any more."""
        self._closed.set()
        for run in list(self._runs.values()):
            for followed in (run.rollout, run.hooks):
                if followed is not None:
                    followed.close()

    # What is done, in this order. Each phase waits at most as long as it is told, and sets the next one.

    def _begin(self, run: _Run) -> Progress | None:
        """Decide by the release's own record, and by what of it is in the cluster, whether Helm has anything to do."""
        order = run.order
        missing = self.check(order.config)
        if missing:
            return Progress("error", missing[0])
        run.chart = charts.chart_of(order.config["chart"], order.directory, self._charts)
        values = _filled(order.config.get("values", {}), order)
        run.identity = _identity(run.chart, values)
        api, namespace = self._api(order), order.config["namespace"]
        revision = release.newest(api, namespace, order.config["release"])
        run.marks = {
            "deployment": order.deployment,
            "fence": str(order.fence),
            "commit": order.sha[:40],
            "identity": run.identity,
            "target": _target(order),
            "host": self._host,
            "until": str(int(self._clock.now().timestamp() + run.timeout + self._grace) + 5),
            "revision": str(revision.number + 1 if revision else 1),
        }
        if revision is None:
            self._upgrade(run, values)
            return None
        stale = _stale(revision, order)
        if stale is not None:
            return Progress("error", stale)
        if revision.status.startswith(PENDING):
            locked = self._unlock(api, revision, order)
            if locked is not None:
                return locked
        self._foreign.pop(order.deployment, None)
        runs = revision.status == "deployed" and revision.marks.get("identity") == run.identity
        if not runs or revision.marks.get("deployment") != order.deployment:
            run.live = self._live(api, revision, order)
            runs = runs and self._as_applied(run, api)
        if runs:
            self._runs_it_already(run, api, revision)
        else:
            self._upgrade(run, values)
        return None

    def _live(self, api: Api, revision: Revision, order: Order) -> live.Release:
        """What of the release is in the cluster, and what becomes of the fields that others have set."""
        name, namespace, conflicts = order.config["release"], order.config["namespace"], _conflicts(order)
        manifest = release.documents(release.record(api, namespace, revision).get("manifest") or "")
        how = {"everything_kept": conflicts == "theirs", "taken": conflicts == "ours"}
        return live.release(api, name, manifest, namespace, **how)

    def _as_applied(self, run: _Run, api: Api) -> bool:
        """Whether there is nothing for Helm to do. What a person asked for is always done; else the cluster is looked at."""
        assert run.live is not None, "it was read before"
        if run.order.cause != "automatic":
            return False
        drift = live.drift(api, run.live, force=_conflicts(run.order) == "ours")
        if drift is not None:
            run.notes.append(f"The release ran this already, but {drift}, so it was applied again")
        return drift is None

    def _runs_it_already(self, run: _Run, api: Api, revision: Revision) -> None:
        """Helm has nothing to do: the record is marked as this deployment's, and the rollout is proven as ever."""
        if revision.marks.get("deployment") != run.order.deployment or revision.fence != run.order.fence:
            marks = {**run.marks, "revision": str(revision.number)}
            release.mark(api, run.order.config["namespace"], revision, marks)
        run.lock.release()
        run.phase = self._rolling
        if revision.marks.get("deployment") == run.order.deployment:  # taken over: its time has been running since
            self._follow(run, revision, revision.created + timedelta(seconds=run.timeout))
        else:
            self._follow(run, revision, self._clock.now() + timedelta(seconds=run.timeout))

    def _unlock(self, api: Api, revision: Revision, order: Order) -> Progress | None:
        """Mend the record of a Helm that is provably dead. Raises Busy while it may be alive; fails if it is not ours."""
        name, namespace = order.config["release"], order.config["namespace"]
        since = f"revision {revision.number} of {name} is {revision.status} since {revision.created:%H:%M:%S}Z"
        if revision.marks.get("target") != _target(order):
            waited = self._clock.monotonic() - self._foreign.setdefault(order.deployment, self._clock.monotonic())
            if waited < FOREIGN:
                raise Busy(f"{since}, by a Helm that is not ours ({revision.manager}); it is waited for")
            return Progress(
                "failed",
                f"{since}, by a Helm that is not ours ({revision.manager}), and nobody may know whether it still runs: "
                f"if it does not, `helm {_way_out(revision)} {name} -n {namespace}`, then retry",
            )
        dead = revision.marks.get("host") == self._host  # for it would hold the lock that we hold now
        if not dead and self._clock.now().timestamp() < int(revision.marks.get("until", "0")):
            raise Busy(f"{since}, by another Greenlight that may be alive; it is waited for")
        why = f"unlocked: {revision.status} by a Helm of deployment {revision.marks.get('deployment')} that has died"
        try:
            release.unlock(api, namespace, revision, why)
        except Conflict as problem:
            raise Busy(f"{since}, and somebody works at it") from problem
        return None

    def _upgrade(self, run: _Run, values: Mapping[str, Any]) -> None:
        run.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(run.folder / "values.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(file, "wb") as out:
            out.write(json.dumps(values).encode())
        assert run.chart is not None, "the chart is found before"
        if not run.chart.pull:
            self._start_helm(run)
            return
        into = run.folder / "pull"
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir(mode=0o700)
        run.process = self._run(run, run.chart.pull, cwd=into, timeout=PULL)
        run.phase = self._pulling

    def _pulling(self, run: _Run, seconds: float) -> Progress | None:
        assert run.process is not None
        assert run.chart is not None
        if not run.process.wait(seconds):
            return None
        if run.cancelled:
            return Progress("failed", run.cancelled)
        if run.process.code != 0:
            output = self._output(run)
            return Progress("error", f"the chart cannot be had: {causes.error_line(output)}", output[-OUTPUT:])
        charts.keep(run.chart, run.folder / "pull")
        self._start_helm(run)
        return None

    def _start_helm(self, run: _Run) -> None:
        config, order = run.order.config, run.order
        assert run.chart is not None, "the chart is found before"
        labels = ",".join(f"{release.OURS}{name}={value}" for name, value in run.marks.items())
        argv = [
            *("upgrade", "--install", "--namespace", config["namespace"], "--reset-values", "--history-max", HISTORY),
            *("--timeout", f"{run.timeout:.0f}s", "--hide-notes", "--labels", labels, "--server-side=true"),
            *(["--force-conflicts"] if _conflicts(order) == "ours" else []),
            *self._keeping(run),
            *("--description", f"greenlight: {order.repo}@{order.sha[:12]}, deployment {order.deployment}"),
            *("-f", "values.json", "--", config["release"], str(run.chart.path)),
        ]
        run.process = self._run(run, argv, cwd=run.folder, timeout=run.timeout + 5)
        run.helm_began = self._clock.monotonic()
        run.phase = self._upgrading

    def _keeping(self, run: _Run) -> Sequence[str]:
        """The arguments by which fields stay as the cluster has them, where any do."""
        if run.live is None:
            return []
        run.notes += run.live.notes()
        return keeping.arguments(run.live.keeps(), run.folder / "kept.json")

    def _upgrading(self, run: _Run, seconds: float) -> Progress | None:
        assert run.process is not None
        if not self._helm_ended(run, run.process, seconds):
            return None
        order, process = run.order, run.process
        api, namespace = self._api(order), order.config["namespace"]
        revision = release.newest(api, namespace, order.config["release"])
        mine = revision is not None and _mine(revision, order)
        if process.code == 0 and revision is not None and mine:
            shutil.rmtree(run.folder, ignore_errors=True)
            self._follow(run, revision, revision.created + timedelta(seconds=run.timeout))
            return None
        if revision is not None and mine and revision.status.startswith(PENDING):
            with contextlib.suppress(Conflict):
                release.unlock(api, namespace, revision, "unlocked: its Helm has ended without a word")
        output = self._output(run)
        if process.code == 0:
            return Progress("error", "Helm has said yes, and the newest revision is somebody else's", output)
        if run.cancelled:
            return Progress("failed", run.cancelled, output)
        if process.cancelled:
            return Progress("failed", process.cancelled, output)
        unfinished = run.hooks.unfinished() if run.hooks is not None else ""
        waited = f"; {unfinished}" if unfinished else ""
        if process.timed_out:
            return Progress("failed", f"Helm did not end within {run.timeout:g} s{waited}", output)
        if process.code is not None and process.code < 0:
            memory = "; was there too little memory?" if process.code == -9 else ""
            return Progress("error", f"Helm was ended by signal {-process.code}, which was not ours{memory}", output)
        failure = causes.failure(output, order.config["release"], namespace)
        if failure.again:
            return Progress("error", failure.reason, output)
        hook = hooks.last_lines(api, namespace, revision) if revision is not None and mine else ""
        return Progress("failed", f"{failure.reason}{waited}", f"{output[-OUTPUT:]}\n{hook}".strip())

    def _helm_ended(self, run: _Run, process: Process, seconds: float) -> bool:
        """Whether Helm has ended, after waiting at most `seconds`. It is ended where one of its hooks cannot begin: Helm itself
        waits for that until its time is over."""
        waits = HOOKS - (self._clock.monotonic() - run.helm_began)
        if process.wait(min(seconds, max(waits, PAUSE))):
            return True
        if waits > 0:
            return False
        run.hooks = run.hooks or self._hooks(run)
        stuck = run.hooks.cannot_begin(AT_ONCE)
        if stuck is not None:
            run.notes += [stuck.details] if stuck.details else []
            process.cancel(f"a hook cannot begin: {stuck.reason}")
        return process.wait(0)

    def _hooks(self, run: _Run) -> Hooks:
        """The hooks that Helm runs for this try."""
        api, order = self._api(run.order), run.order
        namespace, name = order.config["namespace"], order.config["release"]

        def find() -> Revision | None:
            newest = release.newest(api, namespace, name)
            return newest if newest is not None and _mine(newest, order) else None

        return Hooks(api, namespace, find, self._clock, _duration(order, "patience"))

    def _follow(self, run: _Run, revision: Revision, deadline: Any) -> None:
        """Everything that the revision's manifest contains is followed from here."""
        order = run.order
        api, namespace = self._api(order), order.config["namespace"]
        manifest = release.documents(release.record(api, namespace, revision).get("manifest") or "")
        run.rollout = Rollout(
            api,
            manifest,
            namespace,
            deadline,
            self._clock,
            patience=_duration(order, "patience"),
            settle=_duration(order, "settle"),
            since=revision.made,
        )
        run.phase = self._rolling

    def _rolling(self, run: _Run, seconds: float) -> Progress | None:
        assert run.rollout is not None
        verdict = run.rollout.watch(seconds)
        if verdict is None:
            return None
        run.rollout.close()
        if not verdict.proven:
            return Progress("failed", verdict.reason, verdict.details)
        run.process = None
        run.verification = Verification(
            run.order,
            verdict.details,
            self._clock,
            start=lambda step, left: self._start_step(run, step, left),
            output=lambda _: self._output(run)[-OUTPUT:],
            wait=self._closed.wait,
        )
        run.phase = self._verifying
        return None

    def _verifying(self, run: _Run, seconds: float) -> Progress | None:
        assert run.verification is not None
        return run.verification.watch(seconds)

    def _start_step(self, run: _Run, step: str, left: float) -> Process:
        """A step of the verification that is a process."""
        config = run.order.config
        run.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if step == "helm-test":
            limit = f"{left:.0f}s"
            test = ["test", "--namespace", config["namespace"], "--timeout", limit, "--", config["release"]]
            run.process = self._run(run, test, cwd=run.folder, timeout=left + 5)
        else:
            start = command_start(run.order, self._env, run.folder / "verify.log", left, self._grace)
            run.process = Process(start, lambda _: None)
        return run.process

    # What the phases stand on.

    def _step(self, run: _Run, seconds: float) -> Progress | None:
        """One phase. A cluster that cannot be asked is asked again; what we may not ask is an error."""
        assert run.phase is not None, "a run that did not end in its beginning has a phase"
        try:
            progress = run.phase(run, seconds)
        except Unavailable as problem:
            now = self._clock.monotonic()
            run.lost = now if run.lost is None else run.lost
            if now - run.lost >= LOST:
                return Progress("error", self._said(str(problem)))
            self._closed.wait(min(PAUSE, seconds))
            return None
        except (ConfigurationError, Refused, OSError) as problem:
            return Progress("error", self._said(str(problem)))
        run.lost = None
        return progress

    def _run(self, run: _Run, arguments: Sequence[str], *, cwd: Path, timeout: float) -> Process:
        """Helm, in a closed environment; while it changes the release it holds the target's lock, whatever becomes of us."""
        assert self._helm is not None, "checked before"
        env = {**self._env, **self._access(run.order).helm()}
        changes = arguments[0] == "upgrade"
        start = Start(
            argv=[self._helm, *arguments],
            env=env,
            cwd=cwd,
            log=cwd / "helm.log",
            timeout=timeout,
            grace=self._grace,
            keep=[run.lock.descriptor] if changes else [],
        )
        process = Process(start, lambda _: run.lock.release() if changes else None)
        if changes:
            run.lock.name(process.pid, run.order.deployment, self._clock.now().timestamp() + timeout)
        return process

    def _end(self, run: _Run, end: Progress) -> None:
        for followed in (run.rollout, run.hooks):
            if followed is not None:
                followed.close()
        run.lock.release()
        shutil.rmtree(run.folder, ignore_errors=True)
        reason = None if end.reason is None else self._said(end.reason)
        output = "\n".join(filter(None, (end.output, *run.notes)))
        run.end = Progress(end.outcome, reason, self._scrub(output)[-OUTPUT:] if output else None)
        run.ended.set()

    def _forget(self, run: _Run) -> None:
        run.lock.release()
        with self._mutex:
            if self._runs.get(run.order.deployment) is run:
                del self._runs[run.order.deployment]

    def _await_holder(self, order: Order, seconds: float) -> None:
        lock = TargetLock(self._locks / f"{order.application}--{order.environment}.lock")
        if not lock.wait_for_holder(seconds, self._clock.now().timestamp(), self._grace):
            self._closed.wait(min(seconds, LOOK))

    def _access(self, order: Order) -> Access:
        key = json.dumps([order.cluster, str(order.directory)], sort_keys=True)
        with self._mutex:
            if key not in self._accesses:
                self._accesses[key] = self._access_of(order.cluster, order.directory)
            return self._accesses[key]

    def _api(self, order: Order) -> Api:
        return self._access(order).api()

    def _output(self, run: _Run) -> str:
        """What the process has printed, without what its environment keeps secret."""
        assert run.process is not None
        hidden = [value for name, value in self._access(run.order).helm().items() if "TOKEN" in name]
        return (self._scrub.also(hidden) if hidden else self._scrub)(run.process.output())

    def _said(self, text: str) -> str:
        return self._scrub(" ".join(text.split()))[:REASON]


def _duration(order: Order, name: str) -> float | None:
    """A setting of the pipeline file in seconds; None where it is left out."""
    given = order.config.get(name)
    return None if given is None else duration(given).total_seconds()


def _filled(value: Any, order: Order) -> Any:
    """Values with what their markers stand for; an artifact that nobody named was waited for before."""
    if isinstance(value, str):
        known = {"sha": order.sha, "repo": order.repo}
        return _MARKUP.sub(lambda found: known[found[1]] if found[1] in known else order.artifacts[found[2]], value)
    if isinstance(value, Mapping):
        return {name: _filled(item, order) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(item, order) for item in value]
    return value


def _identity(chart: Chart, values: Any) -> str:
    """What would be applied, as a label's value: the chart and the values."""
    return hashlib.sha256(rfc8785.dumps({"chart": chart.digest, "values": values})).hexdigest()[:32]


def _target(order: Order) -> str:
    return hashlib.sha256(f"{order.application}/{order.environment}".encode()).hexdigest()[:16]


def _mine(revision: Revision, order: Order) -> bool:
    """Whether a revision was made by this try."""
    return revision.marks.get("deployment") == order.deployment and revision.fence == order.fence


def _conflicts(order: Order) -> str:
    """What becomes of fields that others have set: `ours`, `theirs` or `fail`. A rollback puts everything back."""
    found: str = "ours" if order.cause == "rollback" else order.config.get("conflicts", "ours")
    return found


def _way_out(revision: Revision) -> str:
    """What ends the lock of a Helm that died: before a first install's end there is nothing to roll back to."""
    return "uninstall" if revision.status == "pending-install" else "rollback"


def _stale(revision: Revision, order: Order) -> str | None:
    """Why this try must not act: a later one has."""
    if revision.marks.get("target") != _target(order) or revision.fence <= order.fence:
        return None
    return (
        f"revision {revision.number} of {order.config['release']} carries fence {revision.fence} of this target, and this "
        f"try has {order.fence}: a later one has acted, or another Greenlight deploys here, or this one's ledger was begun "
        f"anew; in that case take the label {release.OURS}fence off Secret {revision.secret} in {order.config['namespace']}"
    )


def _host(state: Path) -> str:
    """This machine since it started, with this folder of locks: within it, whoever holds no lock does not live."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = ""
    return hashlib.sha256(f"{socket.gethostname()}\n{boot}\n{state.resolve()}".encode()).hexdigest()[:16]
