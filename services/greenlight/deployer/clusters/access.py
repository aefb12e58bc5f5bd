"""A cluster, as the pipeline's `clusters:` names it: how Helm is let in, and a client of its API server.

The client is urllib3 and JSON over a dozen REST paths. The package `kubernetes` costs 0.7 to 1.4 s of a start before it has
asked anything (docs/decisions/0009-helm-applies-we-watch.md).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import ssl
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

import urllib3
import yaml

from greenlight.lib.errors import ConfigurationError, Unavailable

Object = dict[str, Any]
"""A Kubernetes object as JSON: apiVersion, kind, metadata, …"""

TIMEOUT = urllib3.Timeout(connect=3.0, read=10.0)
WATCH_SECONDS = 30
"""How long the API server keeps one watch open; then it is begun anew, so that a connection that died unnoticed is too."""

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts a pod's token, and whom to trust."""

_MERGE = {"Content-Type": "application/merge-patch+json"}
_APPLY = {"Content-Type": "application/apply-patch+yaml"}
_LABELS_ONLY = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}


class Refused(Exception):
    """The API server said no: `status` as in HTTP, `reason` its word for it, the message as it wrote it."""

    def __init__(self, what: str, status: int, reason: str, message: str) -> None:
        super().__init__(f"{what}: {message}")
        self.status, self.reason, self.message = status, reason, message


class NotFound(Refused):
    """404: there is no such object, or no such kind."""


class Conflict(Refused):
    """409: it exists already, or is not any more what was read."""


class Forbidden(Refused):
    """403: we may not; the message names the right that is missing. A quota and an admission webhook say it so, too."""


class Gone(Refused):
    """410: what was read is too old to go on from; list again."""


_KINDS = {403: Forbidden, 404: NotFound, 409: Conflict, 410: Gone}


@dataclass(frozen=True, slots=True)
class Door:
    """Where an API server is, and what it takes to be let in."""

    server: str  # https://HOST[:PORT][/PREFIX]
    authority: bytes | None = None  # certificates to trust, PEM; None: this machine's
    token: str | None = None
    certificate: tuple[bytes, bytes] | None = None  # ours and its key, PEM
    server_name: str | None = None  # whose certificate it is, where not the host's
    insecure: bool = False  # the certificate is not looked at


class Access(Protocol):
    """One cluster, as the pipeline's `clusters:` names it. Used from many threads."""

    def helm(self) -> Mapping[str, str]:
        """What Helm's environment needs to reach it. Secrets are here, or in files that it names; never in arguments.

        Raises Unavailable where trying again helps, ConfigurationError where somebody has to mend something.
        """
        ...

    def api(self) -> Api:
        """A client of its API server, the same one every time."""
        ...


