"""The listing of records, newest first: its query and its cursor."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping

Position = tuple[int, str, str]
"""(updated, repo, sha) of the last record of a page."""


def query(
    repo: str | None, ref: str | None, decision: Mapping[str, str | None], after: Position | None, limit: int
) -> tuple[str, list[object]]:
    """Return SQL and parameters for (updated, repo, sha) of at most `limit` records after a position.

    `decision` has what a decision about the record must have: its application, environment and state, None for any.
    """
    tests: list[str] = []
    parameters: list[object] = []
    if repo is not None:
        tests.append("repo = ?")
        parameters.append(repo)
    if ref is not None:
        tests.append(
            "EXISTS (SELECT 1 FROM record_refs r WHERE r.repo = records.repo AND r.sha = records.sha AND r.ref = ?)"
        )
        parameters.append(ref)
    wanted = {column: value for column, value in decision.items() if value is not None}
    if wanted:
        same = "".join(f" AND d.{column} = ?" for column in wanted)
        tests.append(
            f"EXISTS (SELECT 1 FROM decisions d WHERE d.repo = records.repo AND d.sha = records.sha{same})"  # noqa: S608
        )
        parameters += wanted.values()
    if after is not None:
        updated, last, sha = after
        tests.append("(updated, sha) < (?, ?)" if repo == last else "(updated, repo, sha) < (?, ?, ?)")
        parameters += (updated, sha) if repo == last else after
    where = " AND ".join(tests) or "true"
    return (
        # Only constants and column names are put together here; every value is a parameter.
        f"SELECT updated, repo, sha FROM records WHERE {where}"  # noqa: S608
        " ORDER BY updated DESC, repo DESC, sha DESC LIMIT ?",
        [*parameters, limit],
    )


def to_cursor(position: Position) -> str:
    """Return an opaque text, safe in a URL, that names a position."""
    return urlsafe_b64encode(json.dumps(position).encode()).decode()


def from_cursor(cursor: str) -> Position:
    """Return the position that a cursor names. Raises ValueError for anything else."""
    try:
        updated, repo, sha = json.loads(urlsafe_b64decode(cursor.encode("ascii")))
    except (ValueError, TypeError, RecursionError):
        updated = repo = sha = None
    if type(updated) is int and -(2**63) <= updated < 2**63 and isinstance(repo, str) and isinstance(sha, str):
        return updated, repo, sha
    raise ValueError("the cursor is not one that a listing gave: start again without it")
