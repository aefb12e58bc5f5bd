"""G2: publish, deliver and acknowledge in one process, fsynced; beside JetStream and Redis streams, fsynced too."""

from __future__ import annotations

import json
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from measure import Missing, Row, answering, child, free, go_tool, interleaved, ms

from greenlight.broker import log
from greenlight.broker.broker import Broker
from greenlight.broker.manifests import load_texts
from greenlight.events import Event
from greenlight.store import Store
from support.broker import BROKER, trigger

ROWS = ("G2",)
PRODUCERS = 16  # each has one event on its way: it goes on once that is durable
EVENTS = 8000
DATA = b'{"text":"' + b"x" * 980 + b'"}'


def main() -> list[Row]:
    """Events per second until the last one is acknowledged; the same bodies and producers for all."""
    rivals = {"NATS JetStream, sync_interval always": _jetstream, "Redis streams, appendfsync always": _redis}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        candidates = {"ours": stack.enter_context(_ours(Path(name)))}
        missing = {}
        for title, start in rivals.items():
            try:
                candidates[title] = stack.enter_context(start(Path(name)))
            except Missing as problem:
                missing[title] = str(problem)
        found = interleaved(candidates)
    for who, it in found.items():
        print(f"  {who:37} {it['rate']:7.0f} events/s, durable after {ms(it['p50'])} (p50) {ms(it['p99'])} (p99)")
    rows = [
        Row("G2", f"in process, 16 producers, against {title}: skipped", note=why) for title, why in missing.items()
    ]
    ours = found.pop("ours")["rate"]
    return rows + [
        Row("G2", f"in process, 16 producers, against {title}",
            f"{ours:.0f}/s", f"{it['rate']:.0f}/s", ours / it["rate"], at_least=1.5)
        for title, it in found.items()
    ]  # fmt: skip


class _Arrivals:
    """Counts what arrived."""

    def __init__(self) -> None:
        self._news, self._count = threading.Condition(), 0

    def add(self, count: int) -> None:
        with self._news:
            self._count += count
            self._news.notify_all()

    def wait(self, count: int) -> None:
        with self._news:
            assert self._news.wait_for(lambda: self._count >= count, 60), f"only {self._count} of {count} came"
            self._count -= count


