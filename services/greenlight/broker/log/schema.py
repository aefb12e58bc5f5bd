"""The tables of the log.

A Trigger's cursor says: every event up to here is settled for it, or has a row of its own in broker_attempts. So one event
that is retried for hours does not hold the cursor back, and a start reads only cursors and retries, however long the log is.
"""

from __future__ import annotations

from greenlight.store import Schema

SCHEMA = Schema(
    "broker",
    (
        """
        CREATE TABLE broker_events (
          seq INTEGER PRIMARY KEY AUTOINCREMENT,
          broker TEXT NOT NULL,
          only TEXT,                  -- a replay: the only Trigger that gets it
          attributes TEXT NOT NULL,
          data BLOB,
          headers TEXT,               -- HTTP headers that are passed on
          ttl INTEGER NOT NULL,       -- hops left
          at REAL NOT NULL,           -- seconds since 1970
          upto INTEGER NOT NULL,      -- bytes of all events so far, this one included: a difference is a size
          cause INTEGER,              -- a reply: the event that it answers,
          by TEXT                     -- and the Trigger whose subscriber answered
        );
        CREATE INDEX broker_events_by_cause ON broker_events (cause) WHERE cause IS NOT NULL;
        CREATE TABLE broker_cursors (
          trigger TEXT PRIMARY KEY,
          seq INTEGER NOT NULL,
          since INTEGER NOT NULL,     -- events up to this one came before the Trigger
          broker TEXT NOT NULL,
          spec TEXT NOT NULL,         -- its last spec, needed once its manifest is gone
          gone INTEGER                -- removed: events up to this one are for it
        ) WITHOUT ROWID;
        CREATE TABLE broker_attempts (
          trigger TEXT NOT NULL,
          seq INTEGER NOT NULL,
          letter INTEGER,             -- the dead letter that is sent to the dead-letter sink; NULL: the event itself
          tries INTEGER NOT NULL,
          next_at REAL NOT NULL,
          PRIMARY KEY (trigger, seq)
        ) WITHOUT ROWID;
        CREATE INDEX broker_attempts_by_seq ON broker_attempts (seq);
        CREATE TABLE broker_failures (
          seq INTEGER NOT NULL,
          trigger TEXT NOT NULL,
          letter INTEGER NOT NULL,    -- 0: at the subscriber; else at the dead-letter sink
          number INTEGER NOT NULL,    -- of the attempt, from 1
          at REAL NOT NULL,
          code INTEGER NOT NULL,
          why TEXT NOT NULL,
          PRIMARY KEY (seq, trigger, letter, number)
        ) WITHOUT ROWID;
        CREATE TABLE broker_dead_letters (
          id INTEGER PRIMARY KEY AUTOINCREMENT,
          trigger TEXT NOT NULL,
          broker TEXT NOT NULL,
          seq INTEGER NOT NULL,
          attributes TEXT NOT NULL,
          data BLOB,
          headers TEXT,
          ttl INTEGER NOT NULL,
          attempts INTEGER NOT NULL,
          code INTEGER NOT NULL,
          answer BLOB NOT NULL,
          why TEXT NOT NULL,
          destination TEXT NOT NULL,
          at REAL NOT NULL,
          sink TEXT,                  -- the outcome at the dead-letter sink
          closed TEXT                 -- how a person closed it
        );
        CREATE INDEX broker_dead_letters_by_seq ON broker_dead_letters (seq);
        CREATE INDEX broker_dead_letters_open ON broker_dead_letters (trigger) WHERE closed IS NULL;
        """,
        # Triggers whose subscribers had handled the event when it was appended, each with a space before and after it.
        """
        ALTER TABLE broker_events ADD COLUMN handled TEXT;
        """,
    ),
)
