"""A client of one API server: objects as JSON, by their REST paths.

There are a dozen paths, and objects of any kind that a chart may contain, so the typed models of the package `kubernetes`
are not used (docs/decisions/0018-kubernetes-does-the-transport.md).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

import urllib3

from greenlight.deployer.clusters.endpoint import ApiEndpoint
from greenlight.deployer.clusters.refusals import NotFound, refused
from greenlight.deployer.clusters.transport import Request, Transport
from greenlight.lib.errors import Unavailable

Object = dict[str, Any]
"""A Kubernetes object as JSON: apiVersion, kind, metadata, …"""

WATCH_SECONDS = 30
"""How long the API server keeps one watch open. The next one is a new request, so a dead connection does not stay unnoticed."""

_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class Api:
    """Read, change and watch objects. Safe to use from many threads.

    Every method raises a kind of Refused where the API server refuses, Unavailable where it cannot be reached, and
    ConfigurationError where it does not accept the credentials.
    """

    def __init__(self, endpoint: Callable[[], ApiEndpoint], forget: Callable[[], None] = lambda: None) -> None:
        """Call `endpoint` before every request, and `forget` when its credentials or certificates were refused."""
        self._transport = Transport(endpoint, forget)

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Object:
        """Return one object, or a list of them where `path` is a collection's."""
        return self._json(Request("GET", _with(path, query)))

    def list(self, path: str, query: Mapping[str, str] | None = None) -> Object:
        """Return a collection: `items`, and `metadata.resourceVersion` to watch from."""
        return self.get(path, query)

    def labels(self, path: str, query: Mapping[str, str] | None = None) -> Sequence[Object]:
        """Return the metadata alone of a collection's objects: their contents are not transferred."""
        found = self._json(Request("GET", _with(path, query), accept=_METADATA_ONLY))
        items: Sequence[Object] = found.get("items") or []
        return items

    def text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """Return a text that is no object, such as the log of a container. It comes from a node, so 2 s have to do."""
        body, _ = self._transport.read(Request("GET", _with(path, query), timeout=(2.0, 2.0)))
        return body.decode("utf-8", "replace")

    def time(self) -> datetime:
        """Return the time of the API server's clock, to the second."""
        _, answer = self._transport.read(Request("GET", "/version"))
        try:
            return parsedate_to_datetime(answer.headers["Date"])
        except (KeyError, ValueError) as problem:
            raise Unavailable("the API server's answer has no Date, so its clock cannot be read") from problem

    def create(self, path: str, body: Object) -> Object:
        """Add an object to the collection at `path`. Raises Conflict if it exists already."""
        return self._json(Request("POST", path, body))

    def replace(self, path: str, body: Object) -> Object:
        """Put `body` there. Raises Conflict if `body.metadata.resourceVersion` is no longer the object's."""
        return self._json(Request("PUT", path, body))

    def patch(self, path: str, body: Object) -> Object:
        """Merge `body` into the object (RFC 7386). Raises Conflict if `metadata.resourceVersion` in it is outdated."""
        return self._json(Request("PATCH", path, body, content=_MERGE))

    def would_apply(self, path: str, body: Object, manager: str, *, force: bool) -> Object:
        """Return the object as it would be if `manager` applied `body` server-side; nothing is changed.

        Raises Conflict if another manager has set a field to another value, and `force` is false.
        """
        query = {"fieldManager": manager, "force": "true" if force else "false", "dryRun": "All"}
        return self._json(Request("PATCH", _with(path, query), body, content=_APPLY))

    def delete(self, path: str, query: Mapping[str, str] | None = None) -> None:
        """Remove the object, if it is there."""
        with contextlib.suppress(NotFound):
            self._transport.read(Request("DELETE", _with(path, query)))

    def watch(self, path: str, query: Mapping[str, str], version: str) -> Watch:
        """Return what happens in a collection after `version`, for at most WATCH_SECONDS. Raises Gone: list again."""
        parameters = {
            **query,
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        request = Request("GET", _with(path, parameters), timeout=(3.0, WATCH_SECONDS + 5.0))
        return Watch(self._transport.open(request), path)

    def _json(self, request: Request) -> Object:
        body, _ = self._transport.read(request)
        try:
            found: Object = json.loads(body)
        except ValueError as problem:
            raise Unavailable(f"{request}: the answer is no JSON; there may be a proxy in between") from problem
        return found


class Watch:
    """Yield what happens in a collection: (ADDED, MODIFIED, DELETED or BOOKMARK; the object). Ends by itself or by `close`."""

    def __init__(self, answer: urllib3.BaseHTTPResponse, path: str) -> None:
        self._answer, self._path = answer, path

    def __iter__(self) -> Iterator[tuple[str, Object]]:
        """Yield events as they come. Raises Gone where the version is too old, Unavailable where the connection broke."""
        rest = b""
        try:
            # read1 returns what has come; stream() would wait for a whole block.
            while chunk := self._answer.read1(65536):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(None, lines):
                    yield self._event(json.loads(line))
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as problem:
            raise Unavailable(f"the watch of {self._path} broke off: {problem}") from problem
        finally:
            self.close()

    def close(self) -> None:
        """End it, also while another thread waits for the next event."""
        connection = self._answer.connection
        held = getattr(connection, "sock", None)
        with contextlib.suppress(OSError):
            if held is not None:
                held.shutdown(2)
        with contextlib.suppress(urllib3.exceptions.HTTPError, OSError, ValueError):
            self._answer.close()

    def _event(self, event: Object) -> tuple[str, Object]:
        if event["type"] != "ERROR":
            return event["type"], event["object"]
        status = event["object"]
        raise refused(self._path, status.get("code", 500), status.get("reason", ""), status.get("message", ""))


def _with(path: str, query: Mapping[str, str] | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path
