"""Brokers and Triggers, read from Knative's own YAML (eventing.knative.dev/v1); every mistake with its line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import greenlight
from greenlight.broker.delivery import DEFAULT, Delivery, Destination, Ref, effective, seconds
from greenlight.broker.filters import FilterError, Predicate, compile_filters, everything, limits
from greenlight.broker.filters import Path as Where
from greenlight.lib.documents import Document, DocumentError, load
from greenlight.lib.errors import ConfigurationError, UnreadableFile
from greenlight.lib.files import files_below

GROUP = "eventing.knative.dev"
CONCURRENCY = "greenlight/concurrency"
OF_ONE_KEY = "greenlight/concurrency-per-key"
"""Annotation of a Trigger: how many of its events may be on their way at once."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_TOP = ("apiVersion", "kind", "metadata", "spec", "status")
_BROKER = ("config", "delivery")
_TRIGGER = ("broker", "filter", "filters", "subscriber", "delivery")
_DELIVERY = ("deadLetterSink", "retry", "backoffPolicy", "backoffDelay", "timeout", "format")
_DESTINATION = ("ref", "uri")
_REF = ("apiVersion", "kind", "name", "namespace")


@dataclass(frozen=True, slots=True)
class BrokerSpec:
    """A Broker: where events are sent to."""

    namespace: str
    name: str
    delivery: Delivery = DEFAULT

    @property
    def key(self) -> str:
        """NAMESPACE/NAME: its name in the log and the path of its address."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class TriggerSpec:
    """A Trigger: which events of its Broker go to which subscriber, and how. `delivery` has the Broker's merged in."""

    namespace: str
    name: str
    broker: str
    filter: Predicate = field(compare=False)
    subscriber: Destination
    delivery: Delivery
    spec: Mapping[str, Any] = field(default_factory=dict)  # as it was read
    concurrency: int | None = None
    of_one_key: int | None = None  # of the concurrency, for one partition key
    limits: Mapping[str, frozenset[str]] = field(default_factory=dict)  # attributes, and the only values that can pass
    where: str = field(default="", compare=False)

    @classmethod
    def to_service(
        cls, name: str, service: str, *, namespace: str = "greenlight", broker: str = "default"
    ) -> TriggerSpec:
        """A Trigger that sends every event to a Knative Service, with the delivery of a Broker that says nothing."""
        ref = Ref("serving.knative.dev/v1", "Service", service, namespace)
        return cls(namespace, name, broker, everything, Destination(ref, where=f"Trigger {name}"), DEFAULT)

    @property
    def key(self) -> str:
        """NAMESPACE/NAME: its name in the log."""
        return f"{self.namespace}/{self.name}"

    @property
    def broker_key(self) -> str:
        """The key of its Broker, which is in the same namespace."""
        return f"{self.namespace}/{self.broker}"


class Manifests(NamedTuple):
    """Every Broker and Trigger of a folder, in the order of the files' names."""

    brokers: tuple[BrokerSpec, ...]
    triggers: tuple[TriggerSpec, ...]


def default_folder(package: Path = Path(greenlight.__file__).parent) -> Path:
    """The `knative/` that belongs to this Greenlight: inside the package as installed, or beside it in a checkout."""
    for folder in (package / "knative", package.parents[1] / "knative"):
        if (folder / "triggers").is_dir():
            return folder
    raise ConfigurationError(
        f"the folder knative/ with the Triggers is missing from {package}: install Greenlight again"
    )


def manifest_files(folder: Path) -> list[Path]:
    """Find the YAML files below `folder`, by name, without kustomize's overlays/; OSError if a folder cannot be read."""
    return [
        path
        for path in files_below(folder)
        if path.suffix in (".yaml", ".yml") and "overlays" not in path.relative_to(folder).parts
    ]


def load_folder(*folders: Path) -> Manifests:
    """Every Broker and Trigger below `folders`; kinds of others are passed over.

    Raises ConfigurationError with a line for each mistake, UnreadableFile if a file or folder cannot be read now.
    """
    texts = {}
    for folder in folders:
        for path in _manifests_in(folder):
            name = str(path.relative_to(folder))
            try:
                texts[str(path) if name in texts else name] = path.read_text(encoding="utf-8")
            except OSError as problem:
                raise UnreadableFile(f"{path}: cannot be read: {problem}") from problem
            except UnicodeDecodeError as problem:
                raise ConfigurationError(f"{path}: cannot be read: {problem}") from problem
    return load_texts(texts)


def _manifests_in(folder: Path) -> list[Path]:
    """Find the YAML files below `folder`. Raises UnreadableFile if one of its folders cannot be read."""
    try:
        return manifest_files(folder)
    except OSError as problem:
        raise UnreadableFile(f"{folder}: cannot be read: {problem}") from problem


