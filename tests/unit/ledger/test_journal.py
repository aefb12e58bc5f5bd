"""The journal's hash, and what verify sees."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
import rfc8785
from hypothesis import given

from greenlight.ledger.journal import ZEROS, entry_hash, portable, portable_form, verify
from greenlight.model.rows import Entry
from support.ledger import JSON, TEXT


def chain(*seqs: int) -> list[Entry]:
    """A chain, made with the formula of the design and nothing of ours."""
    entries: list[Entry] = []
    prev = bytes(32)
    for seq in seqs or range(1, 6):
        said = {
            "seq": seq,
            "type": "gate.passed",
            "at": f"2026-03-01T12:00:0{seq}.000000Z",
            "id": f"f{seq}",
            "payload": {"n": seq},
        }
        text = json.dumps(said, sort_keys=True, separators=(",", ":")).encode()  # is JCS for ASCII and small integers
        hash = hashlib.sha256(b"\x01" + prev + text).digest()
        entries.append(
            Entry(
                "commit/acme/shop/1", seq, said["type"], said["at"], said["id"], said["payload"], prev.hex(), hash.hex()
            )
        )  # type: ignore[arg-type]
        prev = hash
    return entries


def test_the_hash_of_a_known_entry() -> None:
    """A figure that must never change, for chains that are kept were made with it; and the bytes it is of."""
    payload = {"sha": "0" * 40, "reasons": ["wartet auf Lena ✓"], "outcome": None, "n": 1, "é": {"b": 1.5, "a": True}}
    said = (
        '{"at":"2026-03-01T12:00:00.123456Z","id":"f1","payload":{"n":1,"outcome":null,"reasons":["wartet auf Lena ✓"],'
        '"sha":"0000000000000000000000000000000000000000","é":{"a":true,"b":1.5}},"seq":7,"type":"decision"}'
    )
    prev = bytes(range(32))
    computed = entry_hash(7, "decision", "2026-03-01T12:00:00.123456Z", "f1", payload, prev)
    assert computed == hashlib.sha256(b"\x01" + prev + said.encode()).digest()
    assert computed.hex() == "3f3a08532c07ea24acbe89063a75b1d5ac89927baa932b9036c288a66e4ec50a"


@given(payload=JSON.map(lambda value: portable({"": value})), type=TEXT, id=TEXT)
def test_the_hash_is_that_of_the_whole_object_in_canonical_form(payload: Any, type: str, id: str) -> None:
    """However it is put together."""
    whole = rfc8785.dumps({"seq": 3, "type": type, "at": "t", "id": id, "payload": payload})
    assert entry_hash(3, type, "t", id, payload, bytes(32)) == hashlib.sha256(b"\x01" + bytes(32) + whole).digest()


@given(value=JSON)
def test_what_is_portable_survives_every_json_parser(value: Any) -> None:
    """Its canonical form, read back, has the same canonical form: a verifier needs only the journal's JSON."""
    once = rfc8785.dumps(portable(value))
    assert portable_form({"": value}) == b'{"":' + once + b"}"
    assert rfc8785.dumps(json.loads(once)) == once
    assert rfc8785.dumps(portable(json.loads(once))) == once
    # A parser that knows doubles only, as in a browser, reads the same.
    assert rfc8785.dumps(json.loads(once, parse_int=float)) == once


def test_what_is_no_json_is_refused() -> None:
    """A set in a payload is a mistake of ours, and is not guessed at."""
    with pytest.raises(ValueError, match="cannot hold a set"):
        portable({"a": {1, 2}})
    assert portable({"a": (float("inf"), float("nan"), -(2**53), -(2**53) + 1)}) == {
        "a": ["inf", "nan", "-9007199254740992", -(2**53) + 1]
    }


def test_a_true_chain_holds_from_any_point_on() -> None:
    """Whole, empty, and its end after a hash that the reader holds."""
    entries = chain()
    assert verify(entries).head == entries[-1].hash
    assert verify(entries).holds
    assert verify([]).head == ZEROS
    assert verify(entries[2:], prev=entries[1].hash).holds


FORGED = chain()
FORGERIES: dict[str, tuple[list[Entry], int]] = {
    "a payload": ([*FORGED[:2], replace(FORGED[2], payload={"n": 4}), *FORGED[3:]], 3),
    "a type": ([replace(FORGED[0], type="gate.failed"), *FORGED[1:]], 1),
    "a time": ([*FORGED[:4], replace(FORGED[4], at="2025-03-01T12:00:05.000000Z")], 5),
    "an id": ([*FORGED[:1], replace(FORGED[1], id="f9"), *FORGED[2:]], 2),
    "a hash": ([*FORGED[:1], replace(FORGED[1], hash=FORGED[2].hash), *FORGED[2:]], 2),
    "an entry removed": ([*FORGED[:1], *FORGED[2:]], 3),
    "the first removed": (FORGED[1:], 2),
    "an entry repeated": ([*FORGED[:2], *FORGED[1:]], 2),
    "two exchanged": ([FORGED[0], FORGED[2], FORGED[1], *FORGED[3:]], 3),
    "renumbered after a removal": ([FORGED[0], replace(FORGED[2], seq=2)], 2),
    "relinked after a removal": ([FORGED[0], replace(FORGED[2], seq=2, prev=FORGED[0].hash)], 2),
    "written with a gap": (chain(1, 3), 3),
    "written from the second on": (chain(2, 3), 2),
    "written twice with one number": (chain(1, 2, 2), 2),
    "a payload without canonical form": ([replace(FORGED[0], payload={"n": float("nan")})], 1),
    "a prev that is no hash": ([replace(FORGED[0], prev="zz")], 1),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_the_first_entry_that_was_tampered_with_is_named(forgery: str) -> None:
    """Not before it, not after it, with a reason."""
    entries, bad = FORGERIES[forgery]
    verdict = verify(entries)
    assert not verdict.holds
    assert verdict.bad == bad
    assert verdict.reason
    assert entries[verdict.entries].seq == bad


def test_an_entry_cannot_hide_behind_a_reader_that_begins_elsewhere() -> None:
    """A prev that is no hash at all is an answer too, not a crash."""
    entries = chain()
    verdict = verify([replace(entries[0], prev="no hash")], prev="no hash")
    assert verdict.bad == 1
    assert "cannot be computed" in (verdict.reason or "")
