"""What is noticed beside facts: a repository with another name, one that went silent, clocks that are ahead."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from greenlight.entrypoints.doctor.machine import _senders
from greenlight.events import Event, rfc3339, types
from greenlight.ledger import names
from greenlight.ledger.port import Transaction
from greenlight.lib.errors import Unavailable
from greenlight.model.rows import Push
from greenlight.reconciler import app as reconciler
from greenlight.service.deps import Deps
from greenlight.service.publisher import InLog
from greenlight.telemetry import metrics
from support.flow import push_payload
from support.policy import parse
from support.webhooks import GITHUB, PIPELINE, Rig, gate_body, ignored, repository


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


def _push(name: str, id: int | None, word: str = "one") -> dict[str, Any]:
    about = repository(name) if id is None else repository(name, id=id)
    return push_payload(word) | {"repository": about}


def _renamed(rig: Rig) -> str | None:
    return names.name_of(rig.ledger, "acme/shop").now


SAID = "acme/shop is called acme/store now: change `repo` in the pipeline file"


def test_a_repository_is_bound_to_its_id_at_first_sight(rig: Rig) -> None:
    """So that a body with another name and the same id says that it was renamed, also after a restart."""
    rig.fact(rig.github("push", _push("Acme/Shop", 7)))
    assert names.name_of(rig.ledger, "acme/shop").id == "github.com/7"
    assert "no application" in ignored(rig.github("push", _push("acme/other", 8)))
    rig.close()
    rig.__post_init__()  # the same folder in another process
    assert ignored(rig.github("push", _push("Acme/Store", 7))) == SAID
    assert _renamed(rig) == "acme/store"


@pytest.mark.parametrize(
    ("changes", "former"),
    [
        ({"repository": {"name": {"from": "Shop"}}}, "acme/shop"),
        ({"owner": {"from": {"organization": {"login": "Acme"}}}}, "acme/shop"),
        ({"owner": {"from": {"user": {"login": "acme"}}}}, "acme/shop"),
    ],
)
def test_github_says_that_a_repository_was_renamed_or_transferred(
    rig: Rig, changes: dict[str, Any], former: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its new name is in the body, its old one in the changes; no push need have been seen before. Said once."""
    new = "acme/store" if "repository" in changes else "emca/shop"
    payload = {"action": "renamed", "changes": changes, "repository": {"id": 7, "full_name": new}}
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            assert ignored(rig.github("repository", payload)) == SAID.replace("acme/store", new)
    assert [record.getMessage() for record in caplog.records] == [SAID.replace("acme/store", new)]
    assert names.name_of(rig.ledger, former).now == new


def test_a_name_that_comes_back_is_no_longer_another(rig: Rig) -> None:
    """Whoever renamed it did so by mistake."""
    rig.fact(rig.github("push", _push("acme/shop", 7)))
    ignored(rig.github("push", _push("acme/store", 7)))
    rig.fact(rig.github("push", _push("acme/shop", 7, "two")))
    assert _renamed(rig) is None
    assert ignored(rig.github("push", _push("acme/store", 7))) == SAID