def load_texts(texts: Mapping[str, str]) -> Manifests:
    """The same from texts by file name."""
    errors: list[str] = []
    readers: list[_Reader] = []
    for name, text in texts.items():
        try:
            documents = load(text, name)
        except DocumentError as problem:
            errors.append(str(problem))
            continue
        readers += [_Reader(name, document, errors) for document in documents if _ours(document.value)]
    brokers = [broker for reader in readers if reader.kind == "Broker" and (broker := reader.broker())]
    by_key = {broker.key: broker for broker in brokers}
    triggers = [trigger for reader in readers if reader.kind == "Trigger" and (trigger := reader.trigger(by_key))]
    errors += [f"two Brokers are called {key}: rename one" for key in _twice([broker.key for broker in brokers])]
    errors += [f"two Triggers are called {key}: rename one" for key in _twice([trigger.key for trigger in triggers])]
    if errors:
        raise ConfigurationError("\n".join(errors))
    return Manifests(tuple(brokers), tuple(triggers))


def _ours(value: Any) -> bool:
    if not isinstance(value, Mapping) or value.get("kind") not in ("Broker", "Trigger"):
        return False
    return str(value.get("apiVersion", "")).partition("/")[0] == GROUP


def _twice(keys: Sequence[str]) -> list[str]:
    return sorted({key for key in keys if keys.count(key) > 1})