def _measured(publish: Callable[[int], Callable[[int], None]], arrivals: _Arrivals) -> dict[str, float]:
    """`publish(producer)` gives what sends one event and returns once it is durable."""
    taken: list[float] = []

    def produce(number: int) -> None:
        send, mine = publish(number), []
        for n in range(EVENTS // PRODUCERS):
            before = time.perf_counter()
            send(n)
            mine.append(time.perf_counter() - before)
        taken.extend(mine)

    threads = [threading.Thread(target=produce, args=(number,)) for number in range(PRODUCERS)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    arrivals.wait(EVENTS)
    rate = EVENTS / (time.perf_counter() - start)
    taken.sort()
    return {"rate": rate, "p50": taken[len(taken) // 2], "p99": taken[int(len(taken) * 0.99)]}


@contextmanager
def _ours(folder: Path) -> Iterator[Callable[[], dict[str, float]]]:
    arrivals, run = _Arrivals(), 0

    def subscriber(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["wsgi.input"].read()
        arrivals.add(1)
        start_response("202 Accepted", [])
        return []

    manifests = load_texts({"g2.yaml": f"{BROKER}---{trigger('one', 'one')}"})
    store = Store(folder / "ours.db", [log.SCHEMA])
    broker = Broker(store, manifests.brokers, manifests.triggers, services={"one": subscriber})
    broker.start()

    def publish(number: int) -> Callable[[int], None]:
        return lambda n: broker.publish(Event(f"{run}-{number}-{n}", "/bench", "bench.happened", data=DATA))

    def measure() -> dict[str, float]:
        nonlocal run
        run += 1
        figures = _measured(publish, arrivals)
        assert broker.idle(30)
        return figures

    try:
        yield measure
    finally:
        broker.stop()
        store.close()


class _Resp:
    """The few words of Redis' protocol that a producer and a consumer need."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = self._socket.makefile("rb")

    def __call__(self, *words: bytes) -> Any:
        request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
        self._socket.sendall(request)
        return self._read()

    def close(self) -> None:
        self._reader.close()
        self._socket.close()

    def _read(self) -> Any:
        line = self._reader.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind in (b"+", b":"):
            return rest
        if int(rest) < 0:
            return None
        if kind == b"$":
            return self._reader.read(int(rest) + 2)[:-2]
        return [self._read() for _ in range(int(rest))]


@contextmanager
def _redis(folder: Path) -> Iterator[Callable[[], dict[str, float]]]:
    """A consumer group with one consumer that takes up to 100 at once, and acknowledges them with one command."""
    if shutil.which("redis-server") is None:
        raise Missing("needs redis-server (Debian: apt-get install redis-server)")
    port, arrivals = free(), _Arrivals()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    command += ["--appendonly", "yes", "--appendfsync", "always"]
    with child(*command, stdout=subprocess.DEVNULL) as server:
        answering(port)
        control = _Resp(port)
        control(b"XGROUP", b"CREATE", b"events", b"group", b"$", b"MKSTREAM")

        def consume() -> None:
            consumer = _Resp(port)
            words = (b"XREADGROUP", b"GROUP", b"group", b"one", b"COUNT", b"100", b"BLOCK", b"1000")
            while not stopping.is_set():
                found = consumer(*words, b"STREAMS", b"events", b">")
                if found:
                    ids = [id for id, _ in found[0][1]]
                    consumer(b"XACK", b"events", b"group", *ids)
                    arrivals.add(len(ids))
            consumer.close()

        def publish(number: int) -> Callable[[int], None]:
            connection = _Resp(port)

            def send(n: int) -> None:
                connection(b"XADD", b"events", b"*", b"id", b"%d-%d" % (number, n), b"source", b"/bench",
                           b"type", b"bench.happened", b"data", DATA)  # fmt: skip

            return send

        stopping = threading.Event()
        consumer = threading.Thread(target=consume)
        consumer.start()
        try:
            yield lambda: _measured(publish, arrivals)
        finally:
            stopping.set()
            consumer.join()
            control.close()
            assert server.poll() is None


class _Nats:
    """The few words of NATS' client protocol that a producer and a consumer need."""

    def __init__(self, port: int, inbox: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._got, self._at = b"", 0
        self._inbox = inbox.encode()
        self._line()  # INFO
        self.send(b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\nSUB %b 1\r\n' % self._inbox)

    def send(self, words: bytes) -> None:
        self._socket.sendall(words)

    def request(self, subject: bytes, body: bytes, headers: bytes = b"") -> Any:
        """The answer, which is JSON. Raises RuntimeError for an error of JetStream."""
        if headers:
            sizes = b"%d %d" % (len(headers), len(headers) + len(body))
            self.send(b"HPUB %b %b %b\r\n%b%b\r\n" % (subject, self._inbox, sizes, headers, body))
        else:
            self.send(b"PUB %b %b %d\r\n%b\r\n" % (subject, self._inbox, len(body), body))
        answer = json.loads(self.message()[1])
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def message(self) -> tuple[bytes, bytes]:
        """The next message: where to answer, and its headers and body. Raises ConnectionError at the end."""
        while True:
            words = self._line().split()
            if words[0] == b"PING":
                self.send(b"PONG\r\n")
            elif words[0] in (b"MSG", b"HMSG"):  # subject, number, [where to answer], [size of headers], size
                return words[3], self._exactly(int(words[-1]) + 2)[:-2]
            elif words[0] == b"-ERR":
                raise RuntimeError(words)

    def more(self) -> bool:
        """Whether something else has come already."""
        return self._at < len(self._got) or bool(select.select([self._socket], [], [], 0)[0])

    def stop(self) -> None:
        """Have whoever waits for a message find the connection closed."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()

    def _line(self) -> bytes:
        while (end := self._got.find(b"\r\n", self._at)) < 0:
            self._fill()
        line, self._at = self._got[self._at : end], end + 2
        return line

    def _exactly(self, count: int) -> bytes:
        while len(self._got) - self._at < count:
            self._fill()
        found = self._got[self._at : self._at + count]
        self._at += count
        return found

    def _fill(self) -> None:
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the connection was closed")
        self._got, self._at = self._got[self._at :] + data, 0


@contextmanager
def _jetstream(folder: Path) -> Iterator[Callable[[], dict[str, float]]]:
    """A stream on disk and a push consumer that acknowledges all it was given so far with one word."""
    port, arrivals, pending = free(), _Arrivals(), 0
    config = folder / "nats.conf"
    config.write_text(f"""
        listen: "127.0.0.1:{port}"
        jetstream {{store_dir: "{folder}/nats", sync_interval: always}}
    """)
    program = go_tool("github.com/nats-io/nats-server/v2", "v2.11.9")
    with child(program, "-c", config, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        answering(port)
        control = _Nats(port, "control")
        control.request(b"$JS.API.STREAM.CREATE.EVENTS", b'{"name":"EVENTS","subjects":["events"],"storage":"file"}')
        consumer = _Nats(port, "deliver")
        wanted = {"durable_name": "one", "deliver_subject": "deliver", "ack_policy": "all", "max_ack_pending": 10_000}
        config_ = json.dumps({"stream_name": "EVENTS", "config": wanted}).encode()
        control.request(b"$JS.API.CONSUMER.DURABLE.CREATE.EVENTS.one", config_)

        def consume() -> None:
            nonlocal pending
            try:
                while True:
                    answer, _ = consumer.message()
                    pending += 1
                    if pending >= 100 or not consumer.more():
                        consumer.send(b"PUB %b 4\r\n+ACK\r\n" % answer)
                        arrivals.add(pending)
                        pending = 0
            except OSError:
                return  # closed: it is over

        def publish(number: int) -> Callable[[int], None]:
            connection = _Nats(port, f"producer{number}")

            def send(n: int) -> None:
                headers = b"NATS/1.0\r\nid: %d-%d\r\nsource: /bench\r\ntype: bench.happened\r\n\r\n" % (number, n)
                connection.request(b"events", DATA, headers)

            return send

        thread = threading.Thread(target=consume)
        thread.start()
        try:
            yield lambda: _measured(publish, arrivals)
        finally:
            consumer.stop()
            thread.join()
            consumer.close()
            control.close()
