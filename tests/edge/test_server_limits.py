"""The server of the webhook port over real sockets; rows of the fault list by their number."""

from __future__ import annotations

import http.client
import io
import json
import resource
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import urllib3

from greenlight.lib.descriptors import connections_left
from greenlight.service.http_connections import Limits
from greenlight.service.server import Server, serve
from greenlight.webhooks.turns import repository_of
from support.process import no_files_left
from support.timing import PATIENCE

POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
GOOD = POST + b"Content-Length: 3\r\n\r\nabc"


def echo(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    start_response("202 Accepted", [("Content-Length", str(len(body) if len(body) < 100 else 0))])
    return [body if len(body) < 100 else b""]


@contextmanager
def serving(app: Any = echo, **limits: Any) -> Iterator[Server]:
    server = serve(app, "127.0.0.1:0", name="test", limits=Limits(**limits))
    server.start()
    try:
        yield server
    finally:
        server.stop(5)


def answer(server: Server, request: bytes, *, timeout: float = PATIENCE, whole: bool = False) -> tuple[int, bytes]:
    """The status and the rest of what comes back until the server closes or, unless the `whole` is asked for, has answered."""
    with socket.create_connection(server.address, timeout=timeout) as connection:
        try:
            connection.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it had seen enough
        received = b""
        while whole or b"\r\n\r\n" not in received:
            try:
                chunk = connection.recv(65536)
            except ConnectionResetError:
                break
            if not chunk:
                break
            received += chunk
    return (int(received.split()[1]) if received else 0), received


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(body=1000) as server:
        yield server


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (POST + b"\r\n", 411),
        (POST + b"Content-Length: 1001\r\n\r\n", 413),
        (POST + b"Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n", 413),
        (POST + b"X-Long: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (GOOD, 202),
        (POST + b"Content-Length: 1000\r\n\r\n" + b"a" * 1000, 202),
        (b"PATCH" + POST[4:] + b"\r\n", 202),
    ],
)
def test_row_31_a_body_is_bounded_before_it_is_read(server: Server, request_: bytes, status: int) -> None:
    """No length, or too long: refused by the header alone. What is not posted may have none; its app judges it."""
    assert answer(server, request_)[0] == status


def chunks(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """The rest of a request whose body comes in these chunks."""
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return b"Transfer-Encoding: chunked\r\n\r\n" + framed + end


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (chunks(b"abc"), 202),
        (chunks(b"a" * 500, b"a" * 500), 202),
        (chunks(b"a" * 500, b"a" * 501), 413),
        (chunks(*[b"a"] * 1000), 202),
        (chunks(b"abc", end=b"0\r\nX: y\r\n\r\n"), 202),
        (b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 400),
        (b"Transfer-Encoding: chunked\r\n\r\nx\r\nabc\r\n0\r\n\r\n", 400),
        (b"Transfer-Encoding: chunked\r\n\r\n3;" + b"a" * 70_000 + b"\r\nabc\r\n0\r\n\r\n", 400),
        (chunks(b"abc", end=b"0\r\nX: " + b"y" * 70_000 + b"\r\n\r\n"), 400),
    ],
)
def test_a_body_in_chunks_is_taken_and_bounded_like_any_other(server: Server, rest: bytes, status: int) -> None:
    """The body by its own size; chunk sizes, extensions and trailers by another bound."""
    assert answer(server, POST + rest)[0] == status


def test_a_body_of_tiny_chunks_is_refused_before_it_has_cost_much() -> None:
    """A byte a chunk costs the one thread that reads for everybody a hundred times what the byte is worth."""
    with serving() as server:
        assert answer(server, POST + chunks(*[b"a"] * 10_000))[0] == 202
        assert answer(server, POST + chunks(*[b"a"] * 20_000))[0] in (400, 0)  # 0: it closed while more was coming


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (POST + b"\r\n", 411),
        (POST + b"Content-Length: 1001\r\n\r\n", 413),
        (POST + chunks(b"a" * 1001), 413),
        (POST + b"X-Long: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (POST + b"Content-Length: x\r\n\r\n", 400),
    ],
)
def test_what_the_server_itself_refuses_looks_like_every_other_error(
    server: Server, request_: bytes, status: int
) -> None:
    """application/problem+json, and the connection ends."""
    head, _, body = answer(server, request_, whole=True)[1].partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    assert b"connection: close" in head.lower()
    problem = json.loads(body)
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]