class _Reader:
    """Reads one document and notes what is wrong with it."""

    def __init__(self, name: str, document: Document, errors: list[str]) -> None:
        self._name = name
        self._document = document
        self._errors = errors
        self.kind: str = document.value["kind"]

    def broker(self) -> BrokerSpec | None:
        """The Broker, None if something is wrong with it."""
        before = len(self._errors)
        namespace, name, _ = self._metadata()
        spec = self._mapping(self._document.value.get("spec") or {}, ("spec",), _BROKER)
        delivery = self._delivery(spec["delivery"], ("spec", "delivery"), namespace) if "delivery" in spec else DEFAULT
        return BrokerSpec(namespace, name, delivery) if len(self._errors) == before else None

    def trigger(self, brokers: Mapping[str, BrokerSpec]) -> TriggerSpec | None:
        """The Trigger, None if something is wrong with it."""
        before = len(self._errors)
        namespace, name, annotations = self._metadata()
        spec = self._mapping(self._document.value.get("spec"), ("spec",), _TRIGGER)
        broker = brokers.get(f"{namespace}/{spec.get('broker')}")
        if not spec.get("broker"):
            self._fail(("spec",), "missing field spec.broker: the name of the Broker")
        elif broker is None:
            self._fail(
                ("spec", "broker"), f"there is no Broker {spec['broker']} in namespace {namespace} in these files"
            )
        subscriber = self._destination(spec.get("subscriber"), ("spec", "subscriber"), namespace)
        own = self._delivery(spec["delivery"], ("spec", "delivery"), namespace) if "delivery" in spec else None
        predicate = self._filter(spec, f"{namespace}/{name}")
        concurrency, of_one_key = (self._count(annotations, name) for name in (CONCURRENCY, OF_ONE_KEY))
        if len(self._errors) > before or broker is None:
            return None
        return TriggerSpec(
            namespace=namespace,
            name=name,
            broker=broker.name,
            filter=predicate,
            subscriber=subscriber,
            delivery=effective(own, broker.delivery),
            spec=dict(spec),
            concurrency=concurrency,
            of_one_key=of_one_key,
            limits=limits(spec),
            where=self._where(("spec",)),
        )

    def _metadata(self) -> tuple[str, str, Mapping[str, Any]]:
        self._mapping(self._document.value, (), _TOP)
        version = self._document.value["apiVersion"]
        if version != f"{GROUP}/v1":
            self._fail(("apiVersion",), f"a {self.kind} has apiVersion {GROUP}/v1, not {version}")
        metadata = self._mapping(self._document.value.get("metadata"), ("metadata",), None)
        name = metadata.get("name")
        if not isinstance(name, str) or len(name) > 253 or not _NAME.fullmatch(name):
            problem = (
                f"a {self.kind} needs metadata.name, of lower-case letters, digits, - and . (RFC 1123), not {name!r}"
            )
            self._fail(("metadata", "name"), problem)
            name = "?"
        annotations = metadata.get("annotations") or {}
        return str(metadata.get("namespace") or "default"), name, annotations

    def _filter(self, spec: Mapping[str, Any], trigger: str) -> Predicate:
        try:
            return compile_filters(spec, trigger)
        except FilterError as problem:
            self._fail(problem.path, str(problem))
            return lambda event: False

    def _count(self, annotations: Mapping[str, Any], name: str) -> int | None:
        text = annotations.get(name)
        if text is None:
            return None
        if not str(text).isdecimal() or not 1 <= int(text) <= 1000:
            self._fail(("metadata", "annotations", name), f"{name} is a number from 1 to 1000, not {text!r}")
            return None
        return int(text)

    def _delivery(self, value: Any, path: Where, namespace: str) -> Delivery:
        if isinstance(value, Mapping) and "retryAfterMax" in value:
            where = (*path, "retryAfterMax")
            self._fail(where, "retryAfterMax needs Knative's feature delivery-retryafter, which is off: leave it out")
            value = {name: inner for name, inner in value.items() if name != "retryAfterMax"}
        options = self._mapping(value, path, _DELIVERY)
        retry = options.get("retry", 0)
        if isinstance(retry, bool) or not isinstance(retry, int) or retry < 0:
            self._fail((*path, "retry"), f"retry is a whole number from 0 on, not {retry!r}")
            retry = 0
        sink = options.get("deadLetterSink")
        return Delivery(
            retry=retry,
            backoff_policy=self._one_of(options, path, "backoffPolicy", ("linear", "exponential")),
            backoff_delay=self._duration(options, path, "backoffDelay"),
            timeout=self._duration(options, path, "timeout", positive=True),
            format=self._one_of(options, path, "format", ("json", "binary")) or "binary",
            dead_letter_sink=None if sink is None else self._destination(sink, (*path, "deadLetterSink"), namespace),
        )

    def _one_of(self, options: Mapping[str, Any], path: Where, name: str, choices: tuple[str, str]) -> str | None:
        value = options.get(name)
        if value is None or value in choices:
            return value
        self._fail((*path, name), f"{name} is {choices[0]} or {choices[1]}, not {value!r}")
        return None

    def _duration(self, options: Mapping[str, Any], path: Where, name: str, *, positive: bool = False) -> float | None:
        value = options.get(name)
        if value is None:
            return None
        try:
            length = seconds(str(value))
        except ValueError as problem:
            self._fail((*path, name), f"{name}: {problem}")
            return None
        if positive and length == 0:
            self._fail((*path, name), f"{name} must be longer than nothing")
        return length

    def _destination(self, value: Any, path: Where, namespace: str) -> Destination:
        options = self._mapping(value, path, _DESTINATION)
        uri, ref = options.get("uri"), options.get("ref")
        where = self._where(path)
        if uri is not None and not isinstance(uri, str):
            self._fail((*path, "uri"), f"uri is a text, not {uri!r}")
            return Destination(where=where)
        absolute = uri is not None and bool(urlsplit(uri).scheme)
        if ref is None:
            if uri is None:
                self._fail(path, f"{path[-1]} needs a ref or a uri")
            elif not absolute or urlsplit(uri).scheme not in ("http", "https") or not urlsplit(uri).hostname:
                self._fail((*path, "uri"), f"{uri!r} is not an absolute http or https address, and there is no ref")
            return Destination(uri=uri, where=where)
        if absolute:
            self._fail((*path, "uri"), "an absolute uri is not allowed beside a ref; leave one of them out")
        return Destination(self._ref(ref, (*path, "ref"), namespace), uri, where)

    def _ref(self, value: Any, path: Where, namespace: str) -> Ref:
        ref = self._mapping(value, path, _REF)
        for name in ("apiVersion", "kind", "name"):
            if not isinstance(ref.get(name), str) or not ref[name]:
                self._fail(path, f"the ref needs {name}")
        return Ref(
            str(ref.get("apiVersion")),
            str(ref.get("kind")),
            str(ref.get("name")),
            str(ref.get("namespace") or namespace),
        )

    def _mapping(self, value: Any, path: Where, known: Sequence[str] | None) -> Mapping[str, Any]:
        """`value` if it is a mapping of `known` fields; what is not known is noted and left out."""
        if not isinstance(value, Mapping):
            self._fail(path, f"{'.'.join(map(str, path))} is missing or not a mapping")
            return {}
        for name in value:
            if known is not None and name not in known:
                self._fail((*path, name), f"unknown field {name!r}; known are {', '.join(known)}")
        return {name: inner for name, inner in value.items() if known is None or name in known}

    def _where(self, path: Where) -> str:
        return f"{self._name}:{self._document.line(path)}"

    def _fail(self, path: Where, message: str) -> None:
        self._errors.append(f"{self._where(path)}: {message}")
