"""The starts of all parts.

Every function starts its processes and returns what is left to wait for, so that parts come up beside each other.
"""

from __future__ import annotations

import json
import re
import secrets
import ssl
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

from kit.build import published
from kit.processes import fail, listening, start, wait
from kit.settings import BIN, HERE, HOME, PORTS, RUN

Waiting = Callable[[], None]

KUBECONFIG = RUN / "kubeconfig"
ROUTES = RUN / "routes"


def kubectl(*words: str | Path, text: str | None = None) -> str:
    """Run kubectl as the admin; return its output. Fails with its words."""
    command = [str(word) for word in (BIN / "kube", "kubectl", "--kubeconfig", KUBECONFIG, *words)]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode:
        fail(f"kubectl {' '.join(command[4:])}: {done.stderr.strip()}")
    return done.stdout


def apply(*files: Path) -> None:
    """Apply them by one kubectl: each takes as long to start as to apply ten files."""
    kubectl("apply", "--server-side", *(word for file in files for word in ("-f", file)))


def ready(path: str = "/readyz") -> bool:
    """Return whether the API server answers 200 there."""
    request = urllib.request.Request(
        f"https://127.0.0.1:{PORTS['apiserver']}{path}",
        headers={"Authorization": f"Bearer {(RUN / 'token').read_text()}"},
    )
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with direct.open(request, timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def start_kube() -> Waiting:
    pki = RUN / "pki"
    pki.mkdir(parents=True)
    token = secrets.token_hex(16)
    (RUN / "token").write_text(token)
    (pki / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n")
    client, peer = (f"http://127.0.0.1:{PORTS[name]}" for name in ("etcd", "etcd-peer"))
    etcd = start(
        *("etcd", BIN / "kube", "etcd", "--data-dir", RUN / "etcd", "--unsafe-no-fsync", "--log-level", "warn"),
        *("--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer),
        *("--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"),
    )
    # The key that the server makes for its own certificate signs the tokens of service accounts, too.
    server = start(
        *("apiserver", BIN / "kube", "apiserver", "--etcd-servers", client, "--bind-address", "127.0.0.1"),
        *("--advertise-address", "192.0.2.10", "--secure-port", PORTS["apiserver"], "--cert-dir", pki),
        *("--token-auth-file", pki / "tokens.csv", "--authorization-mode", "RBAC", "--allow-privileged"),
        *("--service-account-issuer", "https://kubernetes.default.svc", "--endpoint-reconciler-type", "none"),
        *("--service-account-signing-key-file", pki / "apiserver.key"),
        *("--service-account-key-file", pki / "apiserver.key", "--service-cluster-ip-range", "192.0.2.128/25"),
    )
    wait("etcd", lambda: listening("etcd"), etcd)
    wait("apiserver", ready, server)
    KUBECONFIG.write_text(json.dumps(_kubeconfig(token, pki / "apiserver.crt"), indent=1))
    common: list[str | Path | int] = ["--kubeconfig", KUBECONFIG, "--leader-elect=false", "--bind-address", "127.0.0.1"]
    controllers = start(
        "controller-manager",
        *(BIN / "kube", "controller-manager", *common),
        *("--secure-port", PORTS["controller-manager"], "--root-ca-file", pki / "apiserver.crt"),
        *("--service-account-private-key-file", pki / "apiserver.key"),
        *(
            "--node-monitor-grace-period",
            "10m",
        ),  # simulated nodes are late on a busy machine, and their pods stay unready
    )
    scheduler = start("scheduler", BIN / "kube", "scheduler", *common, "--secure-port", PORTS["scheduler"])

    def waiting() -> None:
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        wait("controller-manager", lambda: ready(account), controllers)
        wait("scheduler", lambda: listening("scheduler"), scheduler)

    return waiting


def _kubeconfig(token: str, authority: Path) -> dict[str, object]:
    server = {"server": f"https://127.0.0.1:{PORTS['apiserver']}", "certificate-authority": str(authority)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "cluster",
        "clusters": [{"name": "cluster", "cluster": server}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": "admin"}}],
    }


def start_nodes() -> Waiting:
    files = published("sigs.k8s.io/kwok") / "kustomize"
    apply(files / "crd/bases")
    kubectl("wait", "--for=condition=Established", "crd/stages.kwok.x-k8s.io", "--timeout=60s")
    # Not heartbeat-with-lease: nobody renews leases here, so that nodes would be NotReady, and their pods, every minute.
    folders = ("stage/node/fast", "stage/node/heartbeat", "stage/pod/fast")
    apply(
        *(
            stage
            for folder in folders
            for stage in sorted((files / folder).glob("*.yaml"))
            if stage.name != "kustomization.yaml"
        )
    )
    kubectl("apply", "--server-side", "-f", "-", text="\n---\n".join(json.dumps(_node(number)) for number in (1, 2)))
    kwok = start(
        *("kwok", BIN / "kwok", "--kubeconfig", KUBECONFIG, "--manage-all-nodes=true", "--enable-crds=Stage"),
        *("--cidr", "198.51.100.0/24", "--node-ip", "192.0.2.20"),
        *("--server-address", f"127.0.0.1:{PORTS['kwok']}"),
    )

    def waiting() -> None:
        wait("kwok", lambda: listening("kwok"), kwok)
        kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=60s")

    return waiting


def _node(number: int) -> dict[str, object]:
    name, room = f"node-{number}", {"cpu": "64", "memory": "256Gi", "pods": "500"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"kubernetes.io/os": "linux", "kubernetes.io/hostname": name},
        },
        "status": {"capacity": room, "allocatable": room},
    }


def start_knative() -> Waiting:
    published_files = published("knative.dev/eventing") / "config"
    core, channel = published_files / "core", published_files / "channels/in-memory-channel"
    serving = published("knative.dev/serving") / "config/core"
    kinds = [core / "resources", channel / "resources", serving / "300-resources/service.yaml"]
    webhooks = RUN / "webhooks.yaml"
    files = [_webhook(core / f"webhooks/{name}.yaml", "eventing-webhook", "webhook") for name in WEBHOOKS]
    files += [_webhook(serving / f"webhooks/{name}.yaml", "webhook", "serving-webhook") for name in SERVING_WEBHOOKS]
    webhooks.write_text("\n---\n".join(files))
    apply(
        *(core / "100-namespace.yaml", *kinds, core / "configmaps", channel / "configmaps"),
        *(serving / "100-namespace.yaml", serving / "configmaps", serving / "webhooks/secret.yaml"),
        *(HERE / "knative/objects.yaml", core / "webhooks/secret.yaml", webhooks),
    )
    kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")

    target = {name: f"127.0.0.1:{port}" for name, port in PORTS.items()}
    ROUTES.write_text(
        f"broker-ingress.knative-eventing.svc.cluster.local {target['ingress']}\n"
        f"broker-filter.knative-eventing.svc.cluster.local {target['filter']}\n"
        f"imc-dispatcher.knative-eventing.svc.cluster.local {target['dispatcher']}\n"
        f"*-kn-channel.*.svc.cluster.local {target['dispatcher']}\n"
    )
    common = {
        "KUBECONFIG": str(KUBECONFIG),
        "SYSTEM_NAMESPACE": "knative-eventing",
        "POD_NAME": "local",
        "CONFIG_LOGGING_NAME": "config-logging",
        "CONFIG_OBSERVABILITY_NAME": "config-observability",
        "HTTP_PROXY": f"http://{target['proxy']}",
        "NO_PROXY": "127.0.0.1,localhost",
        "MAX_IDLE_CONNS": "1000",
        "MAX_IDLE_CONNS_PER_HOST": "1000",
        "DISPATCHER_IMAGE": "none",
    }
    proxy = start("proxy", BIN / "proxy", "-listen", target["proxy"], "-routes", ROUTES)
    webhook = start(
        *("webhook", BIN / "webhook", "--disable-ha"),
        env=common
        | {"WEBHOOK_NAME": "eventing-webhook", "WEBHOOK_PORT": str(PORTS["webhook"]), "PROFILING_PORT": "18011"},
    )
    serving_webhook = start(
        *("serving-webhook", BIN / "serving-webhook", "--disable-ha"),
        env=common
        | {"SYSTEM_NAMESPACE": "knative-serving", "WEBHOOK_NAME": "webhook", "PROFILING_PORT": "18016"}
        | {"WEBHOOK_PORT": str(PORTS["serving-webhook"])},
    )
    controllers = start(
        "controllers",
        BIN / "knative",
        # Its clients hold themselves back for the sake of clusters that others use too: half a second per Trigger.
        *("--kube-api-qps=1000", "--kube-api-burst=1000"),
        env=common | {"CONTAINER_NAME": "dispatcher", "PROFILING_PORT": "18012"},
    )
    ingress = start(
        *("ingress", BIN / "ingress"),
        env=common
        | {"CONTAINER_NAME": "ingress", "INGRESS_PORT": str(PORTS["ingress"])}
        | {"INGRESS_PORT_HTTPS": str(PORTS["ingress-tls"]), "PROFILING_PORT": "18013"},
    )
    filter_ = start(
        *("filter", BIN / "filter"),
        env=common
        | {"CONTAINER_NAME": "filter", "NAMESPACE": "knative-eventing", "FILTER_PORT": str(PORTS["filter"])}
        | {"FILTER_PORT_HTTPS": str(PORTS["filter-tls"]), "PROFILING_PORT": "18014"},
    )

    def waiting() -> None:
        wait("proxy", lambda: listening("proxy"), proxy)
        wait("webhook", lambda: listening("webhook"), webhook)
        wait("serving-webhook", lambda: listening("serving-webhook"), serving_webhook)
        # Without its webhook answering, nothing of Knative's can be created; it makes its own certificate.
        for group in ("eventing", "serving"):
            for name in ("mutatingwebhookconfiguration/webhook", "validatingwebhookconfiguration/validation.webhook"):
                bundle = "--for=jsonpath={.webhooks[0].clientConfig.caBundle}"
                kubectl("wait", bundle, f"{name}.{group}.knative.dev", "--timeout=60s")
        wait("controllers", lambda: listening("dispatcher"), controllers)
        wait("ingress", lambda: listening("ingress"), ingress)
        wait("filter", lambda: listening("filter"), filter_)

    return waiting


WEBHOOKS = ("config-validation", "defaulting", "resource-validation", "sinkbindings")
SERVING_WEBHOOKS = ("configmap-validation", "defaulting", "resource-validation")


def _webhook(file: Path, name: str, port: str) -> str:
    """Return the published configuration, with the port at which the webhook listens here."""
    text = file.read_text()
    fresh = re.sub(rf"( +)name: {name}\n +namespace: knative-.*\n", rf"\g<0>\1port: {PORTS[port]}\n", text)
    assert fresh != text, f"{file} names its service otherwise by now"
    return fresh


def start_dynamodb() -> Waiting:
    jars = HOME / "dynamodb"
    dynamodb = start(
        *("dynamodb", "java", f"-Djava.library.path={jars}", "-cp", f"{jars}:{jars}/*", "Loopback"),
        *("-inMemory", "-sharedDb", "-disableTelemetry", "-port", PORTS["dynamodb"]),
    )
    return lambda: wait("dynamodb", lambda: listening("dynamodb"), dynamodb)


def subscriber(namespace: str, name: str, port: int) -> None:
    """Make a Knative Service that is Ready, and whose name leads to a port of this machine.

    An existing one stays as it is.
    """
    host = f"{name}.{namespace}.svc.cluster.local"
    others = [line for line in ROUTES.read_text().splitlines() if not line.startswith(f"{host} ")]
    fresh = ROUTES.with_suffix(".new")
    fresh.write_text("\n".join([f"{host} 127.0.0.1:{port}", *others]) + "\n")
    fresh.rename(ROUTES)
    if not kubectl("get", "ksvc", "-n", namespace, name, "--ignore-not-found", "-o", "name"):
        wanted = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
            {
                "apiVersion": "serving.knative.dev/v1",
                "kind": "Service",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"template": {"spec": {"containers": [{"image": "none"}]}}},
            },
        ]
        text = "\n---\n".join(json.dumps(object) for object in wanted)
        kubectl("apply", "--server-side", "--field-manager=cluster", "-f", "-", text=text)
    url = f"http://{host}"
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = json.dumps({"status": {"url": url, "address": {"url": url}, "conditions": [condition]}})
    kubectl("patch", "-n", namespace, "ksvc", name, "--subresource=status", "--type=merge", "-p", status)


STARTS = {"kube": start_kube, "nodes": start_nodes, "knative": start_knative, "dynamodb": start_dynamodb}
