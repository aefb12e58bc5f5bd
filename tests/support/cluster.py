"""A real Kubernetes API server with Knative's broker, for the tests marked `cluster`.

Any cluster will do: tests/cluster/cluster up starts one of plain processes, kind and minikube are others. A test knows it by
the environment only:

* `KUBECONFIG`: one file; its current context is used, with a token or a client certificate.
* `BROKER_INGRESS`: the address of the broker's ingress, to which `/NAMESPACE/BROKER` is added.
* `BROKER_SUBSCRIBERS`: the host under which the cluster reaches servers of this machine; `127.0.0.1` unless set.

Only the kind of Knative's Services is needed, not Knative Serving: `service` says itself where a Service is reached.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import urllib3
import yaml

from greenlight.events import Event
from greenlight.events.http import to_binary

PATIENCE = 60.0
"""Seconds that a test waits for what must come."""

MISSING = [name for name in ("KUBECONFIG", "BROKER_INGRESS") if not os.environ.get(name)]
"""What the environment lacks for the tests marked `cluster`."""


OURS = "CLUSTER_IS_OURS" in os.environ
"""Whether nobody else is on this cluster, so that a test may kill its broker or change its settings."""

Object = dict[str, Any]
"""A Kubernetes object, as in YAML: apiVersion, kind, metadata, …"""


def skip_without(items: list[pytest.Item], marker: str, missing: Sequence[str], setter: str) -> None:
    """Skip the tests marked so, with what the environment lacks for them, and what sets it."""
    skip = pytest.mark.skip(reason=f"no {' and no '.join(missing)}: {setter} gives them")
    for item in items if missing else ():
        if item.get_closest_marker(marker):
            item.add_marker(skip)


class Refused(Exception):
    """The API server refused: `status` as in HTTP, `message` as admission or validation wrote it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class NotThere(Refused):
    """The object does not exist."""


