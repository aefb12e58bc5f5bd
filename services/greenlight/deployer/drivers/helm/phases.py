"""The phases after the first. Each waits at most so many seconds; it sets the next phase, returns the end, or neither."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping
from datetime import timedelta

from greenlight.deployer.clusters.refusals import Conflict, Refused
from greenlight.deployer.driver import Order, Progress
from greenlight.deployer.drivers.helm import causes, charts, hooks, release
from greenlight.deployer.drivers.helm.beginning import follow, mine, start_upgrade
from greenlight.deployer.drivers.helm.hooks import Hooks
from greenlight.deployer.drivers.helm.program import test_arguments
from greenlight.deployer.drivers.helm.release import PENDING, Revision
from greenlight.deployer.drivers.helm.run import Phase, Run
from greenlight.deployer.drivers.helm.tools import PAUSE, Tools, seconds_of
from greenlight.deployer.drivers.helm.verification import Verification, command_start
from greenlight.lib.process import Process

HOOKS = 2.0
"""Seconds that Helm may run before its hooks are looked at: without any it has ended by then."""


def step(run: Run, seconds: float, tools: Tools) -> Progress | None:
    """Continue with the run's phase for at most `seconds`. Raises Unavailable, Refused, ConfigurationError, OSError."""
    return _STEPS[run.phase](run, seconds, tools)


def _pulling(run: Run, seconds: float, tools: Tools) -> Progress | None:
    process, chart = run.started(), run.planned().chart
    if not process.wait(seconds):
        return None
    if run.canceled:
        return Progress("failed", run.canceled)
    if process.code != 0:
        return Progress("error", f"the chart cannot be fetched: {causes.error_line(tools.output(run))}")
    charts.keep(chart, run.folder / "pull")
    start_upgrade(run, tools)
    return None


def _upgrading(run: Run, seconds: float, tools: Tools) -> Progress | None:
    process, order = run.started(), run.order
    if not _helm_ended(run, process, seconds, tools):
        return None
    api, namespace = tools.clusters.api(order), order.config["namespace"]
    run.printed.finish()
    found = release.revisions(api, namespace, order.config["release"])
    revision = found[-1] if found and mine(found[-1], order) else None
    try:
        release.prune(api, namespace, found)
    except Refused as problem:
        run.printed.say(f"Old revisions of the release were not deleted: {problem}")
    if process.code == 0 and revision is not None:
        shutil.rmtree(run.folder, ignore_errors=True)
        follow(run, revision, revision.created + timedelta(seconds=run.timeout), tools)
        return None
    if revision is not None and revision.status.startswith(PENDING):
        with contextlib.suppress(Conflict):
            release.unlock(api, namespace, revision, "unlocked: its Helm has ended without writing the result")
    return _upgrade_failed(run, process, revision, tools)


def _upgrade_failed(run: Run, process: Process, revision: Revision | None, tools: Tools) -> Progress:
    """Return the end after a Helm that did not apply this deployment; `revision` is what it left."""
    order, output = run.order, tools.output(run)
    if process.code == 0:
        return Progress("error", "Helm succeeded, but the newest revision is not of this deployment")
    canceled = run.canceled or process.cancelled
    if canceled:
        return Progress("failed", canceled)
    unfinished = run.hooks.unfinished() if run.hooks is not None else ""
    waited = f"; {unfinished}" if unfinished else ""
    if process.timed_out:
        return Progress("failed", f"Helm did not end within {run.timeout:g} s{waited}")
    if process.code is not None and process.code < 0:
        memory = "; perhaps there was too little memory" if process.code == -9 else ""
        return Progress("error", f"Helm was ended by signal {-process.code}, which Greenlight did not send{memory}")
    namespace = order.config["namespace"]
    failure = causes.failure(output, order.config["release"], namespace)
    if failure.again:
        return Progress("error", failure.reason)
    lines = "" if revision is None else hooks.last_lines(tools.clusters.api(order), namespace, revision)
    return Progress("failed", f"{failure.reason}{waited}", lines)


def _helm_ended(run: Run, process: Process, seconds: float, tools: Tools) -> bool:
    """Wait at most `seconds` for Helm's end; return whether it has come. Helm is ended where a hook cannot begin."""
    waits = HOOKS - (tools.clock.monotonic() - run.process_began)
    if waits > 0:
        return process.wait(min(seconds, waits))
    run.hooks = run.hooks or _hooks(run, process, tools)
    stuck = run.hooks.cannot_begin(seconds)
    for line in run.hooks.news():
        run.printed.say(line)
    if stuck is not None:
        run.printed.say(stuck.details or stuck.reason)
        process.cancel(f"a hook cannot begin: {stuck.reason}")
    return process.wait(0.0 if run.hooks.followed else min(seconds, PAUSE))


def _hooks(run: Run, process: Process, tools: Tools) -> Hooks:
    """Return the hooks that Helm runs for this try."""
    api, order = tools.clusters.api(run.order), run.order
    patience, namespace = seconds_of(order, "patience"), order.config["namespace"]
    return Hooks(api, namespace, lambda: _own_revision(order, tools), process, tools.clock, patience)


def _own_revision(order: Order, tools: Tools) -> Revision | None:
    """Return the newest revision of the release, if this try made it."""
    newest = release.newest(tools.clusters.api(order), order.config["namespace"], order.config["release"])
    return newest if newest is not None and mine(newest, order) else None


def _rolling(run: Run, seconds: float, tools: Tools) -> Progress | None:
    assert run.rollout is not None, "followed since the phase began"
    verdict = run.rollout.watch(seconds)
    for line in run.rollout.news():
        run.printed.say(line)
    if verdict is None:
        return None
    run.rollout.close()
    if not verdict.proven:
        return Progress("failed", verdict.reason, verdict.details)
    run.verification = Verification(
        run.order,
        tools.clock,
        say=run.printed.say,
        start=lambda step, left: _start_step(run, step, left, tools),
        output=lambda: tools.output(run),
        pause=tools.pause,
    )
    run.phase = Phase.VERIFY
    return None


def _verifying(run: Run, seconds: float, tools: Tools) -> Progress | None:
    assert run.verification is not None, "made when the phase began"
    return run.verification.watch(seconds)


def _start_step(run: Run, step: str, left: float, tools: Tools) -> Process:
    """Start a step of the verification that is a process, to end within `left` seconds."""
    run.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if step == "helm-test":
        arguments = test_arguments(run.order, left)
        process = tools.helm.run(arguments, tools.clusters.access(run.order).helm(), run.folder, left + 5)
    else:
        log, helm = run.folder / "verify.log", tools.helm
        process = Process(command_start(run.order, helm.environment, log, left, helm.grace))
    tools.follow(run, process)
    return process


_STEPS: Mapping[Phase, Callable[[Run, float, Tools], Progress | None]] = {
    Phase.PULL: _pulling,
    Phase.UPGRADE: _upgrading,
    Phase.ROLLOUT: _rolling,
    Phase.VERIFY: _verifying,
}