def test_row_31_memory_stays_flat_while_large_bodies_are_refused() -> None:
    """Twenty senders of 26 MB each do not cost 26 MB."""
    with serving() as server:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(20):
            assert answer(server, POST + b"Content-Length: %d\r\n\r\n" % (26 << 20) + b"a" * 100_000)[0] in (413, 0)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 8 << 10, f"{grown} KiB"


def test_row_32_two_gigabytes_trickled_to_the_brokers_port_cost_nothing() -> None:
    """Refused by their header; less than the bound, but never all of it, ends at the deadline; memory stays flat."""
    with serving(body=1 << 20, deadline=1.0) as server:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert answer(server, POST + b"Content-Length: %d\r\n\r\n" % (2 << 30) + b"a" * 100_000)[0] in (413, 0)
        slow = [socket.create_connection(server.address, timeout=PATIENCE) for _ in range(20)]
        for connection in slow:
            connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % (1 << 20) + b"a" * (1 << 19))
        assert answer(server, GOOD)[0] == 202
        for connection in slow:
            assert connection.recv(100).split()[1:2] == [b"408"]
            connection.close()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 24 << 10, f"{grown} KiB"


def test_bodies_together_are_bounded_and_the_oldest_of_the_large_ones_goes() -> None:
    """40 senders whose bodies trickle in hold what there is room for; whoever sends quickly is taken all the same."""
    room = 2 << 20
    with serving(body=1 << 20, arriving=room, deadline=30.0) as server:
        slow = [socket.create_connection(server.address, timeout=PATIENCE) for _ in range(40)]
        for connection in slow:
            connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % (1 << 20) + b"a" * (1 << 18))
        for size in (3, 1000, (1 << 20) - 1):
            body = b"b" * size
            assert answer(server, POST + b"Content-Length: %d\r\n\r\n" % size + body, timeout=PATIENCE)[0] == 202
        refused = [connection for connection in slow if _answered(connection).startswith(b"HTTP/1.1 503")]
        held = len(slow) - len(refused)
        assert 0 < held * (1 << 18) <= room
        for connection in slow:
            connection.close()


def _answered(connection: socket.socket) -> bytes:
    """What has been answered on it so far."""
    connection.setblocking(False)
    try:
        return connection.recv(65536)
    except BlockingIOError:
        return b""
    except ConnectionResetError:
        return b"HTTP/1.1 503"  # it was closed while more was coming


def test_what_bodies_took_is_given_back_however_their_requests_end() -> None:
    """Answered, refused, cut off, gone away half way: afterwards there is room for as much as before."""
    with serving(body=1 << 20, arriving=1 << 20, deadline=0.5) as server:
        whole = POST + b"Content-Length: %d\r\n\r\n" % (1 << 20) + b"a" * (1 << 20)
        half = POST + b"Content-Length: %d\r\n\r\n" % (1 << 20) + b"a" * (1 << 19)
        for _ in range(5):
            assert answer(server, POST + chunks(b"a" * (1 << 20), b"a"), timeout=PATIENCE)[0] in (413, 0)
            assert answer(server, half, timeout=PATIENCE)[0] == 408
            with socket.create_connection(server.address, timeout=PATIENCE) as gone:
                gone.sendall(half)
            with socket.create_connection(server.address, timeout=PATIENCE) as pipelined:
                pipelined.sendall(GOOD + half)
            assert _soon(lambda: answer(server, whole, timeout=PATIENCE)[0] == 202), "those that are gone still count"


def _soon(holds: Callable[[], bool]) -> bool:
    """Whether it holds in the end: a server notices in its own time that a client has gone."""
    end = time.monotonic() + PATIENCE
    while not (found := holds()) and time.monotonic() < end:
        pass
    return found