class Cluster:
    """The API server of a kubeconfig, and the ingress of its broker."""

    def __init__(self, kubeconfig: Path, ingress: str, subscribers: str = "127.0.0.1") -> None:
        self.ingress = ingress.rstrip("/")
        self.subscribers = subscribers
        self._server, self._http = _connect(kubeconfig)
        self._kinds: dict[tuple[str, str], tuple[str, bool]] = {}  # (apiVersion, kind) -> (plural, in a namespace?)

    @classmethod
    def from_environment(cls) -> Cluster:
        return cls(
            Path(os.environ["KUBECONFIG"]),
            os.environ["BROKER_INGRESS"],
            os.environ.get("BROKER_SUBSCRIBERS", "127.0.0.1"),
        )

    def apply(self, *objects: Object) -> list[Object]:
        """Apply them, server-side, in this order; return them as stored. Raises Refused, with admission's own words."""
        return [
            self._request(
                "PATCH",
                f"{self._path(one)}?fieldManager=tests&force=true&fieldValidation=Strict",
                one,
                "application/apply-patch+yaml",
            )
            for one in objects
        ]

    def admit(self, object: Object) -> None:
        """Let an object be admitted and validated; store nothing. Raises Refused."""
        query = "fieldManager=tests&force=true&fieldValidation=Strict&dryRun=All"
        self._request("PATCH", f"{self._path(object)}?{query}", object, "application/apply-patch+yaml")

    def patch_status(self, object: Object, status: Object) -> Object:
        """Write the status of an object, as its controller would."""
        return self._request(
            "PATCH", f"{self._path(object)}/status", {"status": status}, "application/merge-patch+json"
        )

    def get(self, object: Object) -> Object:
        """Return the object as it is now. Raises Refused(404) if there is none."""
        return self._request("GET", self._path(object))

    def items(self, version: str, kind: str, namespace: str, selector: str = "") -> list[Object]:
        """Return the objects of a kind in a namespace that have these labels."""
        collection = self._path({"apiVersion": version, "kind": kind, "metadata": {"namespace": namespace, "name": ""}})
        found: list[Object] = self._request("GET", f"{collection}?{urlencode({'labelSelector': selector})}")["items"]
        return found

    def delete(self, *objects: Object) -> None:
        """Delete them and what they own, without waiting for the end; missing ones are no error."""
        for one in objects:
            with contextlib.suppress(NotThere):
                self._request("DELETE", f"{self._path(one)}?propagationPolicy=Background")

    def wait(self, object: Object, until: Callable[[Object], bool], seconds: float = PATIENCE) -> Object:
        """Return the object, as soon as `until` accepts it. Fails with its last state."""
        collection, name = self._path(object).rsplit("/", 1)
        query = {"fieldSelector": f"metadata.name={name}", "watch": "true", "timeoutSeconds": str(int(seconds))}
        response = self._http.request(
            "GET",
            f"{self._server}{collection}?{urlencode(query)}",
            preload_content=False,
            timeout=urllib3.Timeout(connect=10, read=seconds + 10),
        )
        last: Object = {}
        try:
            for line in response:
                last = json.loads(line)["object"]
                if until(last):
                    return last
        finally:
            response.close()
        raise AssertionError(f"{object['kind']} {name} did not become what it must in {seconds} s: {json.dumps(last)}")

    def wait_ready(self, *objects: Object) -> None:
        """Wait until each is Ready, for its newest generation."""
        for one in objects:
            self.wait(one, _ready)

    def wait_gone(self, object: Object) -> None:
        """Wait until there is no such object."""
        with contextlib.suppress(NotThere):
            while self.get(object):
                time.sleep(0.05)

    @contextlib.contextmanager
    def namespace(self, prefix: str = "test") -> Iterator[str]:
        """Yield a namespace of the test's own, by name; it is deleted, with all that is in it, at the end."""
        namespace: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": f"{prefix}-"}}
        namespace = self._request("POST", "/api/v1/namespaces", namespace) | {"apiVersion": "v1", "kind": "Namespace"}
        try:
            yield namespace["metadata"]["name"]
        finally:
            self.delete(namespace)

    def service(self, namespace: str, name: str, url: str) -> Object:
        """Make a Knative Service that is Ready and reached at `url`, for a Trigger's subscriber.

        One that is there already stays as it is, but for that.
        """
        service: Object = {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"template": {"spec": {"containers": [{"image": "none"}]}}},
        }
        try:
            self.get(service)
        except NotThere:
            self.apply(service)
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        return self.patch_status(service, {"url": url, "address": {"url": url}, "conditions": [ready]})

    def broker(self, namespace: str, name: str = "default") -> str:
        """Return the address at which the broker takes events."""
        return f"{self.ingress}/{namespace}/{name}"

    def send(self, namespace: str, event: Event, broker: str = "default", seconds: float = PATIENCE) -> None:
        """Send the event, in binary mode, until the ingress accepts it.

        It answers 404 until it has learned of a new broker, a little after the broker is Ready.
        """
        deadline = time.monotonic() + seconds
        while (status := self.post(namespace, event, broker)) != 202:
            assert status == 404, f"the ingress answered {status}"
            assert time.monotonic() < deadline, f"the ingress knows no broker {namespace}/{broker} after {seconds} s"
            time.sleep(0.05)

    def post(self, namespace: str, event: Event, broker: str = "default") -> int:
        """Send the event once, in binary mode; return the status that the ingress answered."""
        headers, body = to_binary(event)
        return self._http.request("POST", self.broker(namespace, broker), headers=headers, body=body).status

    def may(self, token: str, verb: str, what: str, namespace: str) -> bool:
        """Return whether the owner of the token has the right.

        `what`: RESOURCE[/SUBRESOURCE], with .GROUP after the resource.
        """
        named, _, subresource = what.partition("/")
        resource, _, group = named.partition(".")
        asked = {"verb": verb, "resource": resource, "group": group, "subresource": subresource, "namespace": namespace}
        answer = self._http.request(
            "POST",
            f"{self._server}/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            body=json.dumps(
                {
                    "apiVersion": "authorization.k8s.io/v1",
                    "kind": "SelfSubjectAccessReview",
                    "spec": {"resourceAttributes": asked},
                }
            ),
        )
        assert answer.status == 201, answer.data
        return bool(answer.json()["status"]["allowed"])

    def settle(self, probe: Callable[[], None], arrived: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Send probes until they have arrived.

        Ready is reported a moment before all of Knative's processes have learned of it, and an event that is sent in
        between may be lost, as in a channel in memory.
        """
        deadline = time.monotonic() + seconds
        while not arrived():
            assert time.monotonic() < deadline, f"no probe arrived in {seconds} s"
            probe()
            time.sleep(0.2)

    def _path(self, object: Mapping[str, Any]) -> str:
        """Return the object's own address on the API server."""
        version, kind, metadata = object["apiVersion"], object["kind"], object["metadata"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if (version, kind) not in self._kinds:
            for resource in self._request("GET", root)["resources"]:
                if "/" not in resource["name"]:
                    self._kinds[version, resource["kind"]] = (resource["name"], resource["namespaced"])
        plural, namespaced = self._kinds[version, kind]
        within = f"/namespaces/{metadata['namespace']}" if namespaced else ""
        return f"{root}{within}/{plural}/{metadata['name']}"

    def _request(self, method: str, path: str, body: object = None, content_type: str = "application/json") -> Object:
        content = None if body is None else json.dumps(body).encode()
        headers = {**self._http.headers, "Content-Type": content_type}
        answer = self._http.request(method, f"{self._server}{path}", body=content, headers=headers)
        if answer.status == 404:
            raise NotThere(404, answer.json()["message"])
        if answer.status >= 400:
            raise Refused(answer.status, answer.json()["message"])
        document: Object = answer.json()
        return document


def kubectl(*words: str, token: str | None = None, text: str | None = None) -> str:
    """Return kubectl's output; with `token`, to its owner. Raises Refused, with its words."""
    command = ["kubectl"] if shutil.which("kubectl") else ["kube", "kubectl"]
    as_whom = ["--token", token] if token else []
    done = subprocess.run([*command, *as_whom, *words], input=text, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise Refused(done.returncode, done.stderr or done.stdout)
    return done.stdout


def kubeconfig_of(token: str) -> str:
    """Return a kubeconfig for the same cluster, for the owner of the token and no more."""
    whole = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    (context,) = [one for one in whole["contexts"] if one["name"] == whole["current-context"]]
    user = {"name": context["context"]["user"], "user": {"token": token}}
    return yaml.safe_dump({**whole, "contexts": [context], "users": [user]})


def _ready(object: Object) -> bool:
    status, generation = object.get("status", {}), object["metadata"].get("generation")
    return status.get("observedGeneration", generation) == generation and any(
        condition["type"] == "Ready" and condition["status"] == "True" for condition in status.get("conditions") or []
    )


def _connect(kubeconfig: Path) -> tuple[str, urllib3.PoolManager]:
    """Return the API server of the current context, and a client that trusts it and that it trusts."""
    config = yaml.safe_load(kubeconfig.read_text())
    (context,) = [one["context"] for one in config["contexts"] if one["name"] == config["current-context"]]
    (cluster,) = [one["cluster"] for one in config["clusters"] if one["name"] == context["cluster"]]
    (user,) = [one["user"] for one in config["users"] if one["name"] == context["user"]]
    http = urllib3.PoolManager(
        retries=False,
        timeout=30,
        maxsize=8,
        ca_certs=_file(cluster, "certificate-authority"),
        cert_file=_file(user, "client-certificate"),
        key_file=_file(user, "client-key"),
        headers={"Authorization": f"Bearer {user['token']}"} if "token" in user else None,
    )
    return cluster["server"], http


def _file(section: Mapping[str, str], key: str) -> str | None:
    """Return the file that a kubeconfig names, or that is made of its content."""
    if f"{key}-data" not in section:
        return section.get(key)
    with tempfile.NamedTemporaryFile(prefix="kubeconfig-", delete=False) as file:
        file.write(base64.b64decode(section[f"{key}-data"]))
    atexit.register(os.unlink, file.name)
    return file.name
