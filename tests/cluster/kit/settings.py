"""Folders, ports, and the published versions that run."""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
HOME = Path(os.environ.get("CLUSTER_HOME") or CACHE / "greenlight-cluster").absolute()
RUN = Path(os.environ.get("CLUSTER_RUN") or HOME / "run").absolute()
BIN = HOME / "bin"

K8S = "1.35.4"  # keep equal to kube/go.mod

PORTS = {
    "etcd": 12379,
    "etcd-peer": 12380,
    "apiserver": 16443,
    "controller-manager": 16257,
    "scheduler": 16259,
    "kwok": 16247,
    "dynamodb": 18000,
    "proxy": 18099,
    "ingress": 18081,
    "ingress-tls": 18482,
    "filter": 18082,
    "filter-tls": 18483,
    "webhook": 18443,
    "serving-webhook": 18444,
    "dispatcher": 18080,
    "dispatcher-tls": 18484,
    "probes": 18015,
}

CONSTANTS = {
    "knative.dev/pkg/injection/health_check.go": {"HealthCheckDefaultPort = 8080": "probes"},
    "knative.dev/eventing/pkg/reconciler/inmemorychannel/dispatcher/controller.go": {
        "httpPort      = 8080": "dispatcher",
        "httpsPort     = 8443": "dispatcher-tls",
    },
}
"""Ports that the published code fixes as constants, and on which its processes collide: moved while compiling."""

MODULES = {  # keep equal to the go.mod files
    "sigs.k8s.io/kwok": "v0.8.0",
    "knative.dev/eventing": "v0.50.0",
    "knative.dev/serving": "v0.50.0",  # only the kind Service and its admission are used
}

_VERSION = "k8s.io/component-base/version"
BUILDS: dict[str, list[tuple[str, list[str], str]]] = {
    "kube": [
        (
            "kube",
            ["."],
            f"-X {_VERSION}.gitVersion=v{K8S} -X {_VERSION}.gitMajor={K8S.split('.')[0]} "
            f"-X {_VERSION}.gitMinor={K8S.split('.')[1]}",
        )
    ],
    "nodes": [("kwok", ["sigs.k8s.io/kwok/cmd/kwok"], "")],
    "knative": [
        (
            "knative",
            [
                ".",
                "./proxy",
                "knative.dev/eventing/cmd/broker/ingress",
                "knative.dev/eventing/cmd/broker/filter",
                "knative.dev/eventing/cmd/webhook",
            ],
            "",
        ),
        ("serving", ["knative.dev/serving/cmd/webhook"], ""),
    ],
    "helm": [("tools/helm", ["helm.sh/helm/v4/cmd/helm"], "-X helm.sh/helm/v4/internal/version.version=v4.3.1")],
    "kn": [("tools/kn", ["knative.dev/client/cmd/kn"], "")],
    "skaffold": [
        (
            "tools/skaffold",
            ["github.com/GoogleContainerTools/skaffold/v2/cmd/skaffold"],
            "-X github.com/GoogleContainerTools/skaffold/v2/pkg/skaffold/version.version=v2.16.1",
        )
    ],
    "s3": [("tools/s3", ["github.com/versity/versitygw/cmd/versitygw"], "")],
    "dynamodb": [],
}
"""Of each part that Go builds: module folders, with their packages and linker flags."""

RENAMED = {"serving": "serving-webhook"}
"""What a folder's one binary is called, where another one has the name of its package."""

SERVERS = {
    "kube": ("etcd", "apiserver", "controller-manager", "scheduler"),
    "nodes": ("kwok",),
    "knative": ("proxy", "webhook", "serving-webhook", "controllers", "ingress", "filter"),
    "dynamodb": ("dynamodb",),
}
"""The parts that run, in the order of their start, with their processes. The other parts are tools."""

LISTENS = {
    "kube": ("etcd", "etcd-peer", "apiserver", "controller-manager", "scheduler"),
    "nodes": ("kwok",),
    "knative": (
        *("proxy", "webhook", "serving-webhook", "dispatcher", "dispatcher-tls"),
        *("ingress", "ingress-tls", "filter", "filter-tls"),
    ),
    "dynamodb": ("dynamodb",),
}
"""The ports that a part needs to be free."""
