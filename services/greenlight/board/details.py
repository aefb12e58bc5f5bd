"""The whole waterfall: the spans of the journals, which survive everything, and below them what was kept of the rest. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from greenlight.board.waterfall import digits, end_of, tree

Span = dict[str, Any]

_DEPLOYED = "promote to "


def merged(frame: Sequence[Span], kept: Iterable[Span]) -> list[Span]:
    """Return the spans as a tree, in order; `frame` are the journals'.

    A kept span of the same id, of what arrived, says how long that took. One that came twice, as an event may, is there
    once. One whose parent was lost is below the commit itself.
    """
    if not frame:
        return []
    found = {span["span_id"]: dict(span) for span in frame}
    for span in sorted(kept, key=lambda span: (span["start"], span["end"])):
        known = found.setdefault(span["span_id"], span)
        if known is not span and known["start"] == known["end"]:
            known["start"], known["end"] = min(known["start"], span["start"]), max(known["end"], span["end"])
            known["attributes"] = {**span["attributes"], **known["attributes"]}
    root = found[frame[0]["span_id"]]
    root["start"] = min(span["start"] for span in found.values())
    _attach_to_root(found, root["span_id"])
    return tree(found.values())


def _attach_to_root(found: Mapping[str, Span], root: str) -> None:
    """Have every span be below the root, whatever its parent is."""
    below = {root}
    for id in found:
        path = [id]
        while path[-1] not in below:
            parent = found[path[-1]]["parent_id"]
            if parent not in found or parent in path:
                found[path[-1]]["parent_id"] = parent = root
            path.append(parent)
        below.update(path)


def mark_critical(spans: Sequence[Span]) -> None:
    """Mark what the time until the commit's last deployment consisted of by the attribute `critical`.

    From that deployment back: each time the wait for its target, or the earlier deployment, that ended last before; in
    the end the arrival of the commit. Within a span, the same with what is below it. Nothing is marked while nothing was
    deployed.
    """
    children: dict[str | None, list[Span]] = {}
    for span in spans:
        children.setdefault(span["parent_id"], []).append(span)
    below = children.get(spans[0]["span_id"], []) if spans else []
    deployed = [span for span in below if span["name"].startswith(_DEPLOYED)]
    if not deployed:
        return
    _set_critical(spans[0])
    found: Span | None = max(deployed, key=lambda span: (end_of(span), span["start"]))
    while found is not None:
        begin = found
        _mark(begin, children)
        found = _before(begin, below)
    arrivals = [span for span in below if span["name"].startswith("receive ") and span["start"] <= begin["start"]]
    if arrivals:
        _mark(min(arrivals, key=lambda span: span["start"]), children)


def _before(following: Span, siblings: Iterable[Span]) -> Span | None:
    """Return what a wait or a deployment followed on; None: nothing that is known."""
    target, end = _target(following), following["start"]
    over = [
        span
        for span in siblings
        if span["start"] < end
        and end_of(span) <= end
        and (
            (span["name"].startswith("wait for ") and _target(span) == target)
            or (span["name"].startswith(_DEPLOYED) and _target(span)[0] == target[0])
        )
    ]
    return max(over, key=lambda span: (end_of(span), -digits(span["start"])), default=None)


def _mark(span: Span, children: Mapping[str | None, list[Span]]) -> None:
    """Mark a span, and of those below it, from its end back, one after the other with as little time between as possible."""
    _set_critical(span)
    end, left = end_of(span), children.get(span["span_id"], [])
    while left := [span for span in left if span["start"] < end and "critical" not in span["attributes"]]:
        over = [span for span in left if end_of(span) <= end]
        if over:
            found = max(over, key=lambda span: (end_of(span), -digits(span["start"])))
        else:
            found = min(left, key=lambda span: span["start"])
        _mark(found, children)
        end = found["start"]


def _set_critical(span: Span) -> None:
    span["attributes"] = {**span["attributes"], "critical": True}


def _target(span: Span) -> tuple[Any, Any]:
    """Return what a wait or a deployment is for."""
    about = span["attributes"]
    if "environment" in about:
        return about.get("application"), about["environment"]
    application, _, environment = span["name"].removeprefix(_DEPLOYED).partition("/")
    return application, environment
