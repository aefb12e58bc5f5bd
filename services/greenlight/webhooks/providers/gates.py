"""Any scanner: `POST /webhooks/gates/NAME`, Standard Webhooks headers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from greenlight.events import ids, types
from greenlight.lib import signing
from greenlight.lib.errors import Rejected
from greenlight.model.policy import Pipeline
from greenlight.model.rows import Fact
from greenlight.policy import signals
from greenlight.service.secrets import Files, Secret
from greenlight.webhooks.facts import fact, json_object
from greenlight.webhooks.provider import (
    Delivery,
    Ignored,
    Place,
    Provider,
    artifacts_at,
    counted,
    evidence_of,
    get,
    keyed,
    micros,
    need,
    repo_of,
    sha_at,
    shown,
    time_at,
)

TYPES: Mapping[str, str] = {
    "passed": types.GATE_PASSED,
    "failed": types.GATE_FAILED,
}
"""The outcomes that a scanner may report, and the event types that they become."""


class Gates(Provider):
    """Reports of scanners: a secret `gate-NAME` is valid for the gate NAME, and for no other."""

    label = "gates"
    files = Files("gate", "NAME", standard=True)

    def pointed(self, place: Place) -> str:
        return (
            f"Point the scanner {place.name} at it: {place.url}, signed as Standard Webhooks say, the secret in "
            f"{place.secret}"
        )

    def verify(self, delivery: Delivery, secrets: Sequence[Secret]) -> Sequence[Secret]:
        return standard(delivery, secrets)

    def fact(self, delivery: Delivery, pipeline: Pipeline) -> Fact | Ignored:
        return _fact(json_object(delivery), delivery)


def standard(delivery: Delivery, secrets: Sequence[Secret]) -> Sequence[Secret]:
    """Check the three headers of Standard Webhooks."""
    header = delivery.headers.get
    return signing.check_standard_webhooks(
        header("webhook-id"),
        header("webhook-timestamp"),
        header("webhook-signature"),
        delivery.body,
        delivery.now.timestamp(),
        keyed(secrets),
    )


def sent_at(delivery: Delivery) -> datetime:
    """Return the time that the sender signed: when the message was sent, to the second."""
    return datetime.fromtimestamp(int(delivery.headers["webhook-timestamp"]), UTC)


def _fact(payload: dict[str, Any], delivery: Delivery) -> Fact:
    gate, now = delivery.name, delivery.now
    repo, sha, outcome = repo_of(need(payload, "repo", str)), sha_at(payload, "sha"), need(payload, "outcome", str)
    if outcome not in TYPES:
        raise Rejected(f"outcome must be {' or '.join(map(repr, TYPES))}; a scan that crashed has none")
    given = time_at(payload, "at")
    signed = given or sent_at(delivery)
    run = None if get(payload, "run") is None else need(payload, "run", int)
    whole, artifacts = _evidence(payload), artifacts_at(payload, "artifacts")
    type = TYPES[outcome]
    content, evidence = json.dumps([whole, artifacts], sort_keys=True), evidence_of(whole, delivery)
    # What says neither when nor in which run is distinguished by its message.
    message = delivery.headers.get("webhook-id", "") if given is None and run is None else ""
    id = ids.derive(type, repo, gate, sha, run or 0, str(shown(given)), content, *([message] if message else []))
    more = {
        "gate": gate,
        "outcome": outcome,
        "run": run or 0,
        "at": shown(counted(given, now)),
        "evidence": evidence,
        "artifacts": artifacts,
    }
    return fact(
        delivery,
        type,
        id=id,
        source=f"gates/{gate}",
        repo=repo,
        sha=sha,
        moment=given,
        signed=signed,
        subject=sha,
        more={key: value for key, value in more.items() if value not in (None, {})},
        gate=gate,
        outcome=outcome,
        signal=signals.webhook(gate),
        order=(run or 0, micros(counted(signed, now))),
        evidence=evidence,
        artifacts=artifacts,
        details={} if run is None else {"run": run},
    )


def _evidence(payload: dict[str, Any]) -> str | dict[str, Any] | None:
    evidence = get(payload, "evidence")
    if evidence is None or isinstance(evidence, (str, dict)):
        return evidence
    raise Rejected("evidence is neither a URL nor an object")
