"""Two brokers with one interface, and scenes that are played on both: only HTTP in, and HTTP at the subscribers, count.

A scene is a Broker, some Triggers, what their subscribers answer, and what is sent. All scenes of a session are deployed at
once and played side by side; what came of each is its outcome, in which a case looks for what it expects.

Knative's broker is used as it is without annotations: synchronous. Its answer to the producer comes when every delivery,
retry, dead letter and reply that the event caused is over, so that nothing here has to guess when no more will come.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import urllib3

from greenlight.broker import log
from greenlight.broker.broker import Broker
from greenlight.broker.ingress import MAX_EVENT
from greenlight.broker.manifests import load_texts
from greenlight.service.http_connections import Limits
from greenlight.service.server import Server
from greenlight.store import Store
from support.cluster import Cluster

PATIENCE = 60.0
"""Seconds that a scene waits for what must come."""

PROBE = {"ce-specversion": "1.0", "ce-id": "probe", "ce-type": "probe", "ce-source": "/probe"}

Object = dict[str, Any]


# What a scene is made of.


@dataclass(frozen=True)
class Send:
    """A request to the Broker: `path` follows its address, or replaces it if it begins with two slashes.

    `until`: the producer goes away as soon as this subscriber has been called, without waiting for an answer.
    """

    headers: Mapping[str, str]
    body: bytes = b""
    method: str = "POST"
    path: str = ""
    chunked: bool = False
    until: str | None = None


@dataclass(frozen=True)
class Answer:
    """A subscriber's answer, after `delay` seconds.

    `how`: whole; cut (the connection closes midway); none (at once).
    """

    status: int = 202
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0
    how: str = "whole"
    before: tuple[int, ...] = ()  # provisional answers (1xx) that come first


@dataclass(frozen=True)
class Scene:
    """A scene.

    `triggers`: specs by name; where none of them has a filter, they get only the events of scenes that want the same.
    `answers`: by subscriber, one after the other; the last is given again and again; 202 where it has none. `broker`:
    its spec. Texts may hold ${case}, the scene's name, which is every event's attribute case; ${set}, an attribute too,
    by which shared Triggers know their events; ${NAME}, the address of a subscriber. `wait`: calls of subscribers that
    must have come, where a Broker answers before. `linger`: seconds to wait at the end, for what may come although it
    must not.
    """

    name: str
    send: Sequence[Send]
    triggers: Mapping[str, Mapping[str, Any]]
    answers: Mapping[str, Sequence[Answer]] = field(default_factory=dict)
    broker: Mapping[str, Any] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    wait: Mapping[str, int] = field(default_factory=dict)
    linger: float = 0.0

    @property
    def wish(self) -> str:
        """Return what scenes with the same Triggers have in common."""
        return json.dumps([self.broker, self.annotations, self.triggers], sort_keys=True)

    @property
    def own(self) -> bool:
        """Return whether its Broker is for scenes of the same wish only."""
        filtered = any({"filter", "filters"} & set(spec) for spec in self.triggers.values())
        return filtered or "${" in json.dumps(self.broker)


@dataclass(frozen=True)
class Call:
    """A request that a subscriber got, at a monotonic time."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float


