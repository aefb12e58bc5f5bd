"""Every answer of the webhook edge, as the table of the public contract has it."""

from __future__ import annotations

import codecs
import gzip
import hmac
import json
import logging
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from greenlight.lib import signing
from greenlight.model.rows import DUE_AFTER
from support.flow import build_payload, push_payload, sha_of
from support.webhooks import CIRCLECI, GITHUB, SHA, Rig, gate_body, ignored, repository, standard

PUSH = json.dumps(push_payload("one")).encode()
BUILD = json.dumps(build_payload("one")).encode()

CHUNKS = {"CONTENT_LENGTH": "", "wsgi.input_terminated": True}
"""How a server hands on a body in chunks."""


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


def test_a_fact_is_202_with_its_id_and_stored_with_event_and_body(rig: Rig) -> None:
    """Durable when it is said: the fact, its event, which is due, and the raw body by its digest."""
    fact = rig.fact(rig.github("push", PUSH))
    assert (fact.repo, fact.sha, fact.type) == ("acme/shop", sha_of("one"), "com.github.push")
    assert fact.body is not None
    assert rig.ledger.body(fact.body) == PUSH
    assert [due.event for due in rig.ledger.due(fact.accepted + DUE_AFTER)] == [fact.event]


def test_a_repetition_has_the_same_id_whatever_its_delivery_header(rig: Rig) -> None:
    """The id is a function of signed content."""
    ids = {rig.fact(rig.github("push", PUSH, X_GitHub_Delivery=str(n))).id for n in range(3)}
    ids |= {rig.fact(rig.github("push", json.dumps(json.loads(PUSH), indent=2).encode())).id}
    assert len(ids) == 1
    assert len({rig.fact(rig.circleci(BUILD)).id for _ in range(3)}) == 1
    assert len({rig.fact(rig.gate(gate_body(), id=f"m{n}")).id for n in range(3)}) == 1


@pytest.mark.parametrize(
    ("event", "payload", "reason"),
    [
        ("ping", {"zen": "x", "repository": repository()}, "nothing follows"),
        ("issues", {"repository": repository()}, "nothing follows"),
        ("push", {"zen": "no repository"}, "no repository"),
        ("create", {"ref": "x", "ref_type": "branch", "repository": repository()}, "no commit"),
        ("delete", {"ref": "x", "ref_type": "tag", "repository": repository()}, "no commit"),
        ("push", push_payload("one") | {"ref": "refs/tags/nightly"}, "no application ships"),
        (
            "push",
            push_payload("one") | {"after": "0" * 40, "deleted": True, "ref": "refs/heads/topic"},
            "no application ships",
        ),
        ("push", push_payload("one") | {"repository": repository("other/repo")}, "no application of the pipeline"),
    ],
)
def test_what_tells_nothing_is_ignored_with_its_reason(
    rig: Rig, event: str, payload: dict[str, object], reason: str
) -> None:
    """202, and nothing is kept."""
    assert reason in ignored(rig.github(event, payload))
    assert rig.count() == 0


def test_what_greenlight_itself_said_does_not_move_it(rig: Rig) -> None:
    """Its own statuses and checks come back as webhooks."""
    status = {"sha": SHA, "context": "greenlight/shop", "state": "success", "id": 1, "repository": repository()}
    assert "itself" in ignored(rig.github("status", status))


def built(**vcs: str) -> dict[str, object]:
    """What CircleCI says of a build, with another `vcs`."""
    payload = build_payload("one")
    payload["pipeline"]["vcs"] |= vcs
    return payload


Case = Callable[[Rig], TestResponse]

