"""A chart whose pods behave by its values, and the driver that deploys it to the real API server.

On simulated nodes (kwok) a pod does what the `Stage` objects say that match its label `greenlight-test`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from greenlight.deployer.clusters.api import Api
from greenlight.deployer.clusters.kubeconfig import Kubeconfig
from greenlight.deployer.driver import Busy, Order, Progress
from greenlight.deployer.drivers.helm.driver import HelmDriver
from greenlight.lib.clock import Clock, SystemClock
from greenlight.lib.scrub import Scrubber
from support.cluster import Cluster, Object

CHART = {
    "Chart.yaml": "apiVersion: v2\nname: shop\nversion: 1.0.0\n",
    "values.yaml": """
sha: none
behaviour: fine
bad: []
replicas: 1
probe: true
hook: false
extra: []
image: shop
requests: {}
""",
    "templates/deployment.yaml": """
apiVersion: apps/v1
kind: Deployment
metadata: {name: "{{ .Release.Name }}"}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: "{{ .Release.Name }}"}}
  template:
    metadata:
      labels:
        app: "{{ .Release.Name }}"
        greenlight-test: "{{ has .Values.sha .Values.bad | ternary "crash-loop" .Values.behaviour }}"
      annotations: {sha: "{{ .Values.sha }}"}
    spec:
      containers:
        - name: app
          image: "{{ .Values.image }}"
          {{ if .Values.probe }}
          readinessProbe: {httpGet: {path: /healthz, port: 8080}}
          {{ end }}
          resources: {requests: {{ .Values.requests | toJson }}}
""",
    "templates/extra.yaml": "{{ range .Values.extra }}\n---\n{{ toYaml . }}\n{{ end }}\n",
    "templates/hook.yaml": """
{{ if .Values.hook }}
apiVersion: batch/v1
kind: Job
metadata:
  name: "{{ .Release.Name }}-migrate"
  annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-delete-policy: before-hook-creation}
spec:
  backoffLimit: 0
  template:
    metadata: {labels: {greenlight-test: "{{ .Values.hook }}"}}
    spec:
      restartPolicy: Never
      {{ if eq .Values.hook "stuck" }}
      nodeSelector: {none: none}
      {{ end }}
      containers: [{name: migrate, image: migrate}]
{{ end }}
""",
    "templates/test.yaml": """
apiVersion: v1
kind: Pod
metadata:
  name: "{{ .Release.Name }}-test"
  labels: {greenlight-test: "{{ .Values.test | default "completes" }}"}
  annotations: {helm.sh/hook: test, helm.sh/hook-delete-policy: before-hook-creation}
spec:
  restartPolicy: Never
  containers: [{name: test, image: test}]
""",
}

PIPELINE = """
apiVersion: greenlight/v1
kind: Pipeline
clusters:
  test: {{kubeconfig: {kubeconfig}, context: {context}}}
applications:
  - name: shop
    repo: acme/shop
    branches: [main]
    gates:
      build: {{circleci: {{workflow: build-test}}}}
    environments:
      - name: production
        require: [build]
        rollback: automatic
        deploy:
          helm:
            cluster: test
            chart: charts/shop
            release: shop
            namespace: {namespace}
            values: {{sha: "${{sha}}", bad: {bad}}}
            timeout: 60s
