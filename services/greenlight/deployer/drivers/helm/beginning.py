"""The first phase: the release's own record, and the cluster, decide whether Helm has anything to do."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from datetime import datetime, timedelta

from greenlight.deployer.clusters.api import Api
from greenlight.deployer.clusters.refusals import Conflict
from greenlight.deployer.driver import Busy, Order, Progress
from greenlight.deployer.drivers.helm import charts, live_release, post_renderer, release
from greenlight.deployer.drivers.helm.markers import filled, identity
from greenlight.deployer.drivers.helm.program import upgrade_arguments
from greenlight.deployer.drivers.helm.release import PENDING, Revision
from greenlight.deployer.drivers.helm.run import Phase, Plan, Run
from greenlight.deployer.drivers.helm.tools import Tools, conflicts_of, seconds_of
from greenlight.deployer.rollout.proof import Rollout
from greenlight.lib.files import private

FOREIGN = 60.0
"""Seconds that a release may stay locked by a Helm that is not Greenlight's, before the deployment fails."""

PULL = 60.0
"""Seconds in which a chart has to be there."""


def begin(run: Run, tools: Tools) -> Progress | None:
    """Set the next phase, or return the end. Raises Busy while a Helm that may be alive has locked the release."""
    order = run.order
    missing = tools.helm.missing()
    if missing is not None:
        return Progress("error", missing)
    api, namespace = tools.clusters.api(order), order.config["namespace"]
    revision = release.newest(api, namespace, order.config["release"])
    plan = run.plan = _plan(run, revision, tools)
    if revision is None:
        _apply(run, tools)
        return None
    stale = _stale(revision, order)
    if stale is not None:
        return Progress("error", stale)
    if revision.status.startswith(PENDING):
        locked = _unlock(api, revision, order, tools)
        if locked is not None:
            return locked
    tools.waits.pop(order.deployment, None)
    runs = revision.status == "deployed" and revision.marks.get("identity") == plan.marks["identity"]
    if not runs and not plan.chart.pull and run.target not in tools.keeping:
        _prepare(run, [], tools)  # Helm starts while the release is looked at
    if not runs or revision.marks.get("deployment") != order.deployment:
        run.before = _live(api, revision, order)
        runs = runs and _as_applied(run, run.before, api)
    if runs:
        _follow_what_runs(run, api, revision, tools)
    else:
        _apply(run, tools)
    return None


def start_upgrade(run: Run, tools: Tools) -> None:
    """Let `helm upgrade` act: the chart is there. One that was started before cannot keep fields, so another is started."""
    keep: Sequence[str] = []
    if run.before is not None:
        for note in run.before.notes():
            run.printed.say(note)
        keep = post_renderer.arguments(run.before.keeps(), run.folder / "kept.json")
    (tools.keeping.add if keep else tools.keeping.discard)(run.target)
    if keep:
        run.drop()
    if run.prepared is None:
        _prepare(run, keep, tools)
    assert run.prepared is not None, "prepared just now"
    prepared, run.prepared = run.prepared, None
    run.printed.say(f"helm upgrade {run.order.config['release']}, in namespace {run.order.config['namespace']}")
    tools.follow(run, prepared.go(run.order.deployment))
    run.process_began = tools.clock.monotonic()
    run.phase = Phase.UPGRADE


def follow(run: Run, revision: Revision, deadline: datetime, tools: Tools) -> None:
    """Follow everything that the revision's manifest contains, until `deadline`."""
    order = run.order
    api, namespace = tools.clusters.api(order), order.config["namespace"]
    manifest = release.documents(release.record(api, namespace, revision).get("manifest") or "")
    patience, settle = seconds_of(order, "patience"), seconds_of(order, "settle")
    run.rollout = Rollout(
        api, manifest, namespace, deadline, tools.clock, patience=patience, settle=settle, since=revision.made
    )
    waits = ", ".join(map(str, run.rollout.objects)) or "nothing: no object of the release has to come up"
    run.printed.say(f"rollout: waiting for {waits}")
    run.phase = Phase.ROLLOUT


def mine(revision: Revision, order: Order) -> bool:
    """Return whether this try made the revision."""
    return revision.marks.get("deployment") == order.deployment and revision.fence == order.fence


def _plan(run: Run, revision: Revision | None, tools: Tools) -> Plan:
    order = run.order
    chart = charts.chart_of(order.config["chart"], order.directory, tools.charts)
    values = filled(order.config.get("values", {}), order)
    marks = {
        "deployment": order.deployment,
        "fence": str(order.fence),
        "commit": order.sha[:40],
        "identity": identity(chart, values),
        "target": _target(order),
        "host": tools.host,
        "until": str(int(tools.clock.now().timestamp() + run.timeout + tools.helm.grace) + 5),
        "revision": str(revision.number + 1 if revision else 1),
    }
    return Plan(chart, values, marks)


