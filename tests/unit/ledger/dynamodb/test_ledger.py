"""What is DynamoDB's own in the ledger: answers that get lost, who is in the way, what is too large, who may do what."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from greenlight.ledger.dynamodb.ledger import DynamoLedger
from greenlight.ledger.journal import verify
from greenlight.ledger.port import Conflict, Transaction
from greenlight.lib.errors import Misconfigured, Unavailable
from support.dynamodb import MISSING, Damaged, Fault, Lost, NotSent, Says, Table, Way, no_pause, way
from support.ledger import REPO, HandClock, a_decision, a_due, a_fact, a_push, a_record, a_target, an_entry, at, sha

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

STREAM = f"commit/{REPO}/{sha(1)}"
CONDITION = {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}
IN_THE_WAY = {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}
THROTTLED = {"Code": "ThrottlingError", "Message": "Throughput exceeds the current capacity"}
FINE = {"Code": "None"}


def cancelled(*reasons: dict[str, str]) -> Says:
    """A transaction is not written, for these reasons."""
    return Says(400, "TransactionCanceledException", CancellationReasons=list(reasons))


def page(status: int) -> Says:
    """It is answered, and not by DynamoDB."""
    found = Says(status, "")
    found.body = b"<html><title>Forbidden</title></html>"
    return found


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    """One for the tests of this file, which use rows of their own or none."""
    made = Table()
    yield made
    made.delete()


@pytest.fixture
def road() -> Iterator[Way]:
    """The way to it."""
    with way() as found:
        yield found


@pytest.fixture
def fresh() -> Iterator[tuple[DynamoLedger, Way]]:
    """An empty ledger, and the way to it."""
    made = Table()
    with way() as found:
        yield made.ledger(clock=HandClock().now, through=found.address, pause=no_pause), found
    made.delete()


HARMLESS: dict[str, Fault] = {
    "done, and the answer is lost": Lost(),
    "not arrived": NotSent(),
    "done, and the answer is damaged": Damaged(),
    "an error of theirs": Says(500, "InternalServerError"),
    "throttled": Says(400, "ProvisionedThroughputExceededException"),
    "asked too often": Says(400, "ThrottlingException"),
    "somebody else's transaction is in the way": cancelled(IN_THE_WAY, FINE, FINE),
    "no capacity for one of its items": cancelled(FINE, THROTTLED, FINE),
    "the same transaction is still at work": Says(400, "TransactionInProgressException"),
    "a proxy on the way answers": page(403),
}


@pytest.mark.parametrize("fault", HARMLESS)
def test_what_goes_wrong_on_the_way_changes_nothing(fresh: tuple[DynamoLedger, Way], fault: str) -> None:
    """Whether the write happened or not: afterwards it has, once, and whoever wrote it hears that it did."""
    ledger, road = fresh
    road.fail("TransactWriteItems", HARMLESS[fault])
    assert ledger.accept(a_fact(), b"body", a_due()) is True
    road.fail("TransactWriteItems", HARMLESS[fault])
    ledger.transact(
        Transaction(records=[a_record()], recorded=["f1"], entries=[an_entry("a"), an_entry("b")], done=[("k1", "e1")])
    )
    assert ledger.record(REPO, sha(1)) == a_record(version=1)
    assert [entry.id for entry in ledger.journal(STREAM)] == ["a", "b"]
    assert verify(ledger.journal(STREAM)).holds
    assert ledger.due(at(999)) == []
    assert ledger.accept(a_fact(), b"body", a_due()) is False


@pytest.mark.parametrize("fault", [Lost(), NotSent(), Damaged(), Says(503, "ServiceUnavailable")])
def test_a_claim_whose_answer_is_lost_is_still_its_own(table: Table, road: Way, fault: Fault) -> None:
    """The second try finds the first one's item, and reads in it that it was ours."""
    ledger = table.ledger(clock=HandClock().now, through=road.address, pause=no_pause)
    message = f"m{type(fault).__name__}"
    road.fail("PutItem", fault)
    assert ledger.claim("scanner", message, "sha256:aa") == "sha256:aa"
    road.fail("PutItem", fault)
    assert ledger.claim("scanner", message, "sha256:bb") == "sha256:aa"