def test_a_body_goes_to_no_file_before_it_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file for each would take a descriptor, and the disk, of whoever has no secret."""
    made: list[object] = []
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda *args: made.append(args))
    with serving() as server:
        size = 20 << 20
        assert answer(server, POST + b"Content-Length: %d\r\n\r\n" % size + b"a" * size, timeout=PATIENCE)[0] == 202
    assert made == []


def test_idle_connections_make_room_for_new_ones() -> None:
    """Those first that have brought nothing yet: who was answered before is answered again, on the same connection."""
    with serving(connections=10, keep_alive=300.0) as server:
        links = [http.client.HTTPConnection(*server.address, timeout=PATIENCE) for _ in range(3)]
        idle = []
        for _ in range(5):
            for link in links:
                link.request("POST", "/", body=b"abc")
                assert link.getresponse().read() == b"abc"
            socks = [link.sock for link in links]
            idle += [socket.create_connection(server.address, timeout=PATIENCE) for _ in range(20)]
            assert answer(server, GOOD)[0] == 202
            assert [link.sock for link in links] == socks
        assert sum(_open(connection) for connection in idle) <= 10
        for connection in (*idle, *links):
            connection.close()


def _open(connection: socket.socket) -> bool:
    """Whether the server still has it: what it accepted and closed has come to its end."""
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


def test_requests_that_trickle_make_room_before_their_deadline() -> None:
    """As many slow ones as there may be connections do not keep a good one waiting until they are cut off."""
    with serving(connections=20, deadline=300.0, keep_alive=300.0) as server:
        slow = [socket.create_connection(server.address, timeout=PATIENCE) for _ in range(40)]
        for connection in slow:
            connection.sendall(POST)
        assert answer(server, GOOD, timeout=100)[0] == 202
        for connection in slow:
            connection.close()


@pytest.mark.parametrize(
    ("limit", "left"), [(160, 80), (1024, 768), (65536, 65280), (resource.RLIM_INFINITY, sys.maxsize)]
)
def test_connections_leave_descriptors_for_the_rest(monkeypatch: pytest.MonkeyPatch, limit: int, left: int) -> None:
    """Half of few; of many, what a process needs."""
    monkeypatch.setattr(resource, "getrlimit", lambda what: (limit, limit))
    assert connections_left() == left


def test_servers_of_one_process_share_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of them with 60 descriptors hold ten connections each."""
    monkeypatch.setattr(resource, "getrlimit", lambda what: (60, 60))
    with serving(servers=3, keep_alive=300.0) as server:
        idle = [socket.create_connection(server.address, timeout=PATIENCE) for _ in range(30)]
        assert answer(server, GOOD)[0] == 202
        assert 0 < sum(_open(connection) for connection in idle) <= 10
        for connection in idle:
            connection.close()