def _live(api: Api, revision: Revision, order: Order) -> live_release.Release:
    """Return the release in the cluster, and what is done with the fields that others have set."""
    name, namespace, conflicts = order.config["release"], order.config["namespace"], conflicts_of(order)
    manifest = release.documents(release.record(api, namespace, revision).get("manifest") or "")
    how = {"everything_kept": conflicts == "theirs", "taken": conflicts == "ours"}
    return live_release.release(api, name, manifest, namespace, **how)


def _as_applied(run: Run, before: live_release.Release, api: Api) -> bool:
    """Return whether Helm has nothing to do.

    A person's request is always carried out; else the cluster is looked at.
    """
    if run.order.cause != "automatic":
        return False
    drift = live_release.drift(api, before, force=conflicts_of(run.order) == "ours")
    if drift is not None:
        run.printed.say(f"The release ran this already, but {drift}, so it was applied again")
    return drift is None


def _follow_what_runs(run: Run, api: Api, revision: Revision, tools: Tools) -> None:
    """Mark the record as this deployment's, and prove the rollout as always: Helm has nothing to do."""
    order, timeout = run.order, timedelta(seconds=run.timeout)
    if not mine(revision, order):
        marks = {**run.planned().marks, "revision": str(revision.number)}
        release.mark(api, order.config["namespace"], revision, marks)
    run.lock.release()
    run.printed.say("The release runs this already, so Helm is not run")
    taken_over = revision.marks.get("deployment") == order.deployment  # its time has been running since
    follow(run, revision, (revision.created if taken_over else tools.clock.now()) + timeout, tools)


def _unlock(api: Api, revision: Revision, order: Order, tools: Tools) -> Progress | None:
    """Repair the record of a Helm that is certainly dead.

    Raises Busy while it may be alive; fails for a foreign Helm.
    """
    name, namespace = order.config["release"], order.config["namespace"]
    since = f"revision {revision.number} of {name} is {revision.status} since {revision.created:%H:%M:%S}Z"
    if revision.marks.get("target") != _target(order):
        now = tools.clock.monotonic()
        if now - tools.waits.setdefault(order.deployment, now) < FOREIGN:
            raise Busy(
                f"{since}, by a Helm that Greenlight did not start ({revision.manager}); Greenlight waits for it"
            )
        return Progress(
            "failed",
            f"{since}, by a Helm that Greenlight did not start ({revision.manager}), and it is unknown whether it still runs: "
            f"if it does not, `helm {_way_out(revision)} {name} -n {namespace}`, then retry",
        )
    dead = revision.marks.get("host") == tools.host  # for it would hold the lock that we hold now
    if not dead and tools.clock.now().timestamp() < int(revision.marks.get("until", "0")):
        raise Busy(f"{since}, by another Greenlight that may be alive; this one waits for it")
    why = f"unlocked: {revision.status} by a Helm of deployment {revision.marks.get('deployment')} that has died"
    try:
        release.unlock(api, namespace, revision, why)
    except Conflict as problem:
        raise Busy(f"{since}, and it was changed just now") from problem
    return None


def _prepare(run: Run, keep: Sequence[str], tools: Tools) -> None:
    """Write the values, and start a Helm that does not act yet."""
    order, plan = run.order, run.planned()
    run.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(run.folder / "values.json", "wb", opener=private) as out:
        out.write(json.dumps(plan.values).encode())
    force = conflicts_of(order) == "ours"
    arguments = upgrade_arguments(order, plan.chart.path, plan.marks, run.timeout, force=force, keep=keep)
    cluster = tools.clusters.access(order).helm()
    run.prepared = tools.helm.prepare(arguments, cluster, run.folder, run.timeout + 5, run.lock)


def _apply(run: Run, tools: Tools) -> None:
    """Start the upgrade, or first fetch the chart if it is not here."""
    plan = run.planned()
    run.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not plan.chart.pull:
        start_upgrade(run, tools)
        return
    into = run.folder / "pull"
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(mode=0o700)
    run.printed.say(f"helm pull, chart {plan.chart.digest}")
    tools.follow(run, tools.helm.run(plan.chart.pull, tools.clusters.access(run.order).helm(), into, PULL))
    run.phase = Phase.PULL


def _target(order: Order) -> str:
    return hashlib.sha256(f"{order.application}/{order.environment}".encode()).hexdigest()[:16]


def _way_out(revision: Revision) -> str:
    """Return the command that ends a dead Helm's lock: during a first install there is nothing to roll back to."""
    return "uninstall" if revision.status == "pending-install" else "rollback"


def _stale(revision: Revision, order: Order) -> str | None:
    """Return why this try must not act: a later one has acted. None if it may."""
    if revision.marks.get("target") != _target(order) or revision.fence <= order.fence:
        return None
    return (
        f"revision {revision.number} of {order.config['release']} carries fence {revision.fence} of this target, and this "
        f"try has {order.fence}: a later one has acted, or another Greenlight deploys here, or this one's ledger was begun "
        f"anew; in that case take the label {release.OURS}fence off Secret {revision.secret} in {order.config['namespace']}"
    )
