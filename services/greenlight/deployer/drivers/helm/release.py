"""Helm's own record of a release: a Secret per revision, `sh.helm.release.v1.NAME.vN`, read and mended without Helm.

Helm 3 and 4 write the same: labels `owner=helm`, `name`, `version`, `status`, `createdAt`, and in `data.release` the
base64 of a gzipped JSON (pkg/storage/driver/secrets.go and util.go of Helm 4.3). Greenlight adds labels of its own. A
status of `pending-*` is Helm's lock, and it has no expiry: a Helm that is killed leaves it behind.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from greenlight.deployer.clusters.api import Api, Object
from greenlight.deployer.drivers.helm.kept_fields import AsJson

OURS = "greenlight/"
"""Prefix of the labels that we have Helm put on a revision's Secret: deployment, fence, commit, identity, target, host,
until, and revision. A Helm that another program runs copies all of them to its own revision, which they then do not name."""

PENDING = "pending-"

HISTORY = 5
"""Revisions that are kept: Helm reads all of them, whole, several times in every run."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of a release, by its Secret's labels."""

    secret: str
    number: int
    status: str  # deployed, failed, superseded, uninstalled, pending-install, pending-upgrade, pending-rollback, …
    created: datetime  # by the clock of the machine that ran Helm
    made: datetime  # by the API server's
    marks: Mapping[str, str]  # our labels, without the prefix; none where another program made it
    version: str  # the Secret's resourceVersion
    manager: str  # who wrote it, as the API server noted

    @property
    def fence(self) -> int:
        """Return the fence of the try that made it; 0 if Greenlight did not make it."""
        return int(self.marks.get("fence", "0"))


def newest(api: Api, namespace: str, release: str) -> Revision | None:
    """Return the newest revision; None if nothing of that name was ever installed, or all of it is gone."""
    return next(reversed(revisions(api, namespace, release)), None)


def revisions(api: Api, namespace: str, release: str) -> list[Revision]:
    """Return all revisions that are there, the newest last."""
    query = {"labelSelector": f"owner=helm,name={release}"}
    found = [_revision(item) for item in api.labels(f"/api/v1/namespaces/{namespace}/secrets", query)]
    return sorted(found, key=lambda revision: revision.number)


def prune(api: Api, namespace: str, found: Sequence[Revision]) -> None:
    """Delete all but the newest revisions, and but what is deployed, as Helm does with --history-max."""
    for revision in found[:-HISTORY]:
        if revision.status != "deployed":
            api.delete(f"/api/v1/namespaces/{namespace}/secrets/{revision.secret}")


def record(api: Api, namespace: str, revision: Revision) -> dict[str, Any]:
    """Return the whole release: `manifest`, `hooks`, `info`, and what may be secret, so it is shown nowhere."""
    return decoded(api.get(f"/api/v1/namespaces/{namespace}/secrets/{revision.secret}"))


def documents(manifest: str) -> list[Any]:
    """Return the documents of a manifest, as JSON has them: a date is text."""
    return list(yaml.load_all(manifest, Loader=AsJson))


def mark(api: Api, namespace: str, revision: Revision, marks: Mapping[str, str]) -> None:
    """Put Greenlight's labels on a revision. Raises Conflict if it was changed meanwhile."""
    labels = {OURS + name: value for name, value in marks.items()}
    body = {"metadata": {"resourceVersion": revision.version, "labels": labels}}
    api.patch(f"/api/v1/namespaces/{namespace}/secrets/{revision.secret}", body)


def unlock(api: Api, namespace: str, revision: Revision, why: str) -> None:
    """Mark as `failed` a revision that is pending without a Helm. Raises Conflict if it was changed meanwhile."""
    path = f"/api/v1/namespaces/{namespace}/secrets/{revision.secret}"
    secret = api.get(path)
    whole = decoded(secret)
    whole["info"] = {**whole["info"], "status": "failed", "description": why}
    secret["data"]["release"] = encoded(whole)
    secret["metadata"]["labels"]["status"] = "failed"
    secret["metadata"]["resourceVersion"] = revision.version
    api.replace(path, secret)


def decoded(secret: Object) -> dict[str, Any]:
    """Return the release in a Secret."""
    raw = base64.b64decode(base64.b64decode(secret["data"]["release"]))
    whole: dict[str, Any] = json.loads(gzip.decompress(raw))
    return whole


def encoded(whole: Mapping[str, Any]) -> str:
    """Return the release as a Secret keeps it."""
    raw = base64.b64encode(gzip.compress(json.dumps(whole).encode(), mtime=0))
    return base64.b64encode(raw).decode()


def _revision(item: Object) -> Revision:
    meta = item["metadata"]
    labels: Mapping[str, str] = meta.get("labels") or {}
    fields = meta.get("managedFields") or [{}]
    made = datetime.fromisoformat(meta["creationTimestamp"])
    marks = {name.removeprefix(OURS): value for name, value in labels.items() if name.startswith(OURS)}
    return Revision(
        secret=meta["name"],
        number=int(labels["version"]),
        status=labels["status"],
        created=datetime.fromtimestamp(int(labels["createdAt"]), UTC) if "createdAt" in labels else made,
        made=made,
        marks=marks if marks.get("revision") == labels["version"] else {},
        version=meta["resourceVersion"],
        manager=str(fields[-1].get("manager", "somebody")),
    )