def test_row_55_without_descriptors_new_connections_wait_and_nothing_spins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is being answered is answered. What cannot be accepted stays there to be accepted, and is tried now and then."""
    tries: list[None] = []
    accept = socket.socket.accept
    monkeypatch.setattr(socket.socket, "accept", lambda self: (tries.append(None), accept(self))[1])
    entered, go = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        entered.set()
        assert go.wait(PATIENCE)
        return echo(environ, start_response)

    with (
        serving(app) as server,
        socket.socket() as late,
        socket.create_connection(server.address, timeout=PATIENCE) as early,
    ):
        late.settimeout(30)
        early.sendall(GOOD)
        assert entered.wait(PATIENCE)
        with no_files_left():
            tries.clear()
            late.connect(server.address)
            late.sendall(GOOD)
            threading.Event().wait(2.5)  # it looks once a second; a loop that spins does thousands of rounds meanwhile
        assert 1 <= len(tries) <= 10
        go.set()
        assert early.recv(100).split()[1] == b"202"
        assert late.recv(100).split()[1] == b"202"


@pytest.mark.parametrize("kind", ["header", "body"])
def test_row_33_five_hundred_slow_clients_keep_nobody_waiting_and_are_cut_off(kind: str) -> None:
    """They delay a good request by less than as many good ones before it would, and get 408 at the deadline."""
    start = POST if kind == "header" else POST + b"Content-Length: 100\r\n\r\na"
    with serving(deadline=600.0) as server:
        alone = [_good(server) for _ in range(100)]
        slow = [socket.create_connection(server.address) for _ in range(500)]
        for connection in slow:
            connection.sendall(start)
        beside = [_good(server) for _ in range(100)]
        for connection in slow:
            connection.close()
        assert statistics.median(beside) < len(slow) * statistics.median(alone)
    with serving(deadline=1.0) as server:
        slow = [socket.create_connection(server.address, timeout=60) for _ in range(500)]
        for connection in slow:
            connection.sendall(start)
        for connection in slow:
            assert connection.recv(100).split()[1:2] in ([b"408"], [])
            connection.close()


def _good(server: Server) -> float:
    connection = http.client.HTTPConnection(*server.address, timeout=60)
    start = time.monotonic()
    connection.request("POST", "/", body=b"x" * 8000)
    assert connection.getresponse().status == 202
    connection.close()
    return time.monotonic() - start


def test_row_33_a_client_that_sends_a_byte_now_and_then_does_not_gain_time() -> None:
    """The deadline is of the whole request, not of the pause between two bytes, of which the last never comes."""
    with serving(deadline=1.0) as server, socket.create_connection(server.address, timeout=60) as connection:
        connection.sendall(POST + b"Content-Length: 10000\r\n\r\n")
        trickle = threading.Event()

        def send() -> None:
            while not trickle.wait(0.1):
                try:
                    connection.sendall(b"a")
                except OSError:
                    return

        sender = threading.Thread(target=send)
        sender.start()
        assert connection.recv(100).split()[1] == b"408"
        trickle.set()
        sender.join()


@pytest.mark.parametrize(
    "header",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length: 3, 3\r\n",
        b"Content-Length : 3\r\n",
        b"Content-Length: 3\r\nX: a\r\n b\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: chunked,\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding:\r\n",
    ],
)
def test_row_37_what_two_servers_would_read_differently_is_refused(server: Server, header: bytes) -> None:
    """Both lengths, two lengths, odd lengths, folded lines, chunks twice or by halves: 400."""
    assert answer(server, POST + header + b"\r\nabc")[0] == 400


@pytest.mark.parametrize("coding", [b"gzip", b"identity", b"xchunked", b"chunked, identity", b"gzip, chunked"])
def test_row_37_another_coding_than_chunks_is_not_implemented(server: Server, coding: bytes) -> None:
    """501, and the connection ends."""
    assert answer(server, POST + b"Transfer-Encoding: " + coding + b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")[0] == 501


def test_row_37_chunks_are_not_of_http_1_0(server: Server) -> None:
    """RFC 9112, 6.1: the framing is faulty, whatever the method."""
    for method in (b"POST", b"GET"):
        head = method + b" / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert answer(server, head + b"3\r\nabc\r\n0\r\n\r\n")[0] == 400


def test_who_speaks_https_to_it_is_not_kept_waiting(server: Server) -> None:
    """The client fails at once, and says what is wrong."""
    with pytest.raises(urllib3.exceptions.SSLError):
        urllib3.request("GET", "https://{}:{}/".format(*server.address), retries=False, timeout=PATIENCE)


@pytest.mark.parametrize("header", [b"X: a\x00b\r\n", b"X\x00: a\r\n", b"no colon\r\n", b"X: a\rb\r\n", b": empty\r\n"])
def test_row_36_control_characters_and_bad_names_are_refused(server: Server, header: bytes) -> None:
    """Nothing of the kind reaches an application."""
    assert answer(server, POST + header + b"Content-Length: 3\r\n\r\nabc")[0] == 400


def test_row_35_header_names_with_underscores_are_dropped() -> None:
    """ce_type is not ce-type."""
    seen: list[list[str]] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        seen.append([key for key in environ if key.startswith("HTTP_CE")])
        return echo(environ, start_response)

    with serving(app) as server:
        answer(server, POST + b"ce_type: promotion.ready\r\nce-id: 1\r\nContent-Length: 3\r\n\r\nabc")
    assert seen == [["HTTP_CE_ID"]]


def test_requests_on_one_connection_are_answered_in_order(server: Server) -> None:
    """Keep-alive and pipelining are safe."""
    with socket.create_connection(server.address, timeout=PATIENCE) as connection:
        connection.sendall(POST + b"Content-Length: 1\r\n\r\na" + POST + b"Content-Length: 1\r\n\r\nb")
        received = b""
        while not received.endswith(b"b"):
            received += connection.recv(65536)
    assert received.count(b"202 Accepted") == 2
    assert received.index(b"\r\n\r\na") < received.index(b"\r\n\r\nb")


def test_stopping_finishes_the_request_in_flight() -> None:
    """Whoever was being answered is answered; nobody new is let in."""
    entered, go = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        entered.set()
        assert go.wait(PATIENCE)
        return echo(environ, start_response)

    server = serve(app, "127.0.0.1:0", name="test")
    server.start()
    got: list[int] = []
    client = threading.Thread(target=lambda: got.append(answer(server, GOOD)[0]))
    client.start()
    assert entered.wait(PATIENCE)
    stopper = threading.Thread(target=server.stop, args=(10,))
    stopper.start()
    go.set()
    client.join(10)
    stopper.join(10)
    assert got == [202]
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(server.address, timeout=1)


def test_an_address_that_is_taken_is_said_when_binding(server: Server) -> None:
    """Before anything is started."""
    host, port = server.address
    with pytest.raises(OSError, match=str(port)):
        serve(echo, f"{host}:{port}", name="second")


def test_an_error_of_the_application_shows_nothing_of_it() -> None:
    """500 without a trace, a version or a banner."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise RuntimeError("canary")

    with serving(app) as server:
        status, text = answer(server, GOOD)
    assert status == 500
    assert b"canary" not in text
    assert b"server:" not in text.lower()


