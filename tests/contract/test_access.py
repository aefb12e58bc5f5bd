"""Access to a real API server: a pod's ServiceAccount with RBAC enforced, and EKS as far as its own server goes."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from greenlight.deployer.clusters.access import Access
from greenlight.deployer.clusters.eks import Eks
from greenlight.deployer.clusters.in_cluster import InCluster
from greenlight.deployer.clusters.named import access_of
from greenlight.deployer.clusters.refusals import Forbidden
from greenlight.lib.errors import ConfigurationError, Unavailable
from support.aws import Aws, aws
from support.cluster import PATIENCE, Cluster
from support.ledger import HandClock

pytestmark = pytest.mark.cluster


@dataclass
class Pod:
    """What the kubelet gives a pod: a folder that it writes, and variables."""

    folder: Path
    env: Mapping[str, str]
    namespace: str
    cluster: Cluster

    def runs_as(self, account: str) -> None:
        """The kubelet writes (or renews) the token of a ServiceAccount of the namespace."""
        answer = self.cluster._request(
            "POST",
            f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{account}/token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}},
        )
        (self.folder / "token").write_text(answer["status"]["token"])

    def may(self, account: str, resources: list[str]) -> None:
        """A ServiceAccount that may read and write these, in its namespace."""
        rights = {"apiGroups": [""], "resources": resources, "verbs": ["get", "list", "create", "update", "patch"]}
        group, name = "rbac.authorization.k8s.io", {"name": account, "namespace": self.namespace}
        role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": name, "rules": [rights]}
        bound = {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": name,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": account},
            "subjects": [{"kind": "ServiceAccount", **name}],
        }
        self.cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": name}, role, bound)
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": f"system:serviceaccount:{self.namespace}:{account}",
                "resourceAttributes": {"namespace": self.namespace, "verb": "list", "resource": resources[-1]},
            },
        }
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:  # until the authorizer has heard of it
            if self.cluster._request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)["status"][
                "allowed"
            ]:
                return
        raise AssertionError(f"{account} is not granted {resources}")


def _server() -> tuple[str, bytes]:
    """The API server of KUBECONFIG, and its certificate."""
    (config,) = [one["cluster"] for one in yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())["clusters"]]
    return config["server"], Path(config["certificate-authority"]).read_bytes()


@pytest.fixture
def pod(cluster: Cluster, tmp_path: Path) -> Iterator[Pod]:
    """A pod's folder and variables, as this process sees them."""
    server, authority = _server()
    (tmp_path / "ca.crt").write_bytes(authority)
    parts = urlsplit(server)
    env = {"KUBERNETES_SERVICE_HOST": str(parts.hostname), "KUBERNETES_SERVICE_PORT": str(parts.port)}
    with cluster.namespace("access") as namespace:
        yield Pod(tmp_path, env, namespace, cluster)


def test_in_a_cluster_rights_are_the_service_accounts_and_a_renewed_token_counts_at_once(pod: Pod) -> None:
    """What it may not is refused by the API server, which says what right is missing."""
    pod.may("reader", ["pods"])
    pod.may("keeper", ["secrets"])
    pods, secrets = (f"/api/v1/namespaces/{pod.namespace}/{kind}" for kind in ("pods", "secrets"))
    api = InCluster(pod.folder, pod.env).api()

    pod.runs_as("reader")
    assert api.get(pods)["items"] == []
    with pytest.raises(Forbidden, match=f':{pod.namespace}:reader" cannot list resource "secrets"'):
        api.get(secrets)

    pod.runs_as("keeper")
    assert api.get(secrets)["kind"] == "SecretList"
    with pytest.raises(Forbidden, match="keeper"):
        api.get(pods)

    (pod.folder / "token").write_text("of nobody")
    with pytest.raises(ConfigurationError, match="does not accept the credentials"):
        api.get(pods)


