"""An overlay of knative/ on a real API server, in a namespace of the test's own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import yaml

from greenlight.broker.manifests import default_folder
from greenlight.cli.commands.run import SERVICES
from support.cluster import Cluster, Object, kubectl

FOLDER = default_folder()
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def rendered(path: str, namespace: str) -> list[Object]:
    """Return kubectl's kustomization of a folder, moved to a namespace of the test's own."""
    text = kubectl("kustomize", str(FOLDER / path))
    moved = text.replace("namespace: greenlight\n", f"namespace: {namespace}\n")
    moved = moved.replace(".greenlight.svc.", f".{namespace}.svc.")
    return list(yaml.safe_load_all(moved))


@contextlib.contextmanager
def applied(cluster: Cluster, overlay: str) -> Iterator[tuple[str, dict[tuple[str, str], Object]]]:
    """Yield an overlay in a namespace that takes restricted pods only, as its own does; by (kind, name), as stored."""
    with cluster.namespace(overlay) as namespace:
        (own, *objects) = rendered(f"overlays/{overlay}", namespace)
        assert own["kind"] == "Namespace"
        assert own["metadata"]["labels"].items() >= RESTRICTED.items()
        cluster.apply(own | {"metadata": {"name": namespace, "labels": own["metadata"]["labels"]}})
        yield namespace, {(each["kind"], each["metadata"]["name"]): each for each in cluster.apply(*objects)}


def services_there(cluster: Cluster, namespace: str) -> None:
    """Write the status of each Service, as Serving's controller would."""
    for service in SERVICES:
        cluster.service(namespace, service, f"http://{service}.{namespace}.svc.cluster.local")
