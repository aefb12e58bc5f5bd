"""What all reads of the API have in common: pages with a cursor, ETags, gzip, and refusals of what cannot be meant."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from greenlight.broker.trigger_spec import TriggerSpec
from greenlight.entrypoints.compose import ThirdParties
from greenlight.events import Event
from greenlight.ledger.port import Transaction
from support.flow import PIPELINE, REPO, TOKENS, Shop, sha_of

COMMIT, TARGET = f"/commits/{REPO}/{sha_of('one')}", "/targets/shop/staging"
LISTS = {
    "/commits": ("commits", "sha"),
    f"{COMMIT}/journal": ("entries", "seq"),
    f"{TARGET}/journal": ("entries", "seq"),
    f"{TARGET}/deployments": ("deployments", "id"),
    "/dead-letters": ("dead_letters", "id"),
}
"""Every list that comes in pages: the member that has its rows, and the one by which a test tells these apart."""

FORMER = "shop-before"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A renamed application with four commits, five deployments and four dead letters."""
    refuse = ThirdParties(
        [TriggerSpec.to_service("refuse", "refuse")],
        {"refuse": lambda environ, start: (start("422 No", []) and []) or []},
    )
    pipeline = PIPELINE.replace("name: shop\n", f"name: shop\n    formerly: {FORMER}\n")
    shop = Shop(tmp_path_factory.mktemp("shop"), pipeline=pipeline, third_parties=refuse).start()
    for word, before in (("one", "zero"), ("two", "one"), ("three", "two"), ("four", "three")):
        shop.push(word, before=before)
    shop.build("one")
    shop.watch.end("staging", sha_of("one"))
    shop.settle()
    ledger = shop.greenlight.ledger
    (ours,) = ledger.deployments("shop", "staging")
    more = [
        replace(ours, id=f"d{n}", version=0, application=name)
        for n, name in enumerate(("shop", "shop", FORMER, FORMER))
    ]
    ledger.transact(Transaction(deployments=more))
    for n in range(4):
        shop.greenlight.broker.publish(Event(id=f"e{n}", source="/test", type="test.happened"))
    shop.settle()
    yield shop
    shop.stop()


def get(shop: Shop, path: str, status: int = 200, **headers: str) -> TestResponse:
    answer = Client(shop.greenlight.apps["board"]).get(f"/api/v1{path}", headers=headers)
    assert answer.status_code == status, answer.get_data(as_text=True)
    return answer


def document(shop: Shop, path: str) -> Any:
    return json.loads(get(shop, path).get_data())


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_the_pages_of_a_list_have_each_row_once(shop: Shop, path: str, limit: int) -> None:
    """In the order of the whole list; the last page has no `next`."""
    rows, key = LISTS[path]
    whole = document(shop, path)
    assert whole["next"] is None
    wanted = [it[key] for it in whole[rows]]
    assert len(wanted) >= 4
    found, cursor = [], ""
    while cursor is not None:
        page = document(shop, f"{path}?limit={limit}&cursor={cursor}")
        assert len(page[rows]) <= limit
        found += [it[key] for it in page[rows]]
        cursor = page["next"]
    assert found == wanted


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=", "limit=%D9%A3", f"limit={'9' * 5000}", "cursor=-1",
     "cursor=%00", "cursor=made-up", f"cursor={'9' * 5000}", "cursor=%FF"],
)  # fmt: skip
def test_a_limit_or_cursor_that_cannot_be_meant_is_refused(shop: Shop, path: str, query: str) -> None:
    """With what would be right."""
    answer = get(shop, f"{path}?{query}", 422)
    assert answer.mimetype == "application/problem+json"
    assert query.partition("=")[0] in json.loads(answer.get_data())["detail"]


def test_a_cursor_is_good_for_its_own_list_alone(shop: Shop) -> None:
    """Another target's deployment begins no page here."""
    cursor = document(shop, f"{TARGET}/deployments?limit=1")["next"]
    get(shop, f"/targets/shop/production/deployments?cursor={cursor}", 422)


@pytest.mark.parametrize("path", ["/targets", TARGET, COMMIT, "/senders", "/unreadable", "/notifications", *LISTS])
def test_what_has_not_changed_is_not_sent_again(shop: Shop, path: str) -> None:
    """The ETag is that of the content, compressed or not; what it is good for is in the headers."""
    plain = get(shop, path)
    etag = plain.headers["ETag"]
    for kept in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
        same = get(shop, path, 304, **{"If-None-Match": kept})
        assert same.get_data() == b""
        assert (same.headers["ETag"], same.headers["Vary"]) == (etag, plain.headers["Vary"])
    again = get(shop, path, **{"If-None-Match": '"other"', "Accept-Encoding": "gzip"})
    assert again.headers["ETag"] == etag
    assert again.headers["Cache-Control"] == "private, no-cache"
    assert set(again.headers["Vary"].split(", ")) == {"Accept-Encoding", "Cookie", "Authorization"}
    if len(plain.get_data()) > 1024:
        assert again.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(again.get_data()) == plain.get_data()
    else:
        assert again.get_data() == plain.get_data()
    assert "Content-Encoding" not in get(shop, path, **{"Accept-Encoding": "gzip;q=0"}).headers


def test_a_change_is_sent(shop: Shop) -> None:
    """And a refusal has no ETag: it is nothing to come back to."""
    etag = get(shop, TARGET).headers["ETag"]
    body, token = {"reason": "holiday"}, {"Authorization": f"Bearer {TOKENS['dev']}"}
    client = Client(shop.greenlight.apps["board"])
    assert client.post(f"/api/v1{TARGET}/pause", json=body, headers=token).status_code == 202
    assert get(shop, TARGET, **{"If-None-Match": etag}).headers["ETag"] != etag
    refused = get(shop, "/targets/shop/nowhere", 404, **{"If-None-Match": "*"})
    assert "ETag" not in refused.headers
    assert refused.headers["Cache-Control"] == "private, no-cache"
