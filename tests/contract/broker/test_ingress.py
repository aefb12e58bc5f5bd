"""How events come in over HTTP: the rows I of Knative's data-plane contract."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenlight.broker.broker import Broker
from greenlight.broker.dispatcher import Limits
from greenlight.broker.ingress import MAX_EVENT
from support_broker import PATIENCE, Recorder, post, running, trigger, wsgi_server

GOOD = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t", "content-type": "application/json"}
STRUCTURED = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": {"n": 1}}
AS_STRUCTURED = {"content-type": "application/cloudevents+json"}


class Running:
    """A Broker behind real HTTP, and what its one subscriber got."""

    def __init__(self, url: str, broker: Broker, recorder: Recorder) -> None:
        self.url, self.broker, self.recorder = url, broker, recorder

    def received(self) -> list[str]:
        assert self.broker.idle(PATIENCE)
        return self.recorder.ids()


@pytest.fixture
def running_broker(tmp_path: Path) -> Iterator[Running]:
    recorder = Recorder()
    with running(tmp_path, trigger("all", "s"), services={"s": recorder}) as broker, wsgi_server(broker.ingress) as url:
        yield Running(url, broker, recorder)


@pytest.mark.parametrize(
    ("headers", "body"), [(GOOD, b'{"n":1}'), (AS_STRUCTURED, json.dumps(STRUCTURED).encode())], ids=["binary", "json"]
)
def test_i1_i8_an_event_is_taken_in_both_modes_with_an_empty_202(
    running_broker: Running, headers: dict[str, str], body: bytes
) -> None:
    """And its subscriber gets the same data."""
    answer = post(f"{running_broker.url}/test/default", headers, body)
    assert (answer.status, answer.data) == (202, b"")
    assert running_broker.received() == ["1"]
    assert running_broker.recorder.requests[0].event.json() == {"n": 1}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/test/default", 202),
        ("/test/default/", 202),
        ("/", 404),
        ("/test/other", 404),
        ("/other/default", 404),
        ("/test/default?a=b", 404),
        ("/test", 400),
        ("/test/default/more", 400),
        ("/test/default//", 400),
    ],
)
def test_i4_the_address_is_namespace_and_name(running_broker: Running, path: str, status: int) -> None:
    """One slash may follow, a query may not."""
    assert post(f"{running_broker.url}{path}", GOOD).status == status
    assert running_broker.received() == (["1"] if status == 202 else [])


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
def test_i5_other_methods_are_405(running_broker: Running, method: str) -> None:
    """Only POST and OPTIONS."""
    answer = post(f"{running_broker.url}/test/default", GOOD, method=method)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST, OPTIONS")


def test_i6_options_grants_the_web_hook_handshake(running_broker: Running) -> None:
    """CloudEvents' abuse protection: always granted, as by Knative."""
    answer = post(f"{running_broker.url}/test/default", {"WebHook-Request-Origin": "x"}, b"", method="OPTIONS")
    assert answer.status == 200
    assert answer.headers["Allow"] == "POST, OPTIONS"
    assert (answer.headers["WebHook-Allowed-Origin"], answer.headers["WebHook-Allowed-Rate"]) == ("*", "*")


def test_i15_a_probe_finds_it_alive(running_broker: Running) -> None:
    """Any path, for the user agent of Kubernetes' probes."""
    assert post(f"{running_broker.url}/anything", {"User-Agent": "kube-probe/1.34"}, b"", method="GET").status == 200


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({**GOOD, "ce-specversion": "9000.1"}, b"{}"),
        ({**GOOD, "ce-specversion": ""}, b"{}"),
        ({name: text for name, text in GOOD.items() if name != "ce-id"}, b"{}"),
        ({name: text for name, text in GOOD.items() if name != "ce-source"}, b"{}"),
        ({name: text for name, text in GOOD.items() if name != "ce-type"}, b"{}"),
        ({**GOOD, "ce-id": ""}, b"{}"),
        ({"content-type": "application/json"}, b"{}"),
        (AS_STRUCTURED, b"{"),
        (AS_STRUCTURED, b"[]"),
        (AS_STRUCTURED, json.dumps({**STRUCTURED, "id": 5}).encode()),
        ({"content-type": "application/cloudevents-batch+json"}, json.dumps([STRUCTURED]).encode()),
    ],
)
def test_i3_i7_i9_what_is_no_single_valid_event_is_400(
    running_broker: Running, headers: dict[str, str], body: bytes
) -> None:
    """Unknown version, missing attribute, broken JSON, a batch."""
    answer = post(f"{running_broker.url}/test/default", headers, body)
    assert answer.status == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"]
    assert running_broker.received() == []


