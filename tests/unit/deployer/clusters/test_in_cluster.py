"""The cluster that a process runs in: its ServiceAccount's folder as the kubelet writes and rotates it."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from greenlight.deployer.clusters.in_cluster import InCluster
from greenlight.lib.errors import ConfigurationError
from support.apiserver import ApiServer, Authority


class Volume:
    """A projected volume: `..data` is a link to a folder of its own for each state, and is replaced at once."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder, self._authority, self._states = folder, authority.certificate.read_bytes(), 0
        for name in ("token", "ca.crt"):
            (folder / name).symlink_to(f"..data/{name}")

    def has(self, token: str) -> None:
        self._states += 1
        state = self.folder / f"..state{self._states}"
        state.mkdir()
        (state / "token").write_text(token)
        (state / "ca.crt").write_bytes(self._authority)
        link = self.folder / "..new"
        link.symlink_to(state.name)
        os.replace(link, self.folder / "..data")


@pytest.fixture
def volume(tmp_path: Path, authority: Authority) -> Volume:
    return Volume(tmp_path, authority)


def _access(volume: Volume, server: ApiServer) -> InCluster:
    parts = urlsplit(server.url)
    env = {"KUBERNETES_SERVICE_HOST": str(parts.hostname), "KUBERNETES_SERVICE_PORT": str(parts.port)}
    return InCluster(volume.folder, env)


def test_a_rotated_token_counts_for_the_next_request(volume: Volume, server: ApiServer) -> None:
    """Though it is as long as the one before; Helm gets it in its environment, and no kubeconfig."""
    access = _access(volume, server)
    for token in ("t-1", "t-2", "t-2", "t-3"):
        volume.has(token)
        access.api().get("/version")
    sent = [seen.headers["Authorization"] for seen in server.seen]
    assert sent == ["Bearer t-1", "Bearer t-2", "Bearer t-2", "Bearer t-3"]
    assert access.helm() == {
        "KUBECONFIG": os.devnull,
        "HELM_KUBEAPISERVER": server.url,
        "HELM_KUBECAFILE": str(volume.folder / "ca.crt"),
        "HELM_KUBETOKEN": "t-3",
    }


def test_no_file_is_read_while_none_has_changed(
    volume: Volume, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume.has("t-1")
    access, read = _access(volume, server), Path.read_bytes
    opened: list[Path] = []
    monkeypatch.setattr(Path, "read_bytes", lambda self: opened.append(self) or read(self))
    for _ in range(3):
        access.api().get("/version")
    assert opened == [volume.folder / "ca.crt"]


def test_an_address_of_version_6_is_bracketed(volume: Volume) -> None:
    volume.has("t-1")
    access = InCluster(volume.folder, {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"})
    assert access.helm()["HELM_KUBEAPISERVER"] == "https://[fd00::1]:443"


@pytest.mark.parametrize("token", [None, "", "\n"])
def test_without_a_token_a_person_has_to_act(volume: Volume, server: ApiServer, token: str | None) -> None:
    """Until there is one; then the next request has it."""
    if token is not None:
        volume.has(token)
    access = _access(volume, server)
    for use in (access.helm, lambda: access.api().get("/version")):
        with pytest.raises(ConfigurationError, match="automountServiceAccountToken"):
            use()
    volume.has("t-1")
    assert access.api().get("/version") == {}


def test_outside_a_pod_the_other_ways_are_named(volume: Volume) -> None:
    with pytest.raises(ConfigurationError, match=r"runs in no pod .* name the cluster by"):
        InCluster(volume.folder, {}).helm()