"""
"""Ships to the cluster of the environment; commits of `bad` crash loop."""


def pipeline(namespace: str, bad: Sequence[str] = ()) -> str:
    file = Path(os.environ["KUBECONFIG"])
    context = yaml.safe_load(file.read_text())["current-context"]
    shas = "[" + ", ".join(map(sha_of, bad)) + "]"
    return PIPELINE.format(kubeconfig=file, context=context, namespace=namespace, bad=shas)


_RUNNING = "phase: Running\nstartTime: {{ Now | Quote }}\n"
_BAD = """
conditions:
- {type: Initialized, status: "True", lastTransitionTime: {{ Now | Quote }}}
- {type: Ready, status: "False", lastTransitionTime: {{ Now | Quote }}}
- {type: ContainersReady, status: "False", lastTransitionTime: {{ Now | Quote }}}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: false
  restartCount: RESTARTS
  STATE
{{ end }}
"""


def _stage(name: str, status: str) -> Object:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": f"greenlight-test-{name}"},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
            "selector": {
                "matchExpressions": [
                    {"key": '.metadata.labels["greenlight-test"]', "operator": "In", "values": [name]},
                    {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"},
                    {"key": ".status.phase", "operator": "In", "values": ["Pending"]},
                ]
            },
            "weight": 10000,
            "next": {"statusTemplate": status},
        },
    }


def _bad(state: str, restarts: int = 0, phase: str = _RUNNING) -> str:
    return _BAD.replace("RESTARTS", str(restarts)).replace("STATE", state) + phase


def _ended(code: int) -> str:
    ended = f"state: {{terminated: {{exitCode: {code}, reason: Error, finishedAt: {{{{ Now | Quote }}}}}}}}"
    return _bad(ended, phase=f"phase: {'Failed' if code else 'Succeeded'}\n")


STAGES = [
    _stage(
        "crash-loop",
        _bad(
            "state: {waiting: {reason: CrashLoopBackOff, message: back-off 10s restarting failed container}}\n"
            "  lastState: {terminated: {exitCode: 137, reason: OOMKilled, finishedAt: {{ Now | Quote }}}}",
            restarts=1,
        ),
    ),
    _stage(
        "no-image",
        _bad(
            "state: {waiting: {reason: ImagePullBackOff, message: manifest for shop:nope not found}}",
            phase='phase: Pending\nstartTime: "2026-01-01T00:00:00Z"\n',
        ),
    ),
    _stage(
        "slow",
        _bad(
            "state: {waiting: {reason: ContainerCreating}}",
            phase='phase: Pending\nstartTime: "2026-01-01T00:00:00Z"\n',
        ),
    ),
    _stage("not-ready", _bad("started: true\n  state: {running: {startedAt: {{ Now | Quote }}}}")),
    _stage("fails", _ended(3)),
    _stage("completes", _ended(0)),
]


def sha_of(word: str) -> str:
    return hashlib.sha1(word.encode()).hexdigest()


def write_chart(folder: Path) -> Path:
    for name, text in CHART.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


class Helm:
    """One target: release `shop` in a namespace of the test's own."""

    def __init__(self, folder: Path, namespace: str, cluster: Cluster) -> None:
        self.folder, self.namespace, self.cluster = folder, namespace, cluster
        self.chart = write_chart(folder / "charts/shop")
        kubeconfig = Path(os.environ["KUBECONFIG"])
        self.context: str = yaml.safe_load(kubeconfig.read_text())["current-context"]
        self.api: Api = Kubeconfig(kubeconfig, self.context).api()
        self.driver = self.another()

    def another(self, state: str = "state", *, clock: Clock | None = None, **how: Any) -> HelmDriver:
        """Return the driver of another process."""
        scrub, clock = Scrubber(["hunter22"]), clock or SystemClock()
        return HelmDriver(self.folder / state, scrub=scrub, clock=clock, grace=2.0, **how)

    def port(self) -> str:
        """Return HOST:PORT of the API server."""
        whole = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
        return str(whole["clusters"][0]["cluster"]["server"]).partition("://")[2]

    def order(
        self,
        word: str,
        *,
        fence: int = 1,
        id: str = "",
        values: Mapping[str, Any] = {},
        cluster_file: str = "",
        cause: str = "automatic",
        **config: Any,
    ) -> Order:
        return Order(
            deployment=id or hashlib.sha256(f"{word}".encode()).hexdigest()[:32],
            application="shop",
            environment="staging",
            repo="acme/shop",
            sha=sha_of(word),
            fence=fence,
            n=0,
            traceparent="00-11111111111111111111111111111111-1111111111111111-01",
            config={
                "cluster": "test",
                "chart": "charts/shop",
                "release": "shop",
                "namespace": self.namespace,
                "values": {"sha": "${sha}", **values},
                "timeout": "60s",
                **config,
            },
            directory=self.folder,
            cause=cause,
            cluster={"kubeconfig": cluster_file or os.environ["KUBECONFIG"], "context": self.context},
        )

    def end(self, order: Order, driver: HelmDriver | None = None, seconds: float = 60.0) -> Progress:
        """Return the end of the deployment, asked as the deployer asks."""
        driver, until = driver or self.driver, time.monotonic() + seconds
        while True:
            with contextlib.suppress(Busy):
                progress = driver.apply(order)
                if progress.outcome != "running":
                    return progress
            progress = driver.watch(order, 2.0)
            if progress.outcome != "running":
                return progress
            assert time.monotonic() < until, "it came to no end"

    def revisions(self) -> list[tuple[int, str]]:
        """Return (number, status) of every revision that Helm keeps."""
        query = {"labelSelector": "owner=helm,name=shop"}
        found = self.api.labels(f"/api/v1/namespaces/{self.namespace}/secrets", query)
        labels = [item["metadata"]["labels"] for item in found]
        return sorted((int(one["version"]), one["status"]) for one in labels)

    def labels(self, revision: int) -> Mapping[str, str]:
        path = f"/api/v1/namespaces/{self.namespace}/secrets/sh.helm.release.v1.shop.v{revision}"
        found: Mapping[str, str] = self.api.get(path)["metadata"]["labels"]
        return found

    def pods(self, behaviour: str) -> list[Object]:
        """Return the running pods that behave so."""
        query = {"labelSelector": f"greenlight-test={behaviour}"}
        found: list[Object] = self.api.list(f"/api/v1/namespaces/{self.namespace}/pods", query)["items"]
        return [{**pod, "apiVersion": "v1", "kind": "Pod"} for pod in found if pod["status"].get("phase") == "Running"]

    def runs(self) -> str:
        """Return the sha that the Deployment's pods are made for."""
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/shop"
        sha: str = self.api.get(path)["spec"]["template"]["metadata"]["annotations"]["sha"]
        return sha


class Line:
    """The connection to the API server, which a test may cut and restore; clients come to `port` of this machine."""

    def __init__(self, to: str) -> None:
        host, _, port = to.rpartition(":")
        self._to = (host, int(port))
        self._cut = False
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        """Close every connection, and accept none."""
        self._cut = True
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._cut = False

    def close(self) -> None:
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        for end in [self._listener, *self._open]:
            end.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self._cut:
                    near.close()
                    continue
                far = socket.create_connection(self._to)
                self._open += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pipe, args=(one, other), daemon=True).start()

    def _pipe(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)


def eventually(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.02)