class Api:
    """A pooled client of one API server. `door` is asked before every request, so it keeps what it knows.

    Every method raises a kind of Refused where the API server said no, and Unavailable where it could not be asked. A token
    that it no longer takes is forgotten, and the request repeated once with a new one.
    """

    def __init__(self, door: Callable[[], Door], forget: Callable[[], None] = lambda: None) -> None:
        self._door, self._forget = door, forget
        self._lock = threading.Lock()
        self._pool: tuple[object, urllib3.PoolManager] | None = None

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Object:
        """One object, or a list of them where `path` is a collection's."""
        found: Object = json.loads(self._asked("GET", _with(path, query)).data)
        return found

    def list(self, path: str, query: Mapping[str, str] | None = None) -> Object:
        """A collection: `items`, and `metadata.resourceVersion` to watch from."""
        return self.get(path, query)

    def labels(self, path: str, query: Mapping[str, str] | None = None) -> Sequence[Object]:
        """The metadata alone of a collection's objects: what they hold stays where it is."""
        found: Object = json.loads(self._asked("GET", _with(path, query), headers=_LABELS_ONLY).data)
        items: Sequence[Object] = found.get("items") or []
        return items

    def text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """What is text and no object, such as the log of a container. Its node is asked, so that takes 2 s at most."""
        wait = urllib3.Timeout(connect=2.0, read=2.0)
        return self._asked("GET", _with(path, query), timeout=wait).data.decode("utf-8", "replace")

    def time(self) -> datetime:
        """What the API server's clock shows, to the second."""
        answer = self._asked("GET", "/version")
        try:
            return parsedate_to_datetime(answer.headers["Date"])
        except (KeyError, ValueError) as problem:
            raise Unavailable("the API server does not say what time it has: it sends no Date") from problem

    def create(self, path: str, body: Object) -> Object:
        """Add an object to the collection at `path`. Conflict: it is there already."""
        return self._sent("POST", path, body)

    def replace(self, path: str, body: Object) -> Object:
        """Put `body` there. Conflict: it is not any more what `body.metadata.resourceVersion` was."""
        return self._sent("PUT", path, body)

    def patch(self, path: str, body: Object) -> Object:
        """Merge `body` into the object (RFC 7386). Conflict: `metadata.resourceVersion` in it is no longer the object's."""
        found: Object = json.loads(self._asked("PATCH", path, json.dumps(body).encode(), _MERGE).data)
        return found

    def would_apply(self, path: str, body: Object, manager: str, *, force: bool) -> Object:
        """The object as it would be if `manager` applied `body` server-side; nothing is changed. Conflict: another has set a
        field to another value, and `force` is not asked for."""
        query = {"fieldManager": manager, "force": "true" if force else "false", "dryRun": "All"}
        found: Object = json.loads(self._asked("PATCH", _with(path, query), json.dumps(body).encode(), _APPLY).data)
        return found

    def delete(self, path: str, query: Mapping[str, str] | None = None) -> None:
        """Remove the object; one that is gone already is fine."""
        with contextlib.suppress(NotFound):
            self._asked("DELETE", _with(path, query))

    def watch(self, path: str, query: Mapping[str, str], version: str) -> Watch:
        """What happens in a collection after `version`, for at most WATCH_SECONDS. Gone: list again."""
        asked = {
            **query,
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        wait = urllib3.Timeout(connect=3.0, read=WATCH_SECONDS + 5.0)
        return Watch(self._asked("GET", _with(path, asked), preload_content=False, timeout=wait), path)

    def _sent(self, method: str, path: str, body: Object) -> Object:
        answer = self._asked(method, path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        found: Object = json.loads(answer.data)
        return found

    def _asked(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        **how: Any,
    ) -> urllib3.BaseHTTPResponse:
        answer = self._once(method, path, body, headers, how)
        if answer.status == 401:
            answer.drain_conn()
            self._forget()
            answer = self._once(method, path, body, headers, how)
        if 200 <= answer.status < 300:
            return answer
        raise _refusal(f"{method} {path.partition('?')[0]}", answer)

    def _once(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None, how: Mapping[str, Any]
    ) -> urllib3.BaseHTTPResponse:
        door = self._door()
        own = {"Authorization": f"Bearer {door.token}"} if door.token else {}
        try:
            return self._pool_of(door).urlopen(
                method,
                door.server.rstrip("/") + path,
                body=body,
                headers={"Accept": "application/json", **own, **(headers or {})},
                redirect=False,
                **how,
            )
        except urllib3.exceptions.HTTPError as problem:
            if isinstance(getattr(problem, "reason", problem), urllib3.exceptions.SSLError):
                self._forget()  # its certificates may have been renewed
            raise Unavailable(f"the API server at {door.server} cannot be asked: {problem}") from problem

    def _pool_of(self, door: Door) -> urllib3.PoolManager:
        """The connections; new ones where certificates have changed."""
        key = (door.server, door.authority, door.certificate, door.server_name, door.insecure)
        with self._lock:
            if self._pool is None or self._pool[0] != key:
                # A connection that the server closed meanwhile is replaced unasked; nothing was sent on it.
                retries = urllib3.Retry(total=1, connect=1, read=0, redirect=False, status=False)
                pool = urllib3.PoolManager(
                    maxsize=16,
                    retries=retries,
                    timeout=TIMEOUT,
                    ssl_context=_trust(door),
                    server_hostname=door.server_name,
                    assert_hostname=False if door.insecure else door.server_name,
                )
                self._pool = (key, pool)
            return self._pool[1]


class Watch:
    """What happens in a collection: (ADDED, MODIFIED, DELETED or BOOKMARK; the object). Ends by itself or when closed."""

    def __init__(self, answer: urllib3.BaseHTTPResponse, path: str) -> None:
        self._answer, self._path = answer, path

    def __iter__(self) -> Iterator[tuple[str, Object]]:
        """Raises Gone where what was watched from is too old, Unavailable where the connection broke."""
        rest = b""
        try:
            # read1 gives what has come; stream() would wait for a whole block.
            while chunk := self._answer.read1(65536):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(None, lines):
                    yield self._said(json.loads(line))
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as problem:
            raise Unavailable(f"the watch of {self._path} broke: {problem}") from problem
        finally:
            self.close()

    def close(self) -> None:
        """End it, also while another thread waits for the next word."""
        connection = self._answer.connection
        held = getattr(connection, "sock", None)
        with contextlib.suppress(OSError):
            if held is not None:
                held.shutdown(2)
        with contextlib.suppress(urllib3.exceptions.HTTPError, OSError, ValueError):
            self._answer.close()

    def _said(self, event: Object) -> tuple[str, Object]:
        if event["type"] != "ERROR":
            return event["type"], event["object"]
        status = event["object"]
        code = status.get("code", 500)
        raise _KINDS.get(code, Refused)(self._path, code, status.get("reason", ""), status.get("message", ""))


class Kubeconfig:
    """{kubeconfig: FILE, context: NAME}: one context of a kubeconfig file, never its current one.

    Helm reads the file itself. We take a token, a token file or a client certificate; a program that makes tokens
    (`exec`) is not run.
    """

    def __init__(self, file: Path, context: str) -> None:
        """Nothing is read yet."""
        self._file, self._context = file, context
        self._api = Api(self._door)
        self._read: tuple[tuple[int, int], Door, Path | None] | None = None

    def helm(self) -> Mapping[str, str]:
        """KUBECONFIG and HELM_KUBECONTEXT."""
        self._door()  # what is wrong with it is said in our words
        return {"KUBECONFIG": str(self._file), "HELM_KUBECONTEXT": self._context}

    def api(self) -> Api:
        """The client."""
        return self._api

    def _door(self) -> Door:
        try:
            stat = self._file.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if self._read is None or self._read[0] != stamp:
                self._read = (stamp, *self._parsed(self._file.read_text(encoding="utf-8")))
            door, token = self._read[1:]
            if token is None:
                return door
            return Door(
                door.server, door.authority, token.read_text(encoding="utf-8").strip(), server_name=door.server_name
            )
        except OSError as problem:
            raise ConfigurationError(f"{self}: {problem.filename}: {problem.strerror}") from problem

    def _parsed(self, text: str) -> tuple[Door, Path | None]:
        """The door, and the file that holds the token, if one does."""
        try:
            whole = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
            context = _named(whole, "contexts", self._context, "context")
            cluster = _named(whole, "clusters", context["cluster"], "cluster")
            user = _named(whole, "users", context["user"], "user")
            if "exec" in user or "auth-provider" in user:
                raise ConfigurationError(
                    f"{self}: its user has a program make its tokens, and none is run here; name an EKS cluster as "
                    "{eks: {name, region}}, or give the user a token, a tokenFile or a client certificate"
                )
            key, certificate = self._bytes(user, "client-key"), self._bytes(user, "client-certificate")
            door = Door(
                server=cluster["server"],
                authority=self._bytes(cluster, "certificate-authority"),
                token=user.get("token"),
                certificate=(certificate, key) if certificate and key else None,
                server_name=cluster.get("tls-server-name"),
                insecure=bool(cluster.get("insecure-skip-tls-verify")),
            )
        except (yaml.YAMLError, KeyError, TypeError, AttributeError, binascii.Error) as problem:
            raise ConfigurationError(f"{self}: is not a kubeconfig with that context: {problem}") from problem
        token = user.get("tokenFile")
        return door, self._file.parent / token if token else None

    def _bytes(self, section: Mapping[str, Any], name: str) -> bytes | None:
        if f"{name}-data" in section:
            return base64.b64decode(section[f"{name}-data"])
        return (self._file.parent / section[name]).read_bytes() if name in section else None

    def __str__(self) -> str:
        return f"{self._file}, context {self._context!r}"


class AuthorityFile:
    """Certificates to trust, as the file that Helm wants; there as long as this object is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._file: tuple[bytes, str] | None = None

    def helm(self, door: Door) -> Mapping[str, str]:
        """Helm's environment for a door with a token and an authority, and for nothing that a kubeconfig says."""
        assert door.authority is not None, "every kind of access that has no kubeconfig knows whom to trust"
        assert door.token is not None, "every kind of access that has no kubeconfig has a token"
        return _helm(door.server, self._path(door.authority), door.token)

    def _path(self, authority: bytes) -> str:
        with self._lock:
            if self._file is None or self._file[0] != authority:
                descriptor, name = tempfile.mkstemp(prefix="greenlight-ca-", suffix=".pem")
                weakref.finalize(self, _unlink, name)  # not before: a Helm that has begun may still read the one before
                with os.fdopen(descriptor, "wb") as file:
                    file.write(authority)
                self._file = (authority, name)
            return self._file[1]


class InCluster:
    """{in-cluster: true}: the cluster that this process runs in, as its pod's ServiceAccount.

    The kubelet renews the token when four fifths of its time are over; its file is read before every use, so that there is
    nothing to notice. (https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/)
    """

    def __init__(self, folder: Path = SERVICE_ACCOUNT, env: Mapping[str, str] = os.environ) -> None:
        """Nothing is read yet."""
        self._folder, self._env = folder, env
        self._api = Api(self._door)

    def helm(self) -> Mapping[str, str]:
        """For one run of Helm that begins now: its token is not renewed while it runs."""
        door = self._door()
        assert door.token is not None, "a door in a cluster has one"
        return _helm(door.server, str(self._folder / "ca.crt"), door.token)

    def api(self) -> Api:
        """The client."""
        return self._api

    def _door(self) -> Door:
        host, port = self._env.get("KUBERNETES_SERVICE_HOST"), self._env.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise ConfigurationError(
                "in-cluster: this process runs in no pod (KUBERNETES_SERVICE_HOST is not set); name the cluster by "
                "{kubeconfig, context} or {eks: {name, region}}"
            )
        try:
            token = (self._folder / "token").read_text(encoding="ascii").strip()
            authority = (self._folder / "ca.crt").read_bytes()
        except (OSError, UnicodeDecodeError) as problem:
            raise ConfigurationError(
                f"in-cluster: {self._folder} holds no ServiceAccount token: {problem}; the pod needs a serviceAccountName, and "
                "automountServiceAccountToken that is not false"
            ) from problem
        return Door(f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}", authority, token)


def _unlink(name: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(name)


def _helm(server: str, authority: str, token: str) -> Mapping[str, str]:
    """An empty kubeconfig, because whatever Helm finds in one is added to the rest."""
    return {
        "KUBECONFIG": os.devnull,
        "HELM_KUBEAPISERVER": server,
        "HELM_KUBECAFILE": authority,
        "HELM_KUBETOKEN": token,
    }


def _named(whole: Any, section: str, name: str, kind: str) -> Any:
    for entry in whole.get(section) or ():
        if entry["name"] == name:
            return entry[kind]
    raise KeyError(f"{section} has no {name!r}")


def _trust(door: Door) -> ssl.SSLContext:
    authority = door.authority.decode() if door.authority else None
    context = ssl.create_default_context(cadata=authority)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as kubectl and Helm: whatever is in the bundle is trusted
    if door.insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if door.certificate:
        with tempfile.NamedTemporaryFile(prefix="greenlight-", suffix=".pem") as file:  # ours alone: mode 0600
            file.write(door.certificate[0] + b"\n" + door.certificate[1])
            file.flush()
            context.load_cert_chain(file.name)
    return context


def _with(path: str, query: Mapping[str, str] | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _refusal(what: str, answer: urllib3.BaseHTTPResponse) -> Exception:
    """As what an answer that is no success counts: a Status, or whatever a proxy before it wrote."""
    raw = answer.data
    try:
        status = json.loads(raw)
        reason, message = status.get("reason", ""), status.get("message", "")
    except (ValueError, AttributeError):
        reason, message = "", raw[:200].decode("utf-8", "replace")
    if answer.status == 401:
        return ConfigurationError(
            f"{what}: the API server does not know who we are (401); mend the cluster's credentials"
        )
    if answer.status == 429 or answer.status >= 500:
        return Unavailable(f"{what}: {answer.status}: {message}")
    return _KINDS.get(answer.status, Refused)(what, answer.status, reason, message or f"HTTP {answer.status}")
