"""The list of commits: searched by title, author and sha, and filtered by where they stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from greenlight.board import reading
from greenlight.board.commits import Known, known
from greenlight.board.overview import Row
from greenlight.board.stops import stops
from greenlight.ledger.port import Unreadable
from greenlight.lib.errors import Rejected
from greenlight.model.policy import Policy, Situation
from greenlight.model.rows import Record
from greenlight.service.deps import Deps

PAGE = 30
"""Rows of one page."""

LOOKED_AT = 300
"""Records that one page looks at, at most; a search that found too little goes on from there when it is asked to."""

BATCH = 60
"""Records that are read at once."""

STATES: Mapping[str, Sequence[str]] = {
    "waiting": ("pending", "paused", "frozen", "none"),
    "blocked": ("blocked", "revoked"),
    "failed": ("failed", "error", "canceled"),
    "running": ("running",),
    "deployed": ("succeeded",),
    "superseded": ("superseded",),
}
"""What can be asked for, and the states of a commit in an environment that it means."""


@dataclass(frozen=True, slots=True)
class Search:
    """The words and places that are looked for; an empty text stands for any."""

    text: str = ""
    repo: str = ""
    application: str = ""
    environment: str = ""
    state: str = ""
    author: str = ""

    def admits(self, commit: Known) -> bool:
        """Return whether a commit's title, author or sha has the text, and its author is the one."""
        text, author = self.text.casefold(), commit.author.casefold()
        found = text in commit.title.casefold() or text in author or commit.sha.startswith(text)
        return found and self.author.casefold() in author

    def fits(self, row: Row) -> bool:
        """Return whether a commit stands so in one of the environments that are asked for."""
        if self.application not in ("", row.policy.name):
            return False
        places = [stop for stop in row.stops if self.environment in ("", stop.environment)]
        if not self.state:
            return bool(places) or not self.environment
        wanted = STATES[self.state]
        first = row.first
        if self.environment or self.state in ("deployed", "running"):
            return any(stop.state in wanted for stop in places)
        return row.state in wanted if first is None else first.state in wanted


@dataclass(frozen=True, slots=True)
class Found:
    """Some rows, newest first, and the cursor from where the search goes on."""

    rows: Sequence[Row]
    next: str | None


def listing(search: Search, cursor: str | None, deps: Deps) -> Found:
    """Return the commits that are looked for. Raises Rejected for a cursor or a state that there is not."""
    if search.state and search.state not in STATES:
        raise Rejected(f"no state {search.state!r}; there are {', '.join(STATES)}")
    if cursor is None and (exact := list(_by_sha(search, deps))):
        return Found([row for row in _rows(exact, search, deps) if search.fits(row)], None)
    rows: list[Row] = []
    for _ in range(LOOKED_AT // BATCH):
        try:
            page = deps.ledger.records(repo=search.repo.lower() or None, cursor=cursor, limit=BATCH)
        except ValueError:
            raise Rejected("the cursor is not one that this page gave") from None
        rows += [row for row in _rows(page.records, search, deps) if search.fits(row)]
        cursor = page.next
        if cursor is None or len(rows) >= PAGE:
            break
    return Found(rows, cursor)


def _by_sha(search: Search, deps: Deps) -> Iterable[Record]:
    """Yield the records whose sha begins with the text, if it can be one."""
    text = search.text.strip().lower()
    if len(text) < 7 or not all(digit in "0123456789abcdef" for digit in text):
        return
    for repo in sorted({policy.repo for policy in deps.pipeline().applications.values()}):
        for sha in deps.ledger.find(repo, text):
            record = deps.ledger.record(repo, sha)
            if record is not None:
                yield record


def _rows(records: Iterable[Record], search: Search, deps: Deps) -> Iterable[Row]:
    """Yield the rows of records whose title and author are looked for. Each target is read once for all of them."""
    by_repo: dict[str, list[Record]] = {}
    for record in records:
        by_repo.setdefault(record.repo, []).append(record)
    rows: list[Row] = []
    for repo, those in by_repo.items():
        named = known(repo, [record.sha for record in those], deps)
        admitted = [record for record in those if search.admits(named[record.sha])]
        if not admitted:
            continue
        for policy in deps.pipeline().of(repo):
            cases, _ = reading.situations_of(admitted[0], [policy], deps.clock.now(), deps)
            rows += [
                row for commit in admitted if (row := _row(commit, policy, list(cases.values()), named[commit.sha]))
            ]
    return sorted(rows, key=lambda row: row.commit.pushed.timestamp() if row.commit.pushed else 0, reverse=True)


def _row(record: Record, policy: Policy, cases: Sequence[Situation], commit: Known) -> Row | None:
    try:
        places = stops(case.of(record) for case in cases)
    except Unreadable:
        return None
    pushed = min((push.heard for push in record.pushes.values()), default=None)
    return Row(policy, replace(commit, refs=tuple(sorted(record.pushes)), pushed=pushed), places) if places else None
