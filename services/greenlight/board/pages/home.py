"""The board itself: what needs a person, what waits for you, what runs where, what is on its way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import request
from markupsafe import Markup

from greenlight.board import reading
from greenlight.board.inbox import Waiting
from greenlight.board.overview import TROUBLE, Cell, Overview, Row
from greenlight.board.pages.shown import MINUTE, SOON
from greenlight.ledger.found import lost_pushes
from greenlight.policy.decide import OVER
from greenlight.service.deps import Deps

CHIPS = (("All", ""), ("Waiting", "waiting"), ("Blocked", "blocked"))
BLOCKED = (*OVER, "blocked", "revoked")


@dataclass(frozen=True, slots=True)
class Group:
    """Applications that have the same environments: one table."""

    environments: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]


def values(seen: Overview, inbox: Sequence[Waiting], deps: Deps) -> Mapping[str, Any]:
    """Return what the template of the board needs."""
    return {
        "seen": seen,
        "inbox": inbox,
        "headline": headline(seen, inbox),
        "matrix": matrix(seen),
        "rows": [row for row in seen.rows if _is_asked_for(row, _argument("show"))],
        "chips": CHIPS,
        "ran": any(cell.running for cell in seen.every_cell),
        "unreadable": deps.ledger.unreadable(),
        "lost": [push for repo in reading.configured(deps) for push in lost_pushes(deps.ledger, repo)],
        "lasts": SOON if any(cell.under_way for cell in seen.every_cell) else MINUTE,
    }


def _argument(name: str) -> str:
    return request.args.get(name, "")


def _is_asked_for(row: Row, show: str) -> bool:
    if show == "blocked":
        return row.state in BLOCKED
    return row.state not in BLOCKED if show == "waiting" else True


def matrix(seen: Overview) -> Sequence[Group]:
    """Return the applications as tables, those with the same environments together; or only targets that are not well."""
    trouble = _argument("targets") == "trouble"
    groups: dict[tuple[str, ...], list[tuple[str, Sequence[Cell]]]] = {}
    for application, cells in seen.cells.items():
        if trouble and not any(cell.state in TROUBLE for cell in cells):
            continue
        names = tuple(cell.target.environment for cell in cells)
        groups.setdefault(names, []).append((application, cells))
    return [Group(names, rows) for names, rows in groups.items()]


def headline(seen: Overview, inbox: Sequence[Waiting]) -> Markup:
    """Return the state of everything in one sentence."""
    cells = seen.every_cell
    failed = sum(cell.state in ("failed", "error", "revoked") for cell in cells)
    paused = sum(cell.state == "paused" for cell in cells)
    running = sum(cell.state == "running" for cell in cells)
    parts = [
        _part("failed", failed, "deployment needs somebody", "deployments need somebody"),
        _part("paused", paused, "target is paused", "targets are paused"),
        _part("pending", len(inbox), "approval waits for you", "approvals wait for you"),
        _part("running", running, "deployment is under way", "deployments are under way"),
    ]
    said = [part for part in parts if part]
    rest = len(cells) - failed - paused - running
    if not said:
        return Markup("All {} targets are well.").format(rest) if rest != 1 else Markup("The target is well.")
    well = Markup("The other {} are well.").format(_counted(rest, "target", "targets")) if rest else Markup("")
    if rest == 1:
        well = Markup("The other target is well.")
    return Markup("{}. {}").format(Markup(", ").join(said), well)


def _part(state: str, count: int, one: str, many: str) -> Markup | None:
    if not count:
        return None
    return Markup('<b class="{}">{} {}</b>').format(state, count, one if count == 1 else many)


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