@pytest.mark.parametrize(
    ("ttl", "status"), [("2", 202), ("1", 400), ("0", 400), ("-3", 400), ("word", 202), ("256", 202)]
)
def test_i12_an_event_without_hops_left_is_refused(running_broker: Running, ttl: str, status: int) -> None:
    """The count is taken down on the way in; what is no number counts as absent."""
    answer = post(f"{running_broker.url}/test/default", {**GOOD, "ce-knativebrokerttl": ttl})
    assert answer.status == status
    assert running_broker.received() == (["1"] if status == 202 else [])


def test_i11_the_senders_own_arrival_time_is_replaced(running_broker: Running) -> None:
    """As by Knative."""
    post(f"{running_broker.url}/test/default", {**GOOD, "ce-knativearrivaltime": "2001-01-01T00:00:00Z"})
    assert running_broker.received() == ["1"]
    assert not running_broker.recorder.requests[0].headers["ce-knativearrivaltime"].startswith("2001")


def test_i14_a_body_over_the_bound_is_413_and_one_at_it_passes(running_broker: Running) -> None:
    """Knative has no bound; ours is that of Kafka's data plane."""
    url = f"{running_broker.url}/test/default"
    assert post(url, GOOD, b"x" * (MAX_EVENT + 1)).status == 413
    assert post(url, GOOD, b"x" * MAX_EVENT).status == 202
    assert running_broker.received() == ["1"]


def test_i14_a_body_without_a_length_is_taken_and_bounded(running_broker: Running) -> None:
    """Where the server passes chunked bodies on, no more than the bound is read of them."""

    def send(body: io.BytesIO) -> str:
        answered: list[str] = []
        environ = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/test/default",
            "wsgi.input": body,
            "wsgi.input_terminated": True,
            **{f"HTTP_{name.upper().replace('-', '_')}": text for name, text in GOOD.items()},
        }
        list(running_broker.broker.ingress(environ, lambda status, headers: answered.append(status)))
        return answered[0]

    assert send(io.BytesIO(b"{}")) == "202 Accepted"
    endless = io.BytesIO(b"x" * 2 * MAX_EVENT)
    assert send(endless).startswith("413")
    assert endless.tell() == MAX_EVENT + 1
    assert running_broker.received() == ["1"]


@pytest.mark.parametrize("limits", [Limits(backlog_events=3), Limits(backlog_bytes=3500)], ids=["events", "bytes"])
def test_too_many_undelivered_events_are_429_until_there_is_room(tmp_path: Path, limits: Limits) -> None:
    """Never silent loss: the producer is told when to come back, and what was taken is delivered."""
    release = threading.Event()
    stuck = Recorder(lambda n, request: (release.wait(PATIENCE), (202, {}, b""))[1])
    with (
        running(tmp_path, trigger("all", "s"), services={"s": stuck}, limits=limits) as broker,
        wsgi_server(broker.ingress) as url,
    ):
        statuses = [post(f"{url}/test/default", {**GOOD, "ce-id": str(n)}, b"1" * 1000) for n in range(6)]
        assert [answer.status for answer in statuses] == [202, 202, 202, 202, 429, 429]
        assert statuses[-1].headers["Retry-After"] == "1"
        release.set()
        assert broker.idle(PATIENCE)
        assert post(f"{url}/test/default", {**GOOD, "ce-id": "late"}).status == 202
        assert broker.idle(PATIENCE)
    assert sorted(stuck.ids()) == ["0", "1", "2", "3", "late"]


def test_without_its_store_the_broker_answers_503(tmp_path: Path) -> None:
    """And says when to come back; nothing was taken."""
    with (
        running(tmp_path, trigger("all", "s"), services={"s": Recorder()}) as broker,
        wsgi_server(broker.ingress) as url,
    ):
        broker._store.close()
        answer = post(f"{url}/test/default", GOOD)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