def test_a_condition_that_fails_beside_somebody_in_the_way_is_a_conflict(table: Table, road: Way) -> None:
    """Trying again could not help: it is told at once."""
    ledger = table.ledger(clock=HandClock().now, through=road.address, pause=no_pause)
    road.fail("TransactWriteItems", cancelled(CONDITION, IN_THE_WAY))
    with pytest.raises(Conflict, match="version 0: read it again"):
        ledger.transact(Transaction(records=[a_record(50)], targets=[a_target("nowhere")]))
    assert road.count("TransactWriteItems") == 1


def test_trying_again_ends(table: Table, road: Way) -> None:
    """The same request each time, a bounded number of times, then Unavailable with the last reason."""
    ledger = table.ledger(clock=HandClock().now, through=road.address, pause=no_pause)
    road.fail("TransactWriteItems", *[Says(400, "ThrottlingException")] * 100)
    with pytest.raises(Unavailable, match="in 8 tries; the last: ThrottlingException"):
        ledger.accept(a_fact("throttled"), None, a_due())
    sent = [document for operation, document in road.asked if operation == "TransactWriteItems"]
    assert len(sent) == 8
    assert all(document == sent[0] for document in sent)
    assert ledger.fact("throttled") is None


@pytest.mark.parametrize(
    ("code", "to_do"),
    [
        ("AccessDeniedException", "greenlight ledger policy"),
        ("ResourceNotFoundException", "greenlight ledger create"),
        ("InvalidSignatureException", "clock"),
        ("UnrecognizedClientException", "the credentials are not valid"),
        ("ExpiredTokenException", "the credentials have expired"),
    ],
)
def test_what_only_an_operator_can_mend_is_said_at_once_with_what_to_do(
    table: Table, road: Way, code: str, to_do: str
) -> None:
    """For readiness as for a write."""
    ledger = table.ledger(clock=HandClock().now, through=road.address, pause=no_pause)
    road.fail("PutItem", Says(400, code))
    with pytest.raises(Misconfigured, match=to_do):
        ledger.ready()
    assert road.count("PutItem") == 1


def test_what_has_no_capacity_in_a_batch_is_asked_for_again(table: Table, road: Way) -> None:
    """Until all is read."""
    ledger = table.ledger(clock=HandClock().now, through=road.address, pause=no_pause)
    ledger.transact(Transaction(due=[a_due("half", event="e")]))
    keys = {"Keys": [{"pk": {"S": "due#half"}, "sk": {"S": "-"}}], "ConsistentRead": True}
    road.fail("BatchGetItem", _answer(Responses={}, UnprocessedKeys={table.name: keys}))
    ledger.transact(Transaction(done=[("half", "e")]))
    assert "half" not in [due.key for due in ledger.due(at(999))]


def _answer(**document: object) -> Says:
    said = Says(200, "")
    said.body = json.dumps(document).encode()
    return said


def test_what_moves_between_reading_and_writing_is_read_again(fresh: tuple[DynamoLedger, Way]) -> None:
    """Another process appends to the stream and takes the key in between: no Conflict, no gap, nothing undone."""
    ledger, road = fresh
    ledger.transact(Transaction(entries=[an_entry("first")], due=[a_due("k", 10, "e1")]))
    rounds = iter(range(2))

    def between(operation: str) -> None:
        if operation == "TransactWriteItems" and (n := next(rounds, None)) is not None:
            road.before = lambda operation: None
            ledger.transact(Transaction(entries=[an_entry(f"other {n}")], due=[a_due("k", 20, "e2")]))
            road.before = between

    road.before = between
    ledger.transact(Transaction(entries=[an_entry("late")], done=[("k", "e1")]))
    entries = ledger.journal(STREAM)
    assert [entry.id for entry in entries] == ["first", "other 0", "other 1", "late"]
    assert verify(entries).holds
    assert ledger.due(at(99)) == [a_due("k", 20, "e2")]


def test_more_hints_than_a_transaction_holds_are_written_in_several(fresh: tuple[DynamoLedger, Way]) -> None:
    """A reconciler's whole batch: each event with its due time; what is done goes last."""
    ledger, road = fresh
    due = [a_due(f"k{n:03d}", n, f"e{n:03d}") for n in range(150)]
    ledger.transact(Transaction(due=due))
    assert ledger.due(at(999), limit=500) == due
    again = [replace(one, attempts=1) for one in due]
    ledger.transact(Transaction(emit=[one.event for one in due], postponed=again, done=[("k000", "e000")]))
    assert len(ledger.outbox(older_than=at(1), limit=500)) == 150
    assert ledger.due(at(999), limit=500) == again[1:]
    for operation, document in road.asked:
        assert operation != "TransactWriteItems" or len(document["TransactItems"]) <= 100