@dataclass(frozen=True)
class Reaction:
    """The Broker's answer to a producer; status 0: it closed the connection, or the producer went away."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    took: float


@dataclass
class Outcome:
    """The outcome of a scene."""

    reactions: list[Reaction]
    calls: Mapping[str, Sequence[Call]]
    methods: Set[str]  # of all requests to all subscribers of the session

    def __getitem__(self, key: str) -> Any:
        """Return one fact, by name.

        status, took, answer.HEADER, answer.body: what the producer saw, a list if there were several requests. NAME: how
        often a subscriber was called. NAME.HEADER, .body, .json, .method, .path: of the last call. NAME.ids: of all calls,
        in their order. NAME.gaps: seconds between calls. methods: those of all calls of all scenes.
        """
        if key == "methods":
            return set(self.methods)
        name, _, what = key.partition(".")
        if name in ("status", "took", "answer"):
            seen = [_of_reaction(reaction, what or name) for reaction in self.reactions]
            return seen[0] if len(seen) == 1 else seen
        calls = self.calls.get(name, [])
        if not what:
            return len(calls)
        if what == "gaps":
            return [round(after.at - before.at, 3) for before, after in itertools.pairwise(calls)]
        if what == "ids":
            return [call.headers.get("ce-id") for call in calls]
        return _of_call(calls[-1], what) if calls else "not called"


def _of_reaction(reaction: Reaction, what: str) -> Any:
    return getattr(reaction, what) if what in ("status", "took", "body") else reaction.headers.get(what)


def _of_call(call: Call, what: str) -> Any:
    if what == "json":
        try:
            return json.loads(call.body)
        except ValueError:
            return "no JSON"
    return getattr(call, what) if what in ("body", "method", "path") else call.headers.get(what)


# Subscribers.


class Subscribers:
    """The subscribers of all scenes behind one HTTP server of this machine: /SET/NAME is one of them.

    Which scene a request belongs to is its event's attribute case.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        """Keep `host`, the name by which the Broker reaches this machine."""
        self._calls: dict[tuple[str, str], list[Call]] = {}
        self._answers: dict[str, Mapping[str, Sequence[Answer]]] = {}
        self._news = threading.Condition()
        self.methods: set[str] = set()
        self.over = threading.Event()
        handler = type("Handler", (_Handler,), {"subscribers": self})
        self._host = host
        self._server = _Listener((host if host == "127.0.0.1" else "", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def play(self, scene: str, answers: Mapping[str, Sequence[Answer]]) -> None:
        """Set the subscribers' answers to the events of a scene."""
        self._answers[scene] = answers

    def address(self, set: str, name: str) -> str:
        return f"http://{self._host}:{self._server.server_port}/{set}/{name}"

    def take(self, call: Call) -> Answer:
        name = call.path.split("?")[0].split("/")[2]
        scene = call.headers.get("ce-case") or _case_of(call.body)
        with self._news:
            self.methods.add(call.method)
            calls = self._calls.setdefault((scene, name), [])
            calls.append(call)
            number = len(calls)
            self._news.notify_all()
        script = self._answers.get(scene, {}).get(name) or [Answer()]
        return script[min(number, len(script)) - 1]

    def forget(self, scene: Scene) -> None:
        """Begin to count the calls of a scene anew."""
        with self._news:
            self._calls = {(of, name): calls for (of, name), calls in self._calls.items() if of != scene.name}

    def calls(self, scene: Scene) -> dict[str, Sequence[Call]]:
        with self._news:
            return {name: list(calls) for (of, name), calls in self._calls.items() if of == scene.name}

    def wait(self, until: Callable[[], bool], seconds: float) -> bool:
        with self._news:
            return self._news.wait_for(until, seconds)

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _case_of(body: bytes) -> str:
    """Return the scene of an event in structured mode."""
    found = re.search(rb'"case": ?"([^"]*)"', body)
    return found[1].decode() if found else ""


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a Broker gave up waiting


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    subscribers: Subscribers

    def _any(self) -> None:
        body = self._chunks() if self.headers.get("Transfer-Encoding") else self.rfile.read(self._length())
        headers = {name.lower(): text for name, text in self.headers.items()}
        answer = self.subscribers.take(Call(self.command, self.path, headers, body, time.monotonic()))
        if answer.delay:
            self.subscribers.over.wait(answer.delay)
        self._give(answer)

    do_POST = do_GET = do_PUT = do_HEAD = do_OPTIONS = _any

    def _give(self, answer: Answer) -> None:
        if answer.how == "none":
            self.close_connection = True
            return
        for status in answer.before:
            self.wfile.write(f"HTTP/1.1 {status} Wait\r\n\r\n".encode())
        self.send_response(answer.status)
        for name, text in answer.headers.items():
            self.send_header(name, text)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body) + (answer.how == "cut")))
        self.end_headers()
        self.wfile.write(answer.body)
        if answer.how == "cut":
            self.close_connection = True

    def _length(self) -> int:
        return int(self.headers.get("Content-Length") or 0)

    def _chunks(self) -> bytes:
        found = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def log_message(self, *args: object) -> None:
        pass


