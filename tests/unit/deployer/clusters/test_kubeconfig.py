"""One context of a kubeconfig: its server, its certificates, its credentials; and what is wrong with it, without a secret."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml
from urllib3.exceptions import InsecureRequestWarning

from greenlight.deployer.clusters.kubeconfig import Kubeconfig
from greenlight.deployer.clusters.named import access_of
from greenlight.lib.errors import ConfigurationError
from support.apiserver import ApiServer, Authority


class File:
    """A kubeconfig whose context `prod` is the server, and whose current context is another one."""

    def __init__(self, folder: Path, server: ApiServer, authority: Authority) -> None:
        self.path = folder / "kubeconfig"
        self.cluster: dict[str, Any] = {
            "server": server.url,
            "certificate-authority-data": base64.b64encode(authority.certificate.read_bytes()).decode(),
        }
        self.user: dict[str, Any] = {}

    def write(self) -> Kubeconfig:
        elsewhere = {"server": "https://127.0.0.1:9"}
        whole = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "other",
            "clusters": [{"name": "other", "cluster": elsewhere}, {"name": "prod", "cluster": self.cluster}],
            "users": [{"name": "other", "user": {"token": "other"}}, {"name": "lena", "user": self.user}],
            "contexts": [
                {"name": "other", "context": {"cluster": "other", "user": "other"}},
                {"name": "prod", "context": {"cluster": "prod", "user": "lena"}},
            ],
        }
        self.path.write_text(yaml.safe_dump(whole))
        return Kubeconfig(self.path, "prod")


@pytest.fixture
def file(tmp_path: Path, server: ApiServer, authority: Authority) -> File:
    return File(tmp_path, server, authority)


def test_the_named_context_counts_and_never_the_current_one(
    file: File, server: ApiServer, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For Helm, too; whatever KUBECONFIG says; and nothing of it is left in temporary files."""
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    file.user["token"] = "t-1"
    access = file.write()
    assert access.api().get("/version") == {}
    assert server.seen[0].headers["Authorization"] == "Bearer t-1"
    assert access.helm() == {"KUBECONFIG": str(file.path), "HELM_KUBECONTEXT": "prod"}
    assert list(temporary.iterdir()) == []


def test_files_are_named_from_its_folder_and_read_again_when_they_change(
    file: File, server: ApiServer, authority: Authority
) -> None:
    """A token that is written anew counts for the next request, and so does an edited kubeconfig."""
    folder = file.path.parent
    pair = authority.issue("lena")
    (folder / "ca.pem").write_bytes(authority.certificate.read_bytes())
    (folder / "lena.pem").write_bytes(pair.certificate.read_bytes())
    (folder / "lena.key").write_bytes(pair.key.read_bytes())
    (folder / "token").write_text("t-1\n")
    file.cluster = {"server": server.url, "certificate-authority": "ca.pem"}
    file.user = {"token": "old", "tokenFile": "token", "client-certificate": "lena.pem", "client-key": "lena.key"}
    api = file.write().api()
    api.get("/version")
    (folder / "token").write_text("t-22\n")
    api.get("/version")
    other = authority.issue("omar")
    (folder / "lena.pem").write_bytes(other.certificate.read_bytes())
    (folder / "lena.key").write_bytes(other.key.read_bytes())
    api.get("/version")
    file.user = {"token": "t-3"}
    file.write()
    api.get("/version")
    assert [(seen.client, seen.headers["Authorization"]) for seen in server.seen] == [
        ("lena", "Bearer t-1"),
        ("lena", "Bearer t-22"),
        ("omar", "Bearer t-22"),
        (None, "Bearer t-3"),
    ]


def test_certificates_may_stand_in_it(file: File, server: ApiServer, authority: Authority, temporary: Path) -> None:
    """As tools write them, in base64; the key is in no file afterwards."""
    pair = authority.issue("lena")
    file.user = {
        "client-certificate-data": base64.b64encode(pair.certificate.read_bytes()).decode(),
        "client-key-data": base64.b64encode(pair.key.read_bytes()).decode(),
    }
    file.write().api().get("/version")
    assert (server.seen[0].client, "Authorization" in server.seen[0].headers) == ("lena", False)
    assert list(temporary.iterdir()) == []