CASES: dict[str, tuple[int, Case]] = {
    "github: no signature": (401, lambda rig: rig.post("/webhooks/github", PUSH, {"X-GitHub-Event": "push"})),
    "github: wrong secret": (401, lambda rig: rig.github("push", PUSH, secret=b"other")),
    "github: another body": (
        401,
        lambda rig: rig.post(
            "/webhooks/github",
            PUSH,
            {"X-GitHub-Event": "push", "X-Hub-Signature-256": signing.github(GITHUB, PUSH + b" ")},
        ),
    ),
    "github: upper-case hex": (
        401,
        lambda rig: rig.post(
            "/webhooks/github",
            PUSH,
            {"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + signing.github(GITHUB, PUSH)[7:].upper()},
        ),
    ),
    "github: two signatures": (
        401,
        lambda rig: rig.post(
            "/webhooks/github",
            PUSH,
            {"X-GitHub-Event": "push", "X-Hub-Signature-256": ", ".join([signing.github(GITHUB, PUSH)] * 2)},
        ),
    ),
    "github: SHA-1 only": (
        401,
        lambda rig: rig.post(
            "/webhooks/github", PUSH, {"X-GitHub-Event": "push", "X-Hub-Signature": "sha1=" + "0" * 40}
        ),
    ),
    "github: no event name": (
        400,
        lambda rig: rig.post("/webhooks/github", PUSH, {"X-Hub-Signature-256": signing.github(GITHUB, PUSH)}),
    ),
    "github: not JSON": (400, lambda rig: rig.github("push", b"{")),
    "github: a list": (400, lambda rig: rig.github("push", b"[]")),
    "github: duplicate keys": (400, lambda rig: rig.github("push", b'{"a":1,"a":2}')),
    "github: NaN": (400, lambda rig: rig.github("push", b'{"a":NaN}')),
    "github: too deep": (400, lambda rig: rig.github("push", b"[" * 65 + b"]" * 65)),
    "github: form": (
        415,
        lambda rig: rig.client.post(
            "/webhooks/github", data=b"payload=%7B%7D", content_type="application/x-www-form-urlencoded"
        ),
    ),
    "github: no shape of a push": (422, lambda rig: rig.github("push", {"ref": 5, "repository": repository()})),
    "github: no sha": (422, lambda rig: rig.github("push", push_payload("one") | {"after": "--upload-pack=evil"})),
    "github: strange repository": (
        422,
        lambda rig: rig.github("push", push_payload("one") | {"repository": repository("../../etc")}),
    ),
    "circleci: no signature": (401, lambda rig: rig.post("/webhooks/circleci", BUILD, {})),
    "circleci: v1 twice": (
        401,
        lambda rig: rig.circleci(BUILD, **{"circleci-signature": ",".join([signing.circleci(CIRCLECI, BUILD)] * 2)}),
    ),
    "circleci: only v2": (401, lambda rig: rig.circleci(BUILD, **{"circleci-signature": "v2=" + "0" * 64})),
    "circleci: unknown status": (422, lambda rig: rig.circleci(build_payload("one", "exploded"))),
    "circleci: no commit that is one": (422, lambda rig: rig.circleci(built(revision="HEAD"))),
    "circleci: an address that is none": (
        422,
        lambda rig: rig.circleci(built(target_repository_url="https://[bad/a/b")),
    ),
    "circleci: no time": (422, lambda rig: rig.circleci(build_payload("one") | {"happened_at": "soon"})),
    "gate: no headers": (401, lambda rig: rig.post("/webhooks/gates/scan", b"{}", {})),
    "gate: stale": (401, lambda rig: rig.gate(gate_body(), age=301)),
    "gate: from the future": (401, lambda rig: rig.gate(gate_body(), age=-301)),
    "gate: a sender without secrets": (401, lambda rig: rig.gate(gate_body(), name="other")),
    "gate: a signature that is no ASCII": (401, lambda rig: rig.gate(gate_body(), signature="v1,\xe9")),
    "gate: neither passed nor failed": (422, lambda rig: rig.gate(gate_body(outcome="skipped"))),
    "gate: no digest": (422, lambda rig: rig.gate(gate_body(artifacts={"shop": "latest"}))),
    "gate: a name that is none": (404, lambda rig: rig.gate(gate_body(), name="%2e%2e")),
    "events: reserved type": (
        422,
        lambda rig: rig.event(
            b"{}", {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "promotion.ready"}
        ),
    ),
    "events: no event": (400, lambda rig: rig.event(b"{}", {})),
    "events: a batch": (415, lambda rig: rig.event(b"[]", {"Content-Type": "application/cloudevents-batch+json"})),
    "events: no commit": (
        422,
        lambda rig: rig.event(
            b"{}", {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "com.example.scan"}
        ),
    ),
    "github: a byte order mark": (400, lambda rig: rig.github("push", codecs.BOM_UTF8 + PUSH)),
    "github: UTF-16": (400, lambda rig: rig.github("push", PUSH.decode().encode("utf-16"))),
    "events: a byte order mark": (
        400,
        lambda rig: rig.event(
            codecs.BOM_UTF8 + b"{}",
            {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "com.example.scan"},
        ),
    ),
    "github: packed": (415, lambda rig: rig.github("push", gzip.compress(PUSH), Content_Encoding="gzip")),
    "circleci: packed twice": (415, lambda rig: rig.circleci(BUILD, **{"Content-Encoding": "identity, br"})),
    "gate: packed": (
        415,
        lambda rig: rig.post("/webhooks/gates/scan", b"{}", {"Content-Encoding": "x-gzip"}),
    ),
    "events: packed": (415, lambda rig: rig.post("/webhooks/events/scanner", b"{}", {"Content-Encoding": "zstd"})),
    "no such route": (404, lambda rig: rig.post("/webhooks/gitlab", b"{}", {})),
    "GET": (405, lambda rig: rig.client.get("/webhooks/github")),
}


@pytest.mark.parametrize("case", CASES)
def test_a_refusal_leaves_nothing_but_a_counter_and_a_line(
    rig: Rig, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    """problem+json that says what to do; neither body nor signature in the log; not a row in the ledger."""
    status, send = CASES[case]
    caplog.set_level(logging.DEBUG)
    answer = send(rig)
    assert answer.status_code == status, answer.get_data(as_text=True)
    assert answer.mimetype == "application/problem+json"
    problem = json.loads(answer.get_data())
    assert problem["status"] == status
    assert problem["detail"]
    assert rig.count() == 0
    lines = [row for row in caplog.records if row.name.endswith(".webhooks")]
    assert [row.levelname for row in lines] == ([] if status in (405,) or "route" in case else ["WARNING"])
    assert "sha256=" not in caplog.text
    assert "acme-developer" not in caplog.text
    assert "sha256=" not in answer.get_data(as_text=True) or "lower-case" in answer.get_data(as_text=True)


@pytest.mark.parametrize("path", ["github", "circleci", "gates/scan", "events/scanner"])
def test_the_answer_to_a_packed_body_says_how_to_send_it(rig: Rig, path: str) -> None:
    """Which header is wrong, and what is right; before anything else, for a signature covers what is packed."""
    answer = rig.post(f"/webhooks/{path}", b"\x1f\x8b", {"Content-Encoding": "GZIP"})
    assert (answer.status_code, answer.headers["Accept-Encoding"]) == (415, "identity")
    assert "Content-Encoding" in json.loads(answer.get_data())["detail"]


def test_identity_is_no_packing(rig: Rig) -> None:
    """RFC 9110 has a name for a body as it is."""
    rig.fact(rig.github("push", PUSH, Content_Encoding="identity"))


def test_a_byte_order_mark_is_named(rig: Rig) -> None:
    """Whoever writes JSON by hand on Windows finds it."""
    answer = rig.gate(codecs.BOM_UTF8 + json.dumps(gate_body()).encode())
    assert answer.status_code == 400
    assert "byte order mark" in json.loads(answer.get_data())["detail"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
@pytest.mark.parametrize("path", ["github", "circleci", "gates/scan", "events/scanner"])
def test_a_405_says_what_is_allowed(rig: Rig, path: str, method: str) -> None:
    """RFC 9110, 15.5.6: it must."""
    answer = rig.client.open(f"/webhooks/{path}", method=method)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert "GET" in rig.client.post("/healthz").headers["Allow"]


def test_the_port_of_the_internet_says_that_it_is_alive_and_nothing_else(rig: Rig) -> None:
    """No readiness with its reasons, no metrics, no board."""
    assert rig.client.get("/healthz").status_code == 200
    for path in ("/", "/readyz", "/metrics", "/api/v1/commits", "/webhooks", "/webhooks/", "/static/style.css"):
        assert rig.client.get(path).status_code == 404, path


def test_other_versions_beside_a_right_v1_are_ignored(rig: Rig) -> None:
    """CircleCI may add a v2."""
    header = f"v2={'0' * 64},{signing.circleci(CIRCLECI, BUILD)}"
    rig.fact(rig.circleci(BUILD, **{"circleci-signature": header}))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Hub-Signature-256": signing.github(b"wrong", PUSH)},
        {"X-Hub-Signature-256": signing.github(GITHUB, PUSH + b" ")},
        {"X-Hub-Signature-256": signing.github(CIRCLECI, PUSH)},
        {"X-Hub-Signature-256": signing.github(b"", PUSH)},
        {"X-Hub-Signature": "sha1=" + hmac.new(GITHUB, PUSH, "sha1").hexdigest()},
        {"X-Hub-Signature-256": "sha1=" + hmac.new(GITHUB, PUSH, "sha1").hexdigest()},
    ],
    ids=[
        "missing",
        "wrong secret",
        "another body",
        "another sender's secret",
        "empty secret",
        "SHA-1",
        "SHA-1 in place",
    ],
)
def test_row_47_no_other_signature_is_right(rig: Rig, headers: dict[str, str]) -> None:
    """401 each; an emptied file is not an empty secret."""
    assert rig.post("/webhooks/github", PUSH, {"X-GitHub-Event": "push", **headers}).status_code == 401
    assert rig.count() == 0


def test_row_47_a_secret_speaks_for_its_own_repository_only(tmp_path: Path) -> None:
    """A right signature by the secret of another owner or repository is 401."""
    rig = Rig(tmp_path, secrets={"github@other": GITHUB, "github@acme+site": b"site", "github@acme+shop": b"shop"})
    assert rig.github("push", PUSH).status_code == 401
    assert rig.github("push", PUSH, secret=b"site").status_code == 401
    assert rig.github("issues", {"repository": repository()}, secret=b"site").status_code == 401
    assert rig.count() == 0
    rig.fact(rig.github("push", PUSH, secret=b"shop"))
    rig.close()


def test_a_used_webhook_id_with_another_body_is_refused(rig: Rig) -> None:
    """422; the same body under it is the same fact."""
    first = rig.fact(rig.gate(gate_body(), id="msg_7"))
    assert rig.fact(rig.gate(gate_body(), id="msg_7")).id == first.id
    assert rig.gate(gate_body(outcome="failed"), id="msg_7").status_code == 422


def test_a_used_webhook_id_with_another_event_is_refused(rig: Rig) -> None:
    """In binary mode the signature covers the data alone: who replays them cannot make another event of them."""
    data = json.dumps({"repo": "acme/shop", "sha": SHA}).encode()
    sent = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "com.example.scan"}
    first = rig.fact(rig.event(data, sent, id="msg_8"))
    assert rig.fact(rig.event(data, sent, id="msg_8")).id == first.id
    for forged in ({"ce-type": "com.example.audit"}, {"ce-id": "2"}, {"ce-source": "/t"}):
        assert rig.event(data, sent | forged, id="msg_8").status_code == 422