def test_a_transaction_with_conditions_that_is_too_large_is_refused_before_it_is_sent(table: Table, road: Way) -> None:
    """It could not be written in one piece, so nothing is."""
    ledger = table.ledger(clock=HandClock().now, through=road.address, pause=no_pause)
    with pytest.raises(ValueError, match="101 items and DynamoDB takes 100"):
        ledger.transact(Transaction(records=[a_record(n) for n in range(1000, 1101)]))
    assert road.count("TransactWriteItems") == 0


def test_rows_of_any_size_fit_a_hundred_at_once(fresh: tuple[DynamoLedger, Way]) -> None:
    """Each 400 KB that cannot be made smaller, 40 MB in all: what no item holds lies among the bodies, however old it is."""
    ledger, road = fresh
    chance = random.Random(7)
    trees = [chance.randbytes(200_000).hex() for _ in range(3)]
    ledger.transact(Transaction(records=[a_record(n, tree=trees[n % 3]) for n in range(100)]))
    ledger.forget_bodies(at(10**6))
    for n in (0, 1, 99):
        assert ledger.record(REPO, sha(n)) == a_record(n, version=1, tree=trees[n % 3])
    (sent,) = [document for operation, document in road.asked if operation == "TransactWriteItems"]
    assert len(str(sent)) < 4_000_000


def test_decisions_are_named_where_they_stand_now(fresh: tuple[DynamoLedger, Way]) -> None:
    """Superseded, and wanted again by another push: one place each time."""
    ledger, _ = fresh
    ledger.transact(Transaction(decisions=[a_decision(1, "waiting", push=a_push("a", pushed=1))]))
    ledger.transact(Transaction(decisions=[a_decision(1, "superseded", push=a_push("a", pushed=1), version=1)]))
    assert ledger.decisions("shop", "staging", ["waiting", "ready", "blocked"]) == []
    assert len(ledger.decisions("shop", "staging", ["superseded"])) == 1
    row = a_decision(1, "ready", push=a_push("b", pushed=9), version=2)
    ledger.transact(Transaction(decisions=[row]))
    assert ledger.decisions("shop", "staging", ["superseded"]) == []
    assert ledger.decisions("shop", "staging", ["superseded", "ready"]) == [replace(row, version=3)]


def test_what_an_event_is_called_does_not_leave_its_place(table: Table, road: Way) -> None:
    """Separators in names name nothing else, and a message id of any length can be claimed."""
    ledger = table.ledger(clock=HandClock().now, through=road.address, pause=no_pause)
    ledger.transact(Transaction(due=[a_due("x#-", event="e#%00")]))
    ledger.transact(Transaction(done=[("x", "e#%00")]))
    assert "x#-" in [due.key for due in ledger.due(at(999))]
    assert ledger.claim("scanner", "m" * 100_000, "sha256:aa") == "sha256:aa"
    assert ledger.claim("scanner", "m" * 100_000, "sha256:bb") == "sha256:aa"


@pytest.mark.parametrize("odd", ["", "#", "no\x00thing", "\ud800", "x" * 100_000, "é" * 700, "%" * 400])
def test_whatever_a_stranger_asks_about_is_merely_not_there(table: Table, road: Way, odd: str) -> None:
    """An event may name anything: no key of it is refused by DynamoDB."""
    ledger = table.ledger(clock=HandClock().now, through=road.address, pause=no_pause)
    assert ledger.fact(odd) is None
    assert ledger.record(odd, odd) is None
    assert ledger.deployment(odd) is None
    assert ledger.target(odd, odd) is None
    assert ledger.decision(odd, odd, odd, odd) is None
    assert ledger.find(odd, odd) == []
    assert ledger.entries(odd, odd) == []
    ledger.transact(Transaction(done=[(odd, odd)]))
    ledger.transact(Transaction(due=[a_due(f"long {odd}", event="e")] if odd.isprintable() else []))
