"""The pages of activity and setup where other processes answer the webhooks."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from pathlib import Path

from werkzeug.test import Client, TestResponse

from greenlight.board import app as board
from greenlight.board.sources import Sources
from greenlight.entrypoints.pointed import pointed_in_a_cluster
from greenlight.model.arrivals import Arrival, ProcessArrivals
from greenlight.service.publisher import InLog
from support.flow import REPO, Shop, sha_of


def look(client: Client, path: str) -> TestResponse:
    return client.get(path, headers={"Accept": "text/html"})


def words(answer: TestResponse) -> str:
    """Return what people read of a page, on one line."""
    text = re.sub(r"<wbr>", "", answer.get_data(as_text=True))
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def board_alone(shop: Shop, sources: Sources) -> Client:
    """A board in a process of its own, as a cluster has it."""
    it = shop.greenlight
    deps = board.Deps(
        it.clock, it.ledger, it.pipeline, InLog(), it.log, people=it.people, open_reads=True, sources=sources
    )
    return Client(board.create_app(deps))


def test_what_other_processes_have_answered_is_shown_as_text(tmp_path: Path) -> None:
    """As in a cluster, where the board answers no webhook: with the process, and what a sender wrote is no markup."""
    hostile = "<script>alert(1)</script> {{ 7 * 7 }} \u202e"
    shop = Shop(tmp_path)
    at = shop.greenlight.clock.now()
    row = ProcessArrivals(
        "webhooks-1<u>/ab",
        at - timedelta(hours=3),
        at - timedelta(minutes=5),
        {"accepted": 40, "ignored": 1},
        (
            Arrival(at - timedelta(minutes=5), "gate-other", "accepted", 202, repo=REPO, sha=sha_of("one")),
            Arrival(at - timedelta(minutes=6), f"events-{hostile}", "ignored", 202, hostile, "<b>/x"),
        ),
    )
    shop.greenlight.ledger.arrivals.keep(row, timedelta(days=1))
    answer = look(board_alone(shop, Sources()), "/activity")
    page, said = answer.get_data(as_text=True), words(answer)
    assert "<script>alert" not in page
    assert "<u>" not in page
    assert "<b>/x" not in page
    assert "Knative delivers the events here." in said
    assert "the newest 2 of 41" in said
    assert "gate-other" in said
    assert f"ignored 202 {html.escape(hostile)}" in said
    assert "Answered by 1 process" in said
    assert "40 accepted, 1 ignored" in said
    assert "Answered by 2 processes" in words(look(Client(shop.greenlight.apps["board"]), "/activity"))
    shop.stop()


def test_a_cluster_shows_how_to_set_up_each_sender_and_when_it_was_heard(tmp_path: Path) -> None:
    """By the key of the Secret that its secret is in; no command that only this machine could run."""
    shop = Shop(tmp_path)
    now = shop.greenlight.clock.now()
    heard = Arrival(now, "gate-scan", "accepted", 202, repo=REPO, sha=sha_of("one"))
    shop.greenlight.ledger.arrivals.keep(ProcessArrivals("a", now, now, {"accepted": 1}, (heard,)), timedelta(days=1))
    sources = Sources(senders=lambda: list(pointed_in_a_cluster(shop.greenlight.pipeline())))
    answer = look(board_alone(shop, sources), "/setup")
    said = words(answer)
    assert "the secret in the key gate-scan of the Secret greenlight-secrets" in said
    assert "<code>https://YOUR-HOST/webhooks/gates/scan</code>" in answer.get_data(as_text=True)
    assert "without a tunnel" not in said
    assert f"Last heard just now : accepted, {REPO} {sha_of('one')[:7]}" in said
    assert "Not heard since" in said
    assert f"{REPO} no push yet" in said
    shop.push("one")
    assert f"{REPO} last push just now" in words(look(board_alone(shop, sources), "/setup"))
    shop.greenlight.store.write(lambda tx: tx.execute("UPDATE pushes SET json = '[]'"))
    shop.stop()
    shop = Shop(tmp_path)
    assert f"{REPO} its pushes cannot be read" in words(look(board_alone(shop, sources), "/setup"))
    shop.stop()