def test_a_certificate_may_be_for_another_name_or_not_be_looked_at(file: File, server: ApiServer) -> None:
    file.cluster["tls-server-name"] = "kubernetes"
    assert file.write().api().get("/version") == {}
    file.cluster = {"server": server.url, "insecure-skip-tls-verify": True}
    with pytest.warns(InsecureRequestWarning):
        assert file.write().api().get("/version") == {}


def test_who_is_acted_for_is_named_in_every_request(file: File, server: ApiServer) -> None:
    """Otherwise Greenlight had more permissions than Helm has by the same file."""
    extra = {"Example.com/scopes": ["a", "b"]}
    file.user = {"token": "t-1", "as": "omar", "as-uid": "5", "as-groups": ["dev", "ops"], "as-user-extra": extra}
    file.write().api().get("/version")
    assert [it for it in server.seen[0].fields if it[0].startswith("Impersonate")] == [
        ("Impersonate-User", "omar"),
        ("Impersonate-Uid", "5"),
        ("Impersonate-Group", "dev"),
        ("Impersonate-Group", "ops"),
        ("Impersonate-Extra-example.com%2Fscopes", "a"),
        ("Impersonate-Extra-example.com%2Fscopes", "b"),
    ]


def test_it_lies_beside_the_pipeline_file(file: File, server: ApiServer) -> None:
    file.user["token"] = "t-1"
    file.write()
    access = access_of({"kubeconfig": "kubeconfig", "context": "prod"}, file.path.parent)
    assert access.api().get("/version") == {}


@pytest.mark.parametrize(
    ("user", "advice"),
    [
        ({"auth-provider": {"name": "gcp", "config": {"access-token": "hunter22"}}}, "gke-gcloud-auth-plugin"),
        ({"auth-provider": {"name": "oidc", "config": {"refresh-token": "hunter22"}}}, "kubelogin"),
        ({"username": "lena", "password": "hunter22"}, "no longer accept passwords"),
        ({"tokenFile": "gone"}, "gone: No such file"),
        ({"client-certificate": "gone", "client-key": "gone"}, "gone"),
        ({"client-key-data": "hunter22", "client-certificate-data": "5"}, "cannot be used"),
        ({"exec": {"command": "x"}}, "'apiVersion' is missing"),
        ({"exec": {"command": "x", "apiVersion": "v5"}}, "apiVersion 'v5'"),
        ({"exec": ["hunter22"]}, "cannot be used"),
    ],
)
def test_what_is_wrong_with_a_user_is_for_a_person(file: File, user: dict[str, Any], advice: str) -> None:
    """It names file and context, says what to do, and shows no secret; before Helm runs, too."""
    file.user = user
    access = file.write()
    for use in (access.helm, lambda: access.api().get("/version")):
        with pytest.raises(ConfigurationError, match="kubeconfig, context 'prod': ") as raised:
            use()
        assert advice in str(raised.value)
        assert "hunter22" not in str(raised.value)
    file.user = {"token": "t-1"}
    file.write()
    assert access.api().get("/version") == {}, "once it is mended, the next request finds that out"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "kubeconfig: No such file"),
        ("", "cannot be used"),
        ("5", "cannot be used"),
        ("contexts: [{name: prod}]", "context"),
        ("contexts: [{name: prod, context: {cluster: c}}]", "clusters"),
        ("contexts: []", "prod"),
        ("{contexts: [{name: prod, context: {cluster: c}}], clusters: [{name: c, cluster: {a: b}}]}", "`server`"),
        ("{contexts: [{name: prod, context: {cluster: c}}], clusters: [{name: c, cluster: {server: x}}]}", "`server`"),
        ("users: [{name: lena, user: {token: hunter22]}", "is no YAML: line 1"),
        ("users: \xff hunter22", "cannot be used"),
    ],
)
def test_what_is_no_kubeconfig_is_for_a_person(tmp_path: Path, text: str | None, message: str) -> None:
    """The line that is no YAML may hold a token: it is numbered, not shown."""
    if text is not None:
        (tmp_path / "kubeconfig").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError, match="context 'prod'") as raised:
        Kubeconfig(tmp_path / "kubeconfig", "prod").api().get("/version")
    assert message in str(raised.value)
    assert "hunter22" not in str(raised.value)
