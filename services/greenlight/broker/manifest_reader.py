"""The reader of a Broker's or Trigger's document (eventing.knative.dev/v1); every mistake has its line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from greenlight.broker.delivery_options import DEFAULT, DeliveryOptions, Destination, Ref, effective, seconds
from greenlight.broker.filters import FilterError, Path, Predicate, compile_filters
from greenlight.broker.required_values import required_values
from greenlight.broker.trigger_spec import BrokerSpec, TriggerSpec
from greenlight.lib.documents import Document

GROUP = "eventing.knative.dev"
CONCURRENCY = "greenlight/concurrency"
"""Annotation of a Trigger: how many of its events may be in flight at once."""

PER_KEY = "greenlight/concurrency-per-key"
"""Annotation of a Trigger: how many of them with one partition key."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_TOP = ("apiVersion", "kind", "metadata", "spec", "status")
_BROKER = ("config", "delivery")
_TRIGGER = ("broker", "filter", "filters", "subscriber", "delivery")
_DELIVERY = ("deadLetterSink", "retry", "backoffPolicy", "backoffDelay", "timeout", "format")
_DESTINATION = ("ref", "uri")
_REF = ("apiVersion", "kind", "name", "namespace")


def is_for_broker(value: Any) -> bool:
    """Return whether a document is a Broker or a Trigger of Knative's."""
    if not isinstance(value, Mapping) or value.get("kind") not in ("Broker", "Trigger"):
        return False
    return str(value.get("apiVersion", "")).partition("/")[0] == GROUP


class ManifestReader:
    """Read one document of a Broker or Trigger, and collect its errors in `errors`."""

    def __init__(self, name: str, document: Document, errors: list[str]) -> None:
        self._name = name
        self._document = document
        self._errors = errors
        self.kind: str = document.value["kind"]

    def broker(self) -> BrokerSpec | None:
        """Return the Broker, None if something is wrong with it."""
        before = len(self._errors)
        namespace, name, _ = self._metadata()
        spec = self._mapping(self._document.value.get("spec") or {}, ("spec",), _BROKER)
        delivery = self._delivery(spec["delivery"], ("spec", "delivery"), namespace) if "delivery" in spec else DEFAULT
        return BrokerSpec(namespace, name, delivery) if len(self._errors) == before else None

    def trigger(self, brokers: Mapping[str, BrokerSpec]) -> TriggerSpec | None:
        """Return the Trigger, None if something is wrong with it."""
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
        concurrency, per_key = (self._count(annotations, name) for name in (CONCURRENCY, PER_KEY))
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
            per_key=per_key,
            required_values=required_values(spec),
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

    def _delivery(self, value: Any, path: Path, namespace: str) -> DeliveryOptions:
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
        return DeliveryOptions(
            retry=retry,
            backoff_policy=self._one_of(options, path, "backoffPolicy", ("linear", "exponential")),
            backoff_delay=self._duration(options, path, "backoffDelay"),
            timeout=self._duration(options, path, "timeout", positive=True),
            format=self._one_of(options, path, "format", ("json", "binary")) or "binary",
            dead_letter_sink=None if sink is None else self._destination(sink, (*path, "deadLetterSink"), namespace),
        )

    def _one_of(self, options: Mapping[str, Any], path: Path, name: str, choices: tuple[str, str]) -> str | None:
        value = options.get(name)
        if value is None or value in choices:
            return value
        self._fail((*path, name), f"{name} is {choices[0]} or {choices[1]}, not {value!r}")
        return None

    def _duration(self, options: Mapping[str, Any], path: Path, name: str, *, positive: bool = False) -> float | None:
        value = options.get(name)
        if value is None:
            return None
        try:
            length = seconds(str(value))
        except ValueError as problem:
            self._fail((*path, name), f"{name}: {problem}")
            return None
        if positive and length == 0:
            self._fail((*path, name), f"{name} must be longer than 0")
        return length

    def _destination(self, value: Any, path: Path, namespace: str) -> Destination:
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

    def _ref(self, value: Any, path: Path, namespace: str) -> Ref:
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

    def _mapping(self, value: Any, path: Path, known: Sequence[str] | None) -> Mapping[str, Any]:
        """Return `value` if it is a mapping of `known` fields; an unknown field is an error, and left out."""
        if not isinstance(value, Mapping):
            self._fail(path, f"{'.'.join(map(str, path))} is missing or not a mapping")
            return {}
        for name in value:
            if known is not None and name not in known:
                self._fail((*path, name), f"unknown field {name!r}; known are {', '.join(known)}")
        return {name: inner for name, inner in value.items() if known is None or name in known}

    def _where(self, path: Path) -> str:
        return f"{self._name}:{self._document.line(path)}"

    def _fail(self, path: Path, message: str) -> None:
        self._errors.append(f"{self._where(path)}: {message}")