def _install(pod: Pod, folder: Path, access: Access) -> subprocess.CompletedProcess[str]:
    """Helm installs a ConfigMap, let in by `access` alone, though the administrator's kubeconfig lies in its home."""
    helm = shutil.which("helm")
    if helm is None:
        pytest.skip("no helm on the PATH: . $(tests/cluster/cluster up) puts it there")
    home, chart = folder / "home", folder / "chart"
    (home / ".kube").mkdir(parents=True, exist_ok=True)
    shutil.copy(os.environ["KUBECONFIG"], home / ".kube" / "config")
    (chart / "templates").mkdir(parents=True, exist_ok=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: tiny\nversion: 1.0.0\n")
    (chart / "templates" / "it.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: it}\n")
    return subprocess.run(
        [helm, "upgrade", "--install", "tiny", str(chart), "--namespace", pod.namespace],
        env={"HOME": str(home), "PATH": os.environ["PATH"], **access.helm()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_helm_is_let_in_as_the_service_account_and_as_nobody_else(pod: Pod, tmp_path: Path) -> None:
    """Whatever kubeconfig lies around: with the rights to a release's Secrets it installs, without them it is refused."""
    access = InCluster(pod.folder, pod.env)
    pod.may("reader", ["configmaps"])
    pod.runs_as("reader")
    refused = _install(pod, tmp_path, access)
    assert refused.returncode != 0
    assert f":{pod.namespace}:reader" in refused.stderr
    pod.may("deployer", ["configmaps", "secrets"])
    pod.runs_as("deployer")
    done = _install(pod, tmp_path, access)
    assert done.returncode == 0, done.stderr
    it = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "it", "namespace": pod.namespace}}
    assert pod.cluster.get(it)["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"


def _plugin(pod: Pod, folder: Path) -> Path:
    """A kubeconfig whose program prints the token that the kubelet would have written; from the second run on `next`."""
    server, _ = _server()
    (folder / "login").write_text(
        f"""#!/bin/sh
echo run >> {folder}/runs
printf '{{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {{"token": "%s"}}}}' \\
  "$(cat {pod.folder}/token)"
[ ! -e {pod.folder}/next ] || mv {pod.folder}/next {pod.folder}/token
"""
    )
    (folder / "login").chmod(0o755)
    login = {"apiVersion": "client.authentication.k8s.io/v1", "command": "./login", "interactiveMode": "Never"}
    cluster = {"server": server, "certificate-authority": str(pod.folder / "ca.crt")}
    whole = {
        "apiVersion": "v1",
        "kind": "Config",
        "contexts": [{"name": "prod", "context": {"cluster": "prod", "user": "lena"}}],
        "clusters": [{"name": "prod", "cluster": cluster}],
        "users": [{"name": "lena", "user": {"exec": login}}],
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(whole))
    return folder / "kubeconfig"


def test_a_kubeconfigs_program_lets_in_greenlight_and_helm(pod: Pod, tmp_path: Path) -> None:
    """A token that the API server refuses is replaced by another run; Helm runs the program in the same closed environment."""
    folder = tmp_path / "login"
    folder.mkdir()
    access = access_of({"kubeconfig": str(_plugin(pod, folder)), "context": "prod"}, Path())
    secrets = f"/api/v1/namespaces/{pod.namespace}/secrets"
    pod.may("deployer", ["configmaps", "secrets"])
    pod.runs_as("deployer")
    (pod.folder / "token").rename(pod.folder / "next")
    (pod.folder / "token").write_text("of nobody")
    assert access.api().get(secrets)["items"] == []
    assert (folder / "runs").read_text() == "run\n" * 2
    with pytest.raises(Forbidden, match=f':{pod.namespace}:deployer" cannot list resource "pods"'):
        access.api().get(f"/api/v1/namespaces/{pod.namespace}/pods")
    assert (folder / "runs").read_text() == "run\n" * 2
    done = _install(pod, tmp_path, access)
    assert done.returncode == 0, done.stderr
    assert access.api().get(secrets)["items"] != [], "Helm keeps its record there"


def test_outside_a_pod_or_without_a_token_it_says_what_to_do(tmp_path: Path) -> None:
    """Both are mended by a person."""
    with pytest.raises(ConfigurationError, match="runs in no pod"):
        InCluster(tmp_path, {}).api().get("/version")
    with pytest.raises(ConfigurationError, match="automountServiceAccountToken"):
        InCluster(tmp_path, {"KUBERNETES_SERVICE_HOST": "fd00::1"}).helm()


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    with aws(monkeypatch) as found:
        yield found


def test_eks_leads_to_the_server_that_it_describes_and_a_refused_token_is_replaced_once(cloud: Aws) -> None:
    """The real server is trusted by the described certificate alone. It has no authenticator of AWS's, so it refuses our
    token: then all is found out anew, once, and the refusal is told."""
    server, authority = _server()
    cloud.describes("shop-prod", server, authority)
    access = access_of({"eks": {"name": "shop-prod", "region": "eu-west-1"}}, Path())
    with pytest.raises(ConfigurationError, match="does not accept the credentials"):
        access.api().get("/version")
    assert [path for path, _ in cloud.asked] == ["/clusters/shop-prod"] * 2
    env = access.helm()
    assert (env["HELM_KUBEAPISERVER"], env["KUBECONFIG"]) == (server, os.devnull)
    assert Path(env["HELM_KUBECAFILE"]).read_bytes() == authority
    assert env["HELM_KUBETOKEN"].startswith("k8s-aws-v1.")


def test_eks_trusts_nothing_but_the_described_certificate(cloud: Aws) -> None:
    """Another one than the server's is no server of that cluster; when it was replaced, the next request has the new one."""
    server, authority = _server()
    other = Path(__file__).parents[1] / "support" / "certificate.pem"
    cloud.describes("shop-prod", server, other.read_bytes())
    access = Eks("shop-prod", "eu-west-1", None, HandClock())
    with pytest.raises(Unavailable, match="cannot be reached"):
        access.api().get("/version")
    cloud.describes("shop-prod", server, authority)
    with pytest.raises(ConfigurationError, match="does not accept the credentials"):
        access.api().get("/version")
