"""The waterfall of a commit, computed from its journals: it survives kill -9, and the waiting is in it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from greenlight.events import ids
from greenlight.model import keys
from greenlight.model.rows import Entry
from greenlight.telemetry.tracing import receive_name

BOARD = "greenlight/board"
"""The source of what people say on the board."""

_SPEAKERS = {BOARD: "board", "greenlight/promoter": "promoter"}
"""By source: who wrote a fact that no webhook brought."""

_ENDS = ("deployment.succeeded", "deployment.failed", "deployment.error", "deployment.superseded")
_Wait = tuple[str, str, str]  # application, environment, gate


def spans(repo: str, sha: str, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Return spans as a tree, in order.

    The commit is the root; below it is what arrived, was waited for, was decided and deployed. What still goes on has no end: a
    deployment, a wait, and then the commit itself.
    """
    ordered = sorted((entry for entry in entries if _is_whole(entry)), key=lambda entry: entry.at)
    if not ordered:
        return []
    root = ids.root_span_id(repo, sha)
    found = [span for part in (_facts, _waits, _decisions) for span in part(ordered, root)]
    found += _deployments(ordered, root, repo, sha)
    end = None if any(span["end"] is None for span in found) else ordered[-1].at
    whole = _span(root, None, f"commit {repo}@{sha[:7]}", "greenlight", ordered[0].at, end, {})
    return tree((whole, *found))


def tree(spans: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return spans in order: parents before their children, siblings by start."""
    children: dict[str | None, list[dict[str, Any]]] = {}
    for span in spans:
        children.setdefault(span["parent_id"], []).append(span)
    return list(_tree(children, None))


_NEEDS: Mapping[str, Mapping[str, type]] = {
    "decision": {"application": str, "environment": str, "decision": str, "reasons": list, "gates": dict},
    "promotion.ready": {"promotion": str},
    **{type: {"deployment": str, "application": str, "environment": str} for type in ("deployment.started", *_ENDS)},
}
"""What is read of the entries of a type, and of which JSON type it is."""


def _is_whole(entry: Entry) -> bool:
    """Return whether an entry has every field that is read.

    One that a bad disk changed is left out; the chain reports it.
    """
    if "unreadable" in entry.payload:
        return False
    return all(isinstance(entry.payload.get(name), kind) for name, kind in _NEEDS.get(entry.type, {}).items())


def _tree(children: Mapping[str | None, list[dict[str, Any]]], parent: str | None) -> Iterable[dict[str, Any]]:
    for span in sorted(children.get(parent, ()), key=_place):
        yield span
        yield from _tree(children, span["span_id"])


def _place(span: dict[str, Any]) -> tuple[str, int, str]:
    """Return the sort key of a span: its start, and of those that start together the outer one first."""
    return span["start"], -digits(end_of(span)), span["span_id"]


def end_of(span: Mapping[str, Any]) -> str:
    """Return the end of a span, for comparisons: of one that still lasts, a time after all others."""
    return span["end"] or "9999-12-31T23:59:59.999999Z"


def digits(time: str) -> int:
    """Return the digits of a time as a number, which can be negated for sorting."""
    return int("".join(filter(str.isdigit, time)))


def _facts(entries: Sequence[Entry], root: str) -> Iterable[dict[str, Any]]:
    for entry in entries:
        if not keys.is_commit_stream(entry.stream) or entry.type == "decision":
            continue
        attributes = {key: entry.payload[key] for key in ("signal", "outcome", "source") if key in entry.payload}
        name = receive_name(entry.type, entry.payload.get("signal"))
        service = _SPEAKERS.get(attributes.get("source", ""), "webhooks")
        yield _span(ids.span_id(entry.id, "receive"), root, name, service, entry.at, entry.at, attributes)


def _waits(entries: Sequence[Entry], root: str) -> Iterable[dict[str, Any]]:
    """Yield each target's wait for a gate, from its first lack until it had passed or was not needed any more."""
    known: set[_Wait] = set()
    since: dict[_Wait, str] = {}
    for entry in entries:
        if entry.type != "decision":
            continue
        decided = entry.payload
        wanted = decided["decision"] in ("waiting", "blocked")
        for gate, state in decided["gates"].items():
            key = (decided["application"], decided["environment"], gate)
            began = entry.at if key in known else entries[0].at
            known.add(key)
            if wanted and state != "passed":
                since.setdefault(key, began)
            elif key in since or began != entry.at:
                yield _wait(ids.span_id(entry.id, f"wait {gate}"), root, key, since.pop(key, began), entry.at)
    for key, began in since.items():
        yield _wait(ids.span_id("/".join(key), f"waiting since {began}"), root, key, began, None)


def _wait(id: str, root: str, key: _Wait, start: str, end: str | None) -> dict[str, Any]:
    application, environment, gate = key
    attributes = {"application": application, "environment": environment, "gate": gate}
    name = f"wait for {gate} ({application}/{environment})"
    return _span(id, root, name, "promoter", start, end, attributes)


def _decisions(entries: Sequence[Entry], root: str) -> Iterable[dict[str, Any]]:
    for entry in entries:
        if entry.type == "decision":
            keys = ("application", "environment", "decision", "reasons")
            attributes = {key: entry.payload[key] for key in keys}
            where = f"{attributes['application']}/{attributes['environment']}"
            name = f"check for promotion: {attributes['decision']} ({where})"
            yield _span(ids.span_id(entry.id, "decide"), root, name, "promoter", entry.at, entry.at, attributes)


def _deployments(entries: Sequence[Entry], root: str, repo: str, sha: str) -> Iterable[dict[str, Any]]:
    """Yield deployments from promotion.ready to the end; their parts are children: the handover, then the driver.

    Those of a retry or rollback are in a trace of their own, which their attributes name; it links back to this one.
    """
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
        trace = ids.deployment_trace_id(repo, sha, id, payload.get("cause", ""))
        own = {} if trace == ids.trace_id(repo, sha) else {"trace_id": trace}
        yield _span(parent, root, f"promote to {where}", "promoter", ready.at, end.at if end else None, own)
        yield _span(ids.span_id(id, "hand over"), parent, "hand over", "deployer", ready.at, start.at, own)
        yield _span(
            ids.span_id(id, "deploy"),
            parent,
            f"deploy {where}",
            "deployer",
            start.at,
            end.at if end else None,
            {**attributes, **own},
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
