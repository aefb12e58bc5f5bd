"""The client of deliveries: what an answer may look like, and what becomes of the connection."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from greenlight.broker.http_client import HttpClient, HttpResponse, NoResponse, TimedOut
from support.timing import PATIENCE

LIMIT = 1000


class Host:
    """Gives each request on each connection its answer, as bytes. None: closes the connection without one."""

    def __init__(self, *connections: Sequence[bytes | None]) -> None:
        self.requests: list[bytes] = []
        self._connections = connections
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/path?query"
        self._closed = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def wait_closed(self) -> None:
        """Until the host has closed one more connection."""
        assert self._closed.acquire(timeout=PATIENCE)

    def _serve(self) -> None:
        for answers in self._connections:
            connection, _ = self._listener.accept()
            with connection:
                for answer in answers:
                    self.requests.append(connection.recv(65536))
                    if answer is None:
                        break
                    with contextlib.suppress(OSError):
                        connection.sendall(answer)
            self._closed.release()

    def close(self) -> None:
        self._listener.close()


@contextlib.contextmanager
def talking(*connections: Sequence[bytes | None]) -> Iterator[tuple[Host, HttpClient]]:
    host = Host(*connections)
    client = HttpClient(host.url, 4, LIMIT)
    try:
        yield host, client
    finally:
        client.close()
        host.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

ANSWERS = {
    "a length": (OK, HttpResponse(200, {"content-length": "2"}, b"ok")),
    "chunks, with an extension and trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nT: 1\r\n\r\n",
        HttpResponse(200, {"transfer-encoding": "chunked"}, b"abc"),
    ),
    "no body by its status": (b"HTTP/1.1 204 No Content\r\nX: 1\r\n\r\n", HttpResponse(204, {"x": "1"}, b"")),
    "something before it": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, HttpResponse(200, {"content-length": "2"}, b"ok")),
    "a header twice, no reason": (
        b"HTTP/1.1 202 \r\nX: a\r\nx:b \r\nContent-Length: 0\r\n\r\n",
        HttpResponse(202, {"x": "a, b", "content-length": "0"}, b""),
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_read_whole_and_its_connection_is_used_again(name: str) -> None:
    """Both of the exchanges are on one connection."""
    answer, response = ANSWERS[name]
    with talking([answer, answer]) as (host, client):
        assert client.post({"ce-id": "1"}, b"body", 10) == response
        assert client.post({}, b"", 10) == response
    head = host.requests[0].decode()
    assert head.startswith("POST /path?query HTTP/1.1\r\nHost: 127.0.0.1:")
    assert head.endswith("ce-id: 1\r\nContent-Length: 4\r\n\r\nbody")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\nuntil the end",
        b"HTTP/1.0 200 OK\r\nContent-Length: 13\r\n\r\nuntil the end",
    ],
)
def test_an_answer_after_which_the_connection_ends_is_taken_and_the_next_request_makes_another(answer: bytes) -> None:
    with talking([answer], [answer]) as (_, client):
        for _ in range(2):
            assert client.post({}, b"", 10).body == b"until the end"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"3e8\r\n"
        + b"x" * 1000
        + b"\r\n1\r\nx\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000,
    ],
)
def test_a_long_body_is_cut_off_and_its_connection_is_not_used_again(answer: bytes) -> None:
    with talking([answer], [OK]) as (_, client):
        assert client.post({}, b"", 10).body == b"x" * LIMIT
        assert client.post({}, b"", 10).body == b"ok"


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: y\r\n folded\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
        None,
    ],
)
def test_what_is_no_answer_or_can_be_read_in_two_ways_is_refused(answer: bytes | None) -> None:
    with talking([answer]) as (_, client), pytest.raises(NoResponse):
        client.post({}, b"", 10)


def test_a_connection_that_was_closed_while_idle_costs_no_attempt() -> None:
    """Whether the close is seen before the request is sent, or only when nothing answers it."""
    with talking([OK], [OK, None], [OK]) as (host, client):
        client.post({}, b"", 10)
        host.wait_closed()
        assert client.post({}, b"", 10).status == 200
        assert client.post({}, b"second", 10).status == 200
    assert [request[-6:] == b"second" for request in host.requests] == [False, False, True, True]


def test_the_limit_is_for_the_whole_answer_however_it_trickles() -> None:
    """Each byte comes in time, and they never end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def trickle() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                while True:
                    connection.sendall(b"H")
                    time.sleep(0.05)

        threading.Thread(target=trickle, daemon=True).start()
        client = HttpClient(f"http://127.0.0.1:{listener.getsockname()[1]}", 4, LIMIT)
        with pytest.raises(TimedOut):
            client.post({}, b"", 0.5)
        client.close()


@pytest.mark.parametrize("value", ["a\r\nX-Smuggled: 1", "a\nb", "a\0b", "ŝ"])
def test_a_header_that_no_request_may_carry_is_not_sent(value: str) -> None:
    with talking() as (host, client), pytest.raises(NoResponse, match="no request may carry"):
        client.post({"x": value}, b"", 10)
    assert host.requests == []