# Brokers.


class Backend(Protocol):
    """A broker that takes Knative's objects, which are deployed once."""

    namespace: str

    def deploy(self, objects: Sequence[Object]) -> None:
        """Make these Brokers and Triggers, and return when events sent to each would be delivered."""
        ...

    def address(self, broker: str) -> str:
        """Return the address at which that Broker takes events."""
        ...

    def settle(self) -> None:
        """Wait until no event is on its way any more, for producers that got an answer."""
        ...


class Embedded:
    """Greenlight's broker over a store in `folder`, behind Greenlight's own server."""

    namespace = "parity"

    def __init__(self, folder: Path) -> None:
        self._store = Store(folder / "broker.db", [log.SCHEMA], synchronous="NORMAL")
        self._broker: Broker | None = None

    def deploy(self, objects: Sequence[Object]) -> None:
        manifests = load_texts({f"{number}.yaml": json.dumps(object) for number, object in enumerate(objects)})
        self._broker = Broker(self._store, manifests.brokers, manifests.triggers)
        self._broker.start()
        self._server = Server(self._broker.ingress, "127.0.0.1:0", name="test", limits=Limits(body=MAX_EVENT))
        self._server.start()

    def address(self, broker: str) -> str:
        host, port = self._server.address
        return f"http://{host}:{port}/{self.namespace}/{broker}"

    def settle(self) -> None:
        assert self._broker is not None
        assert self._broker.idle(PATIENCE), f"the Broker is still at it after {PATIENCE} s: {self._broker.lag()}"

    def close(self) -> None:
        if self._broker is not None:
            self._server.stop(5)
            self._broker.drain(1)
            self._broker.stop()
        self._store.close()


