"""The form of the ledger's rows in one DynamoDB table: keys, attributes and indexes. See docs/ledger-dynamodb.md.

| attribute | holds |
| --- | --- |
| pk, sk | the item's key: what kind of row, and which |
| v | the row's version |
| j, z or f | the row as JSON (greenlight.ledger.rows_json): plain, deflated, or the name of a file with it among the bodies |
| q, g, o | what the indexes `ordered` (q, o) and `grouped` (g, o) find it by; they hold keys only |
| expires | when DynamoDB may drop it (TTL) |
"""

from __future__ import annotations

import re
import zlib
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, TypeVar

from greenlight.ledger.bodies import Bodies
from greenlight.ledger.dynamodb.client import Item, Key
from greenlight.ledger.rows_json import dumps, loads
from greenlight.model.rows import Title

R = TypeVar("R")

ORDERED, GROUPED = "ordered", "grouped"
"""The indexes."""

SHARDS = 4
"""Partitions of an index that all rows of a kind are in, so that none of them carries every write. Readers ask each."""

PLAIN = 700
"""Characters of a row that is kept as it is, so that people can read it in the console; a longer one is deflated."""

IN_ITEM = 32 * 1024
"""Bytes of a deflated row that is kept in its item; a larger one is a file. So a hundred of them stay below 4 MB."""

ALONE = "-"
"""The sort key of an item that is alone in its partition."""

HEAD = "head"
"""The sort key of a journal's head."""

IN_FORCE = "policies-in-force"
"""The partition of the policies in force."""

LONGEST = 1000
"""Bytes of a key, of the 1024 that a sort key may have."""

_ODD = re.compile("[%#\x00-\x1f\x7f\ud800-\udfff]")


def joined(*parts: str) -> str:
    """Return a key of several parts; the separator, and what is no printable text, are escaped within one.

    Whatever a third party's event names can be asked for: of a key that is too long only the first part stays, and a hash.
    """
    key = "#".join([_escaped(part) for part in parts])
    if len(key) <= LONGEST // 4 or len(key.encode()) <= LONGEST:
        return key
    return f"{_escaped(parts[0])[:200]}#%{sha256(key.encode()).hexdigest()}"


def _escaped(part: str) -> str:
    return _ODD.sub(lambda odd: f"%{ord(odd[0]):02x}", part) if _ODD.search(part) else part


def stamp(moment: datetime | None) -> str:
    """Return a time as text of one length that sorts by time; no time comes before every time."""
    return "-" if moment is None else moment.astimezone(UTC).isoformat(timespec="microseconds")[:26]


def from_stamp(text: str) -> datetime:
    """Return the time of a text that begins as `stamp` wrote it."""
    return datetime.fromisoformat(text[:26]).replace(tzinfo=UTC)


def shard(kind: str, name: str) -> str:
    """Return the partition of an index for one item of a kind."""
    return f"{kind}#{zlib.crc32(name.encode('utf-8', 'surrogatepass')) % SHARDS}"


def shards(kind: str) -> list[str]:
    """Return all partitions of an index for a kind."""
    return [f"{kind}#{number}" for number in range(SHARDS)]


# Keys.


def fact_key(id: str) -> Key:
    return joined("fact", id), ALONE


def record_key(repo: str, sha: str) -> Key:
    """Return a record's key. A repository's records are one partition, by sha: a prefix of a sha finds it."""
    return joined("records", repo), joined(sha) or ALONE


def parts_pk(repo: str, sha: str) -> str:
    """Return the partition of a large record's parts, by the version that wrote them."""
    return joined("parts", repo, sha)


def parts_sk(version: int) -> str:
    """Return the sort key of what a version wrote: a base, or its changes."""
    return f"p{version:010d}"


def target_key(application: str, environment: str) -> Key:
    """Return a target's key. All targets are one partition: there are few, and they are listed."""
    return "targets", joined("t", application, environment)


def deployment_key(id: str) -> Key:
    return joined("deployment", id), ALONE


def decision_key(application: str, environment: str, repo: str, sha: str) -> Key:
    """Return a decision's key. All decisions about a commit are one partition."""
    return joined("decisions", repo, sha), joined("d", application, environment)


def candidates_pk(application: str, environment: str, state: str) -> str:
    """Return the partition that names a target's decisions of one state by push."""
    return joined("state", application, environment, state)