def test_many_requests_of_one_repository_are_answered_in_turn_with_those_of_others() -> None:
    """While one of A's is being answered and more of them wait, B's is answered; and never two of A's at once."""
    begun, go = threading.Semaphore(0), threading.Event()
    order: list[bytes] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read()
        order.append(body)
        begun.release()
        if body[:1] == b"a":
            go.wait(PATIENCE)
        return echo({"wsgi.input": io.BytesIO(body)}, start_response)

    def ask(body: bytes) -> int:
        return answer(server, POST + b"Content-Length: 2\r\n\r\n" + body)[0]

    limits = Limits(of_one=1)
    server = serve(app, "127.0.0.1:0", name="test", limits=limits, turn=lambda body: body[:1].decode())
    server.start()
    try:
        with ThreadPoolExecutor(12) as senders:
            flood = [senders.submit(ask, b"a%d" % n) for n in range(10)]
            assert begun.acquire(timeout=PATIENCE)
            assert senders.submit(ask, b"b0").result(20) == 202
            assert [body[:1] for body in order] == [b"a", b"b"]
            go.set()
            assert {sender.result(20) for sender in flood} == {202}
    finally:
        go.set()
        server.stop(5)


def test_requests_that_tell_no_turn_are_answered_side_by_side() -> None:
    """As many at once as there are threads."""
    together = threading.Barrier(4)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        together.wait(PATIENCE)
        return echo(environ, start_response)

    server = serve(app, "127.0.0.1:0", name="test", limits=Limits(of_one=1), turn=lambda body: "")
    server.start()
    try:
        with ThreadPoolExecutor(4) as senders:
            sent = [senders.submit(answer, server, GOOD) for _ in range(4)]
            assert [one.result(20)[0] for one in sent] == [202] * 4
    finally:
        server.stop(5)


@pytest.mark.parametrize(
    ("body", "whose"),
    [
        (b'{"ref": "x", "repository": {"id": 1, "full_name": "Acme/Shop"}}', "acme/shop"),
        (b'{"repo":"acme/shop","sha":"1"}', "acme/shop"),
        (b'{"project": {"slug": "github/acme/shop"}}', "github/acme/shop"),
        (b'{"zen": "keep it simple"}', ""),
        (b"\xff\x00not json", ""),
    ],
)
def test_whose_turn_a_webhook_is_is_told_from_what_it_names_first(body: bytes, whose: str) -> None:
    """Of every provider."""
    assert repository_of(body) == whose
