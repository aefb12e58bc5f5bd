"""How events come in over HTTP: what test_parity.py does not show."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenlight.broker.broker import Broker
from greenlight.broker.ingress import MAX_EVENT
from greenlight.broker.limits import BrokerLimits
from support.broker import PATIENCE, Recorder, post, running, trigger, wsgi_server

GOOD = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t", "content-type": "application/json"}


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


def test_a_refusal_says_why(running_broker: Running) -> None:
    """As problem details (RFC 9457), which Knative does not give."""
    url, nameless = running_broker.url, {name: text for name, text in GOOD.items() if name != "ce-id"}
    for path, headers, status, word in (
        ("test/default", nameless, 400, "id"),
        ("test/default", {**GOOD, "ce-knativebrokerttl": "1"}, 400, "circle"),
        ("test/default", {**GOOD, "content-type": "application/cloudevents-batch+json"}, 400, "one event"),
        ("test/other", GOOD, 404, "test/default"),
        ("other", GOOD, 400, "/NAMESPACE/NAME"),
    ):
        answer = post(f"{url}/{path}", headers)
        assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
        assert word in answer.json()["detail"]
    assert running_broker.received() == []


def test_i14_a_body_over_the_bound_is_413_and_one_at_it_passes(running_broker: Running) -> None:
    """Knative has no bound; Greenlight's is that of Kafka's data plane."""
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


@pytest.mark.parametrize(
    "limits", [BrokerLimits(backlog_events=3), BrokerLimits(backlog_bytes=3500)], ids=["events", "bytes"]
)
def test_too_many_undelivered_events_are_429_until_there_is_room(tmp_path: Path, limits: BrokerLimits) -> None:
    """Never silent loss: Retry-After says when to come back, and what was taken is delivered."""
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