@pytest.mark.parametrize(
    ("route", "limit"),
    [("github", 25 << 20), ("circleci", 1 << 20), ("gates/scan", 1 << 20), ("events/scanner", 1 << 20)],
)
def test_row_31_a_body_over_the_limit_is_413_and_one_without_length_411(rig: Rig, route: str, limit: int) -> None:
    """Before it is read, also behind another server than ours; one in chunks once the limit is passed."""
    over, unknown = {"CONTENT_LENGTH": str(limit + 1)}, {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}
    for more, read, status in ((over, 0, 413), (unknown, 0, 411), (unknown | CHUNKS, limit + 1, 413)):
        answer = rig.client.post(
            f"/webhooks/{route}", input_stream=_Endless(read), content_type="application/json", environ_overrides=more
        )
        assert answer.status_code == status
    assert rig.count() == 0


def test_a_body_in_chunks_is_taken(rig: Rig) -> None:
    """Tunnels send so; a server that does not count the chunks says that the body has an end."""
    signed = {"X-GitHub-Event": "push", "X-Hub-Signature-256": signing.github(GITHUB, PUSH)}
    rig.fact(
        rig.client.post(
            "/webhooks/github",
            input_stream=BytesIO(PUSH),
            content_type="application/json",
            headers=signed,
            environ_overrides=CHUNKS,
        )
    )


class _Endless:
    """Whoever reads more of it than is allowed has not bounded what it reads."""

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed

    def read(self, size: int = -1) -> bytes:
        assert 0 <= size <= self.allowed, "the body was read"
        return b"a" * size

    readline = read

    def tell(self) -> int:
        return 0

    def seek(self, position: int, whence: int = 0) -> int:
        return 0


def test_the_messages_of_standard_webhooks_may_carry_several_signatures(rig: Rig) -> None:
    """One must be right: that is how a sender rotates."""
    body = json.dumps(gate_body()).encode()
    headers = standard(b"whsec_c2NhbiBzZWNyZXQgb2YgdGhlIHRlc3Rz", "m", body)
    headers["webhook-signature"] = f"v1a,AAAA v1,AAAA {headers['webhook-signature']}"
    rig.fact(rig.post("/webhooks/gates/scan", body, headers))
