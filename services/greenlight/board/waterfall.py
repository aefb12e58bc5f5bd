"""The waterfall of a commit, computed from its journals: it survives kill -9, and the waiting is in it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from greenlight.events import ids
from greenlight.ledger.rows import Entry

_ENDS = ("deployment.succeeded", "deployment.failed", "deployment.error", "deployment.superseded")


def spans(repo: str, sha: str, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Spans as a tree, in order: the commit, and below it what arrived, was waited for, was decided and deployed."""
    if not entries:
        return []
    ordered = sorted(entries, key=lambda entry: entry.at)
    root = ids.span_id(f"{repo}/{sha}", "commit")
    found = [_span(root, None, f"commit {repo}@{sha[:7]}", "greenlight", ordered[0].at, ordered[-1].at, {})]
    for part in (_facts, _waits, _decisions, _deployments):
        found += part(ordered, root)
    return list(_tree(found, None))


def _tree(found: Sequence[dict[str, Any]], parent: str | None) -> Iterable[dict[str, Any]]:
    """Parents before their children, siblings by start."""
    for span in sorted((span for span in found if span["parent_id"] == parent), key=_place):
        yield span
        yield from _tree(found, span["span_id"])


def _place(span: dict[str, Any]) -> tuple[str, int, str]:
    """By start, and of those that start together the outer one first."""
    end = span["end"] or "9999"
    return span["start"], -int("".join(filter(str.isdigit, end))), span["span_id"]


def _facts(entries: Sequence[Entry], root: str) -> Iterable[dict[str, Any]]:
    for entry in entries:
        if not entry.stream.startswith("commit/") or entry.type == "decision":
            continue
        names = {key: entry.payload[key] for key in ("signal", "outcome", "source") if key in entry.payload}
        yield _span(
            ids.span_id(entry.id, "receive"), root, f"receive {entry.type}", "webhooks", entry.at, entry.at, names
        )


def _waits(entries: Sequence[Entry], root: str) -> Iterable[dict[str, Any]]:
    """For each target and gate, from the first decision that knew the commit until the one that found the gate passed."""
    began = entries[0].at
    open_gates: dict[tuple[str, str, str], bool] = {}
    for entry in entries:
        if entry.type != "decision":
            continue
        where = (entry.payload["application"], entry.payload["environment"])
        for gate, state in entry.payload["gates"].items():
            key = (*where, gate)
            if state == "passed" and not open_gates.get(key, False):
                yield _wait(entry, root, key, began)
            open_gates[key] = state == "passed"
    last = entries[-1].at
    for key, passed in open_gates.items():
        if not passed:
            span = ids.span_id("/".join(key), f"waiting since {began}")
            attributes = {"application": key[0], "environment": key[1], "gate": key[2], "open": True}
            yield _span(span, root, f"wait for {key[2]}", "promoter", began, last, attributes)


def _wait(entry: Entry, root: str, key: tuple[str, str, str], began: str) -> dict[str, Any]:
    attributes = {"application": key[0], "environment": key[1], "gate": key[2]}
    return _span(
        ids.span_id(entry.id, f"wait {key[2]}"), root, f"wait for {key[2]}", "promoter", began, entry.at, attributes
    )


def _decisions(entries: Sequence[Entry], root: str) -> Iterable[dict[str, Any]]:
    for entry in entries:
        if entry.type == "decision":
            keys = ("application", "environment", "decision", "reasons")
            attributes = {key: entry.payload[key] for key in keys}
            name = f"check for promotion: {entry.payload['decision']}"
            yield _span(ids.span_id(entry.id, "decide"), root, name, "promoter", entry.at, entry.at, attributes)


def _deployments(entries: Sequence[Entry], root: str) -> Iterable[dict[str, Any]]:
    """From promotion.ready to the end; what is inside is a child: handing over, then the driver."""
    promoted = {e.payload["promotion"]: e for e in entries if e.type == "promotion.ready"}
    started = {e.payload["deployment"]: e for e in entries if e.type == "deployment.started"}
    ended = {e.payload["deployment"]: e for e in entries if e.type in _ENDS}
    for id, start in started.items():
        end = ended.get(id)
        payload = (end or start).payload
        where = f"{payload['application']}/{payload['environment']}"
        attributes = {key: payload[key] for key in ("deployment", "outcome", "cause", "n", "reason") if key in payload}
        ready = promoted.get(id, start)
        parent = ids.span_id(id, "promotion")
        yield _span(parent, root, f"promote to {where}", "promoter", ready.at, end.at if end else None, {})
        yield _span(ids.span_id(id, "hand over"), parent, "hand over", "deployer", ready.at, start.at, {})
        yield _span(
            ids.span_id(id, "deploy"),
            parent,
            f"deploy {where}",
            "deployer",
            start.at,
            end.at if end else None,
            attributes,
        )


def _span(
    id: str, parent: str | None, name: str, service: str, start: str, end: str | None, attributes: dict[str, Any]
) -> dict[str, Any]:
    return {
        "span_id": id,
        "parent_id": parent,
        "name": name,
        "service": service,
        "start": start,
        "end": end,
        "attributes": attributes,
    }