class Knative:
    """Knative's multi-tenant broker, in a namespace of its own."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster, self.namespace = cluster, namespace
        self._http = urllib3.PoolManager(retries=False, timeout=30)

    def deploy(self, objects: Sequence[Object]) -> None:
        self._cluster.apply(*objects)
        self._cluster.wait_ready(*objects)
        for broker in [object["metadata"]["name"] for object in objects if object["kind"] == "Broker"]:
            self._probe(self.address(broker))

    def _probe(self, address: str) -> None:
        """Send probes: the ingress and the filter learn of a Broker a little after its controllers report Ready."""
        end = time.monotonic() + PATIENCE
        while self._http.request("POST", address, headers=PROBE).status != 202:
            assert time.monotonic() < end, f"{address} takes no events after {PATIENCE} s"
            time.sleep(0.05)

    def address(self, broker: str) -> str:
        return self._cluster.broker(self.namespace, broker)

    def settle(self) -> None:
        """Wait for nothing: it answered, so it is over."""


# Playing.


Address = Callable[[str], str]
"""Of a subscriber, by name."""


def cast(
    scenes: Sequence[Scene], namespace: str, address: Callable[[str, str], str]
) -> tuple[list[Object], dict[str, tuple[str, str]]]:
    """Return the Brokers and Triggers of all scenes, and on which Broker and with which set of Triggers each is played.

    Few of them: making one costs the real broker half a second, and each event costs it a look at all Triggers of its Broker.
    """
    places: dict[str, tuple[str, str]] = {}
    brokers: dict[str, Object] = {}
    triggers: list[Object] = []
    sets: dict[str, list[Scene]] = {}
    for scene in scenes:
        sets.setdefault(scene.wish, []).append(scene)
    for number, (wish, alike) in enumerate(sets.items()):
        first, set = alike[0], f"set{number}"
        to = functools.partial(address, set)
        key = wish if first.own else json.dumps([first.broker, first.annotations], sort_keys=True)
        spec = _filled(first.broker, first.name, set, to)
        broker = brokers.setdefault(key, _object("Broker", namespace, f"b{len(brokers)}", spec, first.annotations))
        name = broker["metadata"]["name"]
        places |= {scene.name: (name, set) for scene in alike}
        for trigger, spec in first.triggers.items():
            own = {} if first.own else {"filters": [{"exact": {"set": set}}]}
            whole = {"broker": name, "subscriber": {"uri": f"${{{trigger}}}"}, **own, **spec}
            triggers.append(_object("Trigger", namespace, f"{set}-{trigger}", _filled(whole, first.name, set, to)))
    return [*brokers.values(), *triggers], places


def _object(kind: str, namespace: str, name: str, spec: Any, annotations: Mapping[str, str] | None = None) -> Object:
    metadata = {"name": name, "namespace": namespace, "annotations": dict(annotations or {})}
    return {"apiVersion": "eventing.knative.dev/v1", "kind": kind, "metadata": metadata, "spec": spec}


def _filled(value: Any, scene: str, set: str, address: Address) -> Any:
    """Return `value` with every ${…} in its texts replaced."""

    def meant(found: re.Match[str]) -> str:
        return {"case": scene, "set": set}.get(found[1]) or address(found[1])

    if isinstance(value, str):
        return re.sub(r"\$\{([\w-]+)\}", meant, value)
    if isinstance(value, Mapping):
        return {name: _filled(inner, scene, set, address) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(inner, scene, set, address) for inner in value]
    return value


class Stage:
    """All scenes of a session on one backend."""

    def __init__(self, backend: Backend, scenes: Sequence[Scene], subscribers: Subscribers, at_once: int = 16) -> None:
        self._backend, self._subscribers = backend, subscribers
        objects, self._places = cast(scenes, backend.namespace, subscribers.address)
        for scene in scenes:
            answers = {
                name: [self._filled_in(answer, scene) for answer in script] for name, script in scene.answers.items()
            }
            subscribers.play(scene.name, answers)
        backend.deploy(objects)
        self._pool = ThreadPoolExecutor(at_once)
        self._outcomes: dict[str, Future[Outcome]] = {
            scene.name: self._pool.submit(self._play, scene) for scene in scenes
        }

    def outcome(self, scene: Scene) -> Outcome:
        """Return the outcome of a scene. Raises what went wrong."""
        return self._outcomes[scene.name].result(10 * PATIENCE)

    def play_again(self, scene: Scene) -> Outcome:
        """Play a scene once more, alone, and return what came of that. Raises what went wrong."""
        self._subscribers.forget(scene)
        self._outcomes[scene.name] = self._pool.submit(self._play, scene)
        return self.outcome(scene)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _fill(self, value: Any, scene: Scene) -> Any:
        set = self._places[scene.name][1]
        return _filled(value, scene.name, set, functools.partial(self._subscribers.address, set))

    def _fill_bytes(self, body: bytes, scene: Scene) -> bytes:
        return self._fill(body.decode("latin-1"), scene).encode("latin-1")

    def _filled_in(self, answer: Answer, scene: Scene) -> Answer:
        return replace(answer, headers=self._fill(answer.headers, scene), body=self._fill_bytes(answer.body, scene))

    def _play(self, scene: Scene) -> Outcome:
        reactions = [self._send(scene, send) for send in scene.send]
        self._backend.settle()
        for name, count in scene.wait.items():
            self._subscribers.wait(lambda: len(self._subscribers.calls(scene).get(name, ())) >= count, PATIENCE)  # noqa: B023
        if scene.linger:
            self._subscribers.wait(lambda: False, scene.linger)
        return Outcome(reactions, self._subscribers.calls(scene), self._subscribers.methods)

    def _send(self, scene: Scene, send: Send) -> Reaction:
        address = self._backend.address(self._places[scene.name][0])
        if send.path.startswith("//"):
            address = address.split("/", 3)[0] + "//" + address.split("/", 3)[2] + send.path[1:]
        else:
            address += send.path
        headers = {name: text.encode().decode("latin-1") for name, text in self._fill(send.headers, scene).items()}
        body = self._fill_bytes(send.body, scene)
        began = time.monotonic()
        with contextlib.closing(urllib3.connection_from_url(address, retries=False, timeout=PATIENCE)) as http:
            if send.until is not None:
                return self._leave(scene, send.until, address, headers, body)
            content: Any = iter([body[:10], body[10:]]) if send.chunked else body
            try:
                answer = http.urlopen(send.method, _target(address), headers=headers, body=content, redirect=False)
            except urllib3.exceptions.ProtocolError:
                return Reaction(0, {}, b"", time.monotonic() - began)
            found = {name.lower(): text for name, text in answer.headers.items()}
            return Reaction(answer.status, found, answer.data, time.monotonic() - began)

    def _leave(self, scene: Scene, name: str, address: str, headers: Mapping[str, str], body: bytes) -> Reaction:
        """Send, wait for the subscriber's first call, and close the connection."""
        parts = urllib3.util.parse_url(address)
        connection = urllib3.connection.HTTPConnection(parts.host or "", parts.port)
        connection.request("POST", _target(address), body=body, headers=headers)
        called = self._subscribers.wait(lambda: bool(self._subscribers.calls(scene).get(name)), PATIENCE)
        connection.close()
        assert called, f"{name} was not called in {PATIENCE} s"
        return Reaction(0, {}, b"", 0.0)