def old_candidates_pk(application: str, environment: str, *, open: bool) -> str:
    """Return the partition in which version 0.1 named a decision: one for every state but superseded."""
    return joined("open" if open else "past", application, environment)


def pushes_pk(repo: str) -> str:
    """Return the partition of a repository's pushes, by time."""
    return joined("pushes", repo)


def push_marker(fact: str) -> Key:
    """Return the key of a push's marker: pushes are sorted by time, and the marker keeps each single."""
    return joined("push", fact), ALONE


def title_key(repo: str, sha: str) -> Key:
    return joined("titles", repo), joined(sha)


def title(repo: str, row: Title, rows: Rows, now: datetime) -> dict[str, Any]:
    """Return the item of a commit's title, found by its author: by login in one index, by address in the other."""
    known = {"q": row.login, "g": row.email}
    author = {index: {"S": joined("author", identity)} for index, identity in known.items() if identity is not None}
    place = {"o": {"S": joined(repo, row.sha)}} if author else {}
    return item(title_key(repo, row.sha), **author, **place, **rows.pack(row, now))


def journal_pk(stream: str) -> str:
    """Return the partition of a stream: its entries by number, a marker for each id, and its head."""
    return joined("journal", stream)


def entry_key(stream: str, seq: int) -> Key:
    return journal_pk(stream), f"e{seq:010d}"


def entry_marker(stream: str, id: str) -> Key:
    """Return the key of the marker that the stream has that id."""
    return journal_pk(stream), joined("i", id)


def outbox_key(id: str) -> Key:
    return joined("outbox", id), ALONE


def due_key(key: str) -> Key:
    return joined("due", key), ALONE


def in_force_key(repo: str) -> Key:
    """Return the key of a repository's policies in force. All are one partition, which is listed."""
    return IN_FORCE, joined("r", repo)


def web_session_key(digest: str) -> Key:
    return joined("web-session", digest), ALONE


def arrivals_key(process: str) -> Key:
    """Return the key of what a process keeps of the webhooks that it has answered."""
    return joined("arrivals", process), ALONE


def policy_key(digest: str) -> Key:
    return joined("policy", digest), ALONE


def body_key(digest: str) -> Key:
    return joined("body", digest), ALONE


# Items.


def text(value: str) -> dict[str, str]:
    """Return a string as DynamoDB writes it."""
    return {"S": value}


def item(key: Key, **attributes: Any) -> dict[str, Any]:
    """Return an item."""
    return {"pk": {"S": key[0]}, "sk": {"S": key[1]}, **attributes}


class Rows:
    """Convert rows to attributes, and back.

    A row too large for an item is a file in `bodies`, by its digest, for ever.
    """

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies

    def pack(self, row: Any, now: datetime) -> dict[str, Any]:
        """Return the attribute that holds a row. Raises Unavailable if a large one cannot be kept now."""
        return self.pack_text(dumps(row), now)

    def pack_text(self, words: str, now: datetime) -> dict[str, Any]:
        """Return the attribute that holds a text."""
        if len(words) <= PLAIN and words:
            return {"j": {"S": words}}
        deflated = zlib.compress(words.encode(), 1)
        if len(deflated) <= IN_ITEM:
            return {"z": {"B": deflated}}
        name = f"row-{sha256(deflated).hexdigest()}"
        self._bodies.put(name, deflated, int(now.timestamp() * 1_000_000))
        return {"f": {"S": name}}

    def unpack_text(self, found: Item) -> str:
        """Return the text that an item holds. Raises one of NO_ROW, or zlib.error, where it holds none."""
        if "j" in found:
            words: str = found["j"]["S"]
            return words
        if "z" in found:
            return zlib.decompress(found["z"]["B"]).decode()
        name = found["f"]["S"]
        deflated = self._bodies.get(name)
        if deflated is None:
            raise LookupError(f"the row {name} is not among the bodies: a lifecycle rule may have removed it")
        if name != f"row-{sha256(deflated).hexdigest()}":
            raise ValueError(f"the row {name} among the bodies is not what was written: another program has changed it")
        return zlib.decompress(deflated).decode()

    def unpack(self, kind: type[R], found: Item, **columns: Any) -> R:
        """Return the row of type `kind` in an item, with its version and other given values put in.

        Raises as unpack_text does.
        """
        if "v" in found:
            columns["version"] = int(found["v"]["N"])
        return loads(kind, self.unpack_text(found), **columns)