def test_a_notice_that_cannot_be_kept_keeps_no_fact_out(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the webhooks may not write it yet, or the ledger is busy; the next webhook tries again."""
    with monkeypatch.context() as patch:

        def refuse(transaction: Transaction) -> None:
            raise Unavailable("not allowed")

        patch.setattr(rig.ledger, "transact", refuse)
        rig.fact(rig.github("push", _push("acme/shop", 7)))
        payload = {"action": "renamed", "changes": {}, "repository": {"id": 7, "full_name": "acme/store"}}
        assert ignored(rig.github("repository", payload)) == "it names no commit"
    rig.fact(rig.github("push", _push("acme/shop", 7, "three")))
    assert names.name_of(rig.ledger, "acme/shop").id == "github.com/7"


def test_another_repository_of_that_name_is_named_in_the_log(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody made one where the old one was; its secret is right, so it is taken."""
    rig.fact(rig.github("push", _push("acme/shop", 7)))
    with caplog.at_level(logging.ERROR):
        rig.fact(rig.github("push", _push("acme/shop", 8, "two")))
    assert "acme/shop is another repository now: its id is github.com/8, and was github.com/7" in caplog.text


def test_a_secret_that_does_not_speak_for_the_repository_renames_nothing(tmp_path: Path) -> None:
    """One that speaks for another owner alone may say what it likes of its own."""
    rig = Rig(tmp_path, secrets={"github@acme": GITHUB, "github@evil": b"another"})
    rig.fact(rig.github("push", _push("acme/shop", 7)))
    payload = {
        "action": "renamed",
        "changes": {"owner": {"from": {"user": {"login": "acme"}}}},
        "repository": {"id": 7, "full_name": "evil/shop"},
    }
    answer = rig.github("repository", payload, secret=b"another")
    assert (answer.status_code, _renamed(rig)) == (202, None)
    assert rig.github("repository", payload).status_code == 401, "the new owner has no secret yet"
    assert _renamed(rig) == "evil/shop", "who speaks for the old name says that it is gone"
    rig.close()


def test_what_is_ignored_leaves_its_reason_in_the_log(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """In one line of bounded length, whatever is in it."""
    with caplog.at_level(logging.INFO):
        rig.github("push", _push("acme/other", 8))
        rig.github("x\x1b[2J" + "y" * 5000, {"repository": repository()})
    one, two = (record.getMessage() for record in caplog.records)
    assert "github ignored 202" in one
    assert "no application of the pipeline file is made from acme/other" in one
    assert len(two) < 500
    assert "\x1b" not in two


def test_a_clock_that_is_ahead_is_counted_and_named_once_a_day(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """By sender; what it says is taken."""
    before = metrics.CLOCK_AHEAD.labels("gate-scan")._value.get()
    with caplog.at_level(logging.WARNING):
        for run in (1, 2):
            at = rfc3339(datetime.now(UTC) + timedelta(minutes=10))
            rig.fact(rig.gate(gate_body(run=run, at=at), id=f"m{run}"))
    assert metrics.CLOCK_AHEAD.labels("gate-scan")._value.get() == before + 2
    assert (
        sum("the clock of gate-scan is ahead of Greenlight's" in record.getMessage() for record in caplog.records) == 1
    )
    (found,) = names.clocks_ahead(rig.ledger, datetime.now(UTC))
    assert found["sender"] == "gate-scan"
    assert 590 <= found["seconds"] <= 600


@dataclass
class At:
    """A clock that is moved."""

    time: datetime

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return 0.0


def _heard(rig: Rig, days: list[float]) -> datetime:
    """Pushes that were heard on these days; the last one's time."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for number, day in enumerate(days):
        at = start + timedelta(days=day)
        one = Push("acme/shop", "refs/heads/main", f"{number:040x}", None, at, at, f"push-{number}")
        rig.ledger.transact(Transaction(pushes=[one]))
    return start + timedelta(days=days[-1])


@pytest.mark.parametrize(
    ("days", "after", "silent"),
    [
        ([0, 1, 2], 2.9, False),
        ([0, 1, 2], 3.1, True),
        ([0, 5, 6], 9.9, False),
        ([0, 5, 6], 10.1, True),
        ([0], 3.1, True),
    ],
)
def test_a_repository_that_went_silent_is_an_alarm(
    rig: Rig, days: list[float], after: float, silent: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """After twice its longest pause, three days at least: once in the log, and in the metric while it lasts."""
    last = _heard(rig, days)
    pipeline = parse({"pipeline.yaml": PIPELINE.format(repo="acme/shop")}, Path("config"))
    deps = Deps(At(last + timedelta(days=after)), rig.ledger, lambda: pipeline, InLog(), rig.log)
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            reconciler.on_ping(Event("ping", "test", types.PING), deps)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == int(silent), said
    assert all(f"acme/shop has sent no push since {rfc3339(last)}" in one for one in said)
    assert metrics.SILENT.labels("acme/shop")._value.get() == int(silent)


def test_a_repository_that_was_never_heard_of_is_not_silent(rig: Rig) -> None:
    """It may have been added just now."""
    pipeline = parse({"pipeline.yaml": PIPELINE.format(repo="acme/shop")}, Path("config"))
    deps = Deps(At(datetime(2030, 1, 1, tzinfo=UTC)), rig.ledger, lambda: pipeline, InLog(), rig.log)
    reconciler.on_ping(Event("ping", "test", types.PING), deps)
    assert metrics.SILENT.labels("acme/shop")._value.get() == 0


def test_doctor_names_them_with_what_to_do() -> None:
    """One clock that is ahead is its own fault; several say that ours is behind."""
    told: dict[str, Any] = {
        "repositories": [
            {
                "repo": "acme/shop",
                "called": "acme/store",
                "silent_since": "2026-01-01T00:00:00Z",
                "found_by_asking": 0,
                "lost_pushes": [],
            },
            {
                "repo": "acme/till",
                "called": "acme/till",
                "silent_since": "2026-01-01T00:00:00Z",
                "found_by_asking": 0,
                "lost_pushes": [],
            },
            {"repo": "acme/well", "called": "acme/well", "silent_since": None, "found_by_asking": 0, "lost_pushes": []},
        ],
        "clocks_ahead": [{"sender": "github", "seconds": 60}, {"sender": "gate-scan", "seconds": 70}],
    }
    found = [(it.what, it.said) for it in _senders(told)]
    assert found == [
        ("repositories", "acme/shop is called acme/store now, so none of its webhooks is accepted"),
        (
            "repositories",
            "acme/till has sent no push since 2026-01-01T00:00:00Z, more than twice its longest pause",
        ),
        (
            "clock",
            "the clocks of 2 senders (github, gate-scan) are ahead by up to 70 s: this machine's seems to be behind",
        ),
    ]
    assert list(_senders({"repositories": [], "clocks_ahead": told["clocks_ahead"][:1]})) == []