def _target(address: str) -> str:
    """Return the path and query as they are written, a bare question mark included."""
    return "/" + address.split("/", 3)[3]


@contextlib.contextmanager
def embedded(folder: Path, scenes: Sequence[Scene]) -> Iterator[Stage]:
    """Yield the scenes on Greenlight's broker."""
    with contextlib.closing(Embedded(folder)) as backend, _played(backend, scenes, "127.0.0.1") as stage:
        yield stage


@contextlib.contextmanager
def knative(cluster: Cluster, scenes: Sequence[Scene]) -> Iterator[Stage]:
    """Yield the scenes on Knative's."""
    with (
        cluster.namespace("parity") as namespace,
        _played(Knative(cluster, namespace), scenes, cluster.subscribers) as stage,
    ):
        yield stage


@contextlib.contextmanager
def _played(backend: Backend, scenes: Sequence[Scene], host: str) -> Iterator[Stage]:
    with (
        contextlib.closing(Subscribers(host)) as subscribers,
        contextlib.closing(Stage(backend, scenes, subscribers)) as stage,
    ):
        yield stage


# Cases.


class Like:
    """A value that equals whatever passes a test; `text` names the test."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, text: str, test: Callable[[Any], bool]) -> None:
        self._text, self._test = text, test

    def __eq__(self, other: object) -> bool:
        try:
            return self._test(other)
        except (TypeError, ValueError, AttributeError, IndexError, KeyError):
            return False

    def __repr__(self) -> str:
        return f"<{self._text}>"


@dataclass(frozen=True)
class Case:
    """The expected facts of a scene, as Outcome names them. `id` begins with the rows of the contract that it is about.

    `knative`: the facts that differ there, for the reason that `difference` names (contract/broker/differences.py).
    """

    id: str
    scene: Scene
    expect: Mapping[str, Any]
    knative: Mapping[str, Any] = field(default_factory=dict)
    difference: str | None = None

    def __post_init__(self) -> None:
        assert bool(self.knative) == bool(self.difference), f"{self.id}: a difference has facts and a reason"
        assert self.knative.keys() <= self.expect.keys(), f"{self.id}: say what each fact is here too"
