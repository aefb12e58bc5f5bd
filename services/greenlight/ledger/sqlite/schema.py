"""The ledger's tables.

Times are microseconds since 1970 in UTC. `json` is the row (greenlight.ledger.rows_json); other columns are what it is
found by, and what changes without the rest of it. What is read in its key's order lies in that order (WITHOUT ROWID).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from greenlight.store import Schema

SCHEMA = Schema(
    "ledger",
    (
        """
CREATE TABLE facts (id TEXT PRIMARY KEY, recorded INTEGER NOT NULL, json TEXT NOT NULL);

CREATE TABLE claims (
    sender TEXT, message TEXT, digest TEXT NOT NULL,
    PRIMARY KEY (sender, message)
) WITHOUT ROWID;

CREATE TABLE records (
    repo TEXT, sha TEXT, version INTEGER NOT NULL, updated INTEGER NOT NULL, json TEXT NOT NULL,
    PRIMARY KEY (repo, sha)
);
CREATE INDEX records_by_time ON records (updated, repo, sha);
CREATE INDEX records_by_repo ON records (repo, updated, sha);

CREATE TABLE record_refs (repo TEXT, sha TEXT, ref TEXT, PRIMARY KEY (repo, sha, ref)) WITHOUT ROWID;

CREATE TABLE pushes (
    repo TEXT, pushed_at INTEGER, arrived INTEGER, fact TEXT NOT NULL UNIQUE, ref TEXT NOT NULL, json TEXT NOT NULL,
    PRIMARY KEY (repo, pushed_at, arrived, fact)
) WITHOUT ROWID;

CREATE TABLE targets (
    application TEXT, environment TEXT, version INTEGER NOT NULL, json TEXT NOT NULL,
    PRIMARY KEY (application, environment)
);

CREATE TABLE decisions (
    repo TEXT, sha TEXT, application TEXT, environment TEXT, version INTEGER NOT NULL,
    decision TEXT NOT NULL, pushed_at INTEGER, arrived INTEGER, json TEXT NOT NULL,
    PRIMARY KEY (repo, sha, application, environment)
);
CREATE INDEX decisions_by_push ON decisions (application, environment, decision, pushed_at, arrived, repo, sha);

CREATE TABLE deployments (
    id TEXT PRIMARY KEY, version INTEGER NOT NULL,
    application TEXT NOT NULL, environment TEXT NOT NULL, started INTEGER NOT NULL, json TEXT NOT NULL
);
CREATE INDEX deployments_by_time ON deployments (application, environment, started, id);

CREATE TABLE entries (
    stream TEXT, seq INTEGER, id TEXT NOT NULL, type TEXT NOT NULL, at TEXT NOT NULL, payload TEXT NOT NULL,
    prev BLOB NOT NULL, hash BLOB NOT NULL, repo TEXT NOT NULL, sha TEXT NOT NULL,
    PRIMARY KEY (stream, seq)
) WITHOUT ROWID;
CREATE UNIQUE INDEX entries_once ON entries (stream, id);
CREATE INDEX entries_by_commit ON entries (repo, sha, at);

CREATE TABLE outbox (id TEXT PRIMARY KEY, at INTEGER NOT NULL, json TEXT NOT NULL);
CREATE INDEX outbox_by_time ON outbox (at);

CREATE TABLE due (
    key TEXT PRIMARY KEY, at INTEGER NOT NULL, event TEXT NOT NULL, json TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX due_by_time ON due (at, key);

CREATE TABLE policies (digest TEXT PRIMARY KEY, text TEXT NOT NULL);

CREATE TABLE bodies (digest TEXT PRIMARY KEY, stored INTEGER NOT NULL, deflated BLOB);
CREATE INDEX bodies_by_time ON bodies (stored);
""",
        # A record that has many parts (greenlight.ledger.parts) is `in_parts`: its json is the rest of it.
        """
ALTER TABLE records ADD COLUMN in_parts INTEGER NOT NULL DEFAULT 0;

CREATE TABLE record_parts (
    repo TEXT, sha TEXT, path TEXT, json TEXT NOT NULL,
    PRIMARY KEY (repo, sha, path)
) WITHOUT ROWID;
""",
        # Names of people, and what they call their commits: the one table that people may have rows erased from.
        """
CREATE TABLE titles (
    repo TEXT, sha TEXT, login TEXT, email TEXT, json TEXT NOT NULL,
    PRIMARY KEY (repo, sha)
) WITHOUT ROWID;
""",
        # The policies that the commits of a repository are decided under.
        """
CREATE TABLE policies_in_force (repo TEXT PRIMARY KEY, version INTEGER NOT NULL, json TEXT NOT NULL) WITHOUT ROWID;
""",
        # Logins in browsers.
        """
CREATE TABLE web_sessions (
    digest TEXT PRIMARY KEY, seen INTEGER NOT NULL, until INTEGER NOT NULL, json TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX web_sessions_by_end ON web_sessions (until);
""",
        # Details of the last days: parts of traces, oldest first (greenlight.ledger.spans).
        """
CREATE TABLE spans (id INTEGER PRIMARY KEY, trace BLOB NOT NULL, at INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX spans_by_trace ON spans (trace, id);
""",
        # What each process keeps of the webhooks that it has answered: a row for each, for some days.
        """
CREATE TABLE arrivals (
    process TEXT PRIMARY KEY, at INTEGER NOT NULL, until INTEGER NOT NULL, json TEXT NOT NULL
) WITHOUT ROWID;
""",
    ),
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(moment: datetime) -> int:
    """Return the microseconds from 1970 to `moment`. Raises TypeError for a naive datetime."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(count: int) -> datetime:
    """Return the time (UTC) that is `count` microseconds after 1970."""
    return _EPOCH + count * _MICROSECOND
