"""Checks of `greenlight doctor` on clusters that are deployed to: their answers, clocks, and the deployer's rights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from greenlight.deployer.clusters.api import Api
from greenlight.deployer.clusters.named import access_of
from greenlight.entrypoints.doctor.findings import OK, SKEW, UNKNOWN, WRONG, Finding, checked
from greenlight.lib.clock import Clock
from greenlight.lib.errors import ConfigurationError
from greenlight.model.policy import Pipeline, Rule
from greenlight.policy.rbac import needed


@dataclass(frozen=True, slots=True)
class InClusterAccount:
    """The cluster that Greenlight runs in, while the doctor runs elsewhere.

    `in-cluster` means this account there.
    """

    api: Api
    account: str  # system:serviceaccount:NAMESPACE:NAME


def targets(
    pipeline: Pipeline, directory: Path, clock: Clock, inside: InClusterAccount | None = None
) -> Iterator[Finding]:
    """Yield the findings about every cluster that some environment deploys to."""
    for name in pipeline.clusters:
        if needed(pipeline, name):
            yield from checked(f"cluster {name}", partial(_target, name, pipeline, directory, clock, inside))


def skew(what: str, api: Api, clock: Clock) -> Iterator[Finding]:
    """Yield how far the API server's clock is from this machine's."""
    before = clock.now()
    there, after = api.time(), clock.now()
    # It is given in whole seconds, and was read at some moment in between.
    apart = max(before - there, there - after)
    ahead = "behind" if there < before else "ahead"
    if apart > SKEW:
        text = f"the API server's clock is {apart.total_seconds():.0f} s {ahead} of this machine's"
        yield Finding(what, WRONG, text, "set both by NTP: leases, webhook signatures and AWS depend on the time")
    else:
        yield Finding(what, OK, f"the API server's clock is within {SKEW.total_seconds():.0f} s of this machine's")


def _target(
    name: str, pipeline: Pipeline, directory: Path, clock: Clock, inside: InClusterAccount | None
) -> Iterator[Finding]:
    what, cluster = f"cluster {name}", pipeline.clusters[name]
    if "in-cluster" in cluster and inside is not None:
        api, account = inside.api, inside.account
    else:
        api, account = access_of(cluster, directory, clock).api(), None
        try:
            yield from skew(what, api, clock)
        except ConfigurationError as problem:
            if inside is None:
                raise
            # What lets the deployer in need not be where the doctor is.
            yield Finding(
                what, UNKNOWN, f"from here: {problem}", "look from a pod like the deployer's, with --in-cluster"
            )
            return
    for namespace, rules in needed(pipeline, name).items():
        missing = _missing(api, namespace, rules, account)
        who = account or "this account"
        if missing:
            yield Finding(
                what,
                WRONG,
                f"{who} lacks rights in the namespace {namespace}: {'; '.join(missing)}",
                f"greenlight policy rbac --cluster {name} | kubectl apply -f -",
            )
        else:
            yield Finding(what, OK, f"{who} has every right that deployments to the namespace {namespace} need")


def _missing(api: Api, namespace: str, rules: Sequence[Rule], account: str | None) -> list[str]:
    """Return the rights of `greenlight policy rbac` that are not granted, as `VERB, … RESOURCE.GROUP`."""
    found = []
    for group, resources, verbs in rules:
        for resource in resources:
            refused = [verb for verb in verbs if not _may(api, account, namespace, group, resource, verb)]
            if refused:
                found.append(f"{', '.join(refused)} {resource}{f'.{group}' if group else ''}")
    return found


def _may(api: Api, account: str | None, namespace: str, group: str, resource: str, verb: str) -> bool:
    """Ask by SelfSubjectAccessReview; for another account by SubjectAccessReview, which needs more rights."""
    resource, _, part = resource.partition("/")
    asked = {"namespace": namespace, "verb": verb, "group": group, "resource": resource, "subresource": part}
    kind = "SubjectAccessReview" if account else "SelfSubjectAccessReview"
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": kind,
        "spec": {"resourceAttributes": asked} | ({"user": account, "groups": _groups(account)} if account else {}),
    }
    answer = api.create(f"/apis/authorization.k8s.io/v1/{kind.lower()}s", review)
    return bool(answer["status"]["allowed"])


def _groups(account: str) -> list[str]:
    """Return the groups of a ServiceAccount, as the API server adds them to its token's owner."""
    namespace = account.split(":")[2]
    return ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
