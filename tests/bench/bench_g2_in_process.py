"""G2: publish, deliver and acknowledge in one process, fsynced; beside Redis streams that fsync every write."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measure import Missing, Row, answering, child, free, interleaved, ms

from greenlight.broker import log
from greenlight.broker.broker import Broker
from greenlight.broker.manifests import load_texts
from greenlight.events import Event
from greenlight.store import Store
from support_broker import BROKER, trigger

ROWS = ("G2",)
PRODUCERS = 16  # each has one event on its way: it goes on once that is durable
EVENTS = 8000
DATA = b'{"text":"' + b"x" * 980 + b'"}'


def main() -> list[Row]:
    """Events per second until the last one is acknowledged; the same bodies and producers for both."""
    if shutil.which("redis-server") is None:
        raise Missing("the baseline needs redis-server (Debian: apt-get install redis-server)")
    with tempfile.TemporaryDirectory() as name, _ours(Path(name)) as ours, _redis(Path(name)) as redis:
        found = interleaved({"ours": ours, "redis": redis})
    rates = {who: figures["rate"] for who, figures in found.items()}
    for who, figures in found.items():
        print(
            f"  {who:6} {figures['rate']:7.0f} events/s, durable after {ms(figures['p50'])} (p50) {ms(figures['p99'])} (p99)"
        )
    shown = {who: f"{rate:.0f}/s" for who, rate in rates.items()}
    return [
        Row("G2", "in process, 16 producers, against Redis streams, appendfsync always",
            shown["ours"], shown["redis"], rates["ours"] / rates["redis"], at_least=1.5)
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
