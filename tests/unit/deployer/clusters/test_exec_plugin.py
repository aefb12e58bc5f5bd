"""Credential plugins of kubeconfigs: run in a closed environment, kept until they end, and their failures reported."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from greenlight.deployer.clusters import exec_plugin
from greenlight.deployer.clusters.kubeconfig import Kubeconfig
from greenlight.lib.clock import SystemClock
from greenlight.lib.errors import ConfigurationError, Unavailable
from greenlight.lib.process import wait_for_exit
from support.apiserver import ApiServer, Authority

V1 = "client.authentication.k8s.io/v1"


class Clock(SystemClock):
    """Shows a time that a test moves; its seconds go on by themselves."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


class Plugin:
    """A kubeconfig's program: a shell script that a test writes. Each run of it adds a line to `runs`."""

    def __init__(self, folder: Path, server: ApiServer, authority: Authority) -> None:
        self.folder, self._server, self._authority = folder, server, authority
        (folder / "bin").mkdir()
        self.file = folder / "bin" / "login"
        self.clock = Clock()
        self.section: dict[str, Any] = {"apiVersion": V1, "command": "login", "interactiveMode": "IfAvailable"}

    @property
    def runs(self) -> int:
        file = self.folder / "runs"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def script(self, text: str) -> None:
        self.file.write_text(f"#!/bin/sh\necho run >> '{self.folder}/runs'\n{text}\n")
        self.file.chmod(0o755)

    def prints(self, **status: Any) -> None:
        """It prints that status."""
        credential = {"apiVersion": V1, "kind": "ExecCredential", "status": status}
        self.script(f"cat <<'END'\n{json.dumps(credential)}\nEND")

    def access(self, **env: str) -> Kubeconfig:
        cluster = {"server": self._server.url, "certificate-authority": str(self._authority.certificate)}
        whole = {
            "contexts": [{"name": "prod", "context": {"cluster": "prod", "user": "lena"}}],
            "clusters": [{"name": "prod", "cluster": cluster}],
            "users": [{"name": "lena", "user": {"exec": self.section}}],
        }
        (self.folder / "kubeconfig").write_text(yaml.safe_dump(whole))
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        return Kubeconfig(self.folder / "kubeconfig", "prod", {"PATH": path, "HOME": "/h", **env}, self.clock)


@pytest.fixture
def plugin(tmp_path: Path, server: ApiServer, authority: Authority) -> Plugin:
    return Plugin(tmp_path, server, authority)


def _at(**delta: float) -> str:
    return (datetime.now(UTC) + timedelta(**delta)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_its_token_is_sent_and_kept_until_it_ends(plugin: Plugin, server: ApiServer) -> None:
    """Half a minute before that, the next request has it run again."""
    plugin.prints(token="t-1", expirationTimestamp=_at(hours=1))
    access = plugin.access()
    for _ in range(3):
        access.api().get("/version")
    assert plugin.runs == 1
    assert access.helm()["HELM_KUBECONTEXT"] == "prod"
    plugin.prints(token="t-2", expirationTimestamp=_at(hours=2))
    plugin.clock.ahead = timedelta(minutes=59)
    access.api().get("/version")
    assert plugin.runs == 1
    plugin.clock.ahead = timedelta(minutes=59, seconds=31)
    access.api().get("/version")
    assert plugin.runs == 2
    assert [seen.headers["Authorization"] for seen in server.seen] == ["Bearer t-1"] * 4 + ["Bearer t-2"]


def test_a_token_that_the_server_refuses_is_replaced_once(plugin: Plugin, server: ApiServer) -> None:
    """Also one that has no end: it counts until then."""
    plugin.prints(token="t-1")
    access = plugin.access()
    plugin.clock.ahead = timedelta(days=300)
    access.api().get("/version")
    assert plugin.runs == 1
    server.tokens = {"t-2"}
    plugin.prints(token="t-2")
    assert access.api().get("/version") == {}
    assert plugin.runs == 2
    server.tokens = set()
    with pytest.raises(ConfigurationError, match="does not accept the credentials"):
        access.api().get("/version")
    assert plugin.runs == 3


def test_it_may_print_a_client_certificate(
    plugin: Plugin, server: ApiServer, authority: Authority, temporary: Path
) -> None:
    """With its key; a new one is presented on a new connection."""
    for name in ("lena", "omar"):
        pair = authority.issue(name)
        plugin.prints(
            clientCertificateData=pair.certificate.read_text(),
            clientKeyData=pair.key.read_text(),
            expirationTimestamp=_at(hours=1 if name == "lena" else 3),
        )
        access = plugin.access()
        access.api().get("/version")
        plugin.clock.ahead += timedelta(hours=1)
    assert [seen.client for seen in server.seen] == ["lena", "omar"]
    assert list(temporary.iterdir()) == []


def test_its_environment_is_closed(plugin: Plugin, server: ApiServer) -> None:
    """PATH, HOME, proxies and certificates, what the kubeconfig names, and what the protocol says; it reads no terminal."""
    plugin.section |= {
        "args": ["--for", "a b"],
        "env": [{"name": "REGION", "value": "eu"}],
        "provideClusterInfo": True,
    }
    plugin.script(
        f"""env > '{plugin.folder}/env'; pwd > '{plugin.folder}/cwd'; printf '%s|' "$@" > '{plugin.folder}/args'
cat > '{plugin.folder}/stdin'
echo '{{"apiVersion": "{V1}", "kind": "ExecCredential", "status": {{"token": "t-1"}}}}'"""
    )
    plugin.access(GREENLIGHT_TOKEN="hunter22", AWS_SECRET_ACCESS_KEY="hunter22", NO_PROXY="x").api().get("/version")
    lines = dict(line.split("=", 1) for line in (plugin.folder / "env").read_text().splitlines())
    information = json.loads(lines.pop("KUBERNETES_EXEC_INFO"))
    of_the_shell = {"PWD", "OLDPWD", "SHLVL", "_"}
    assert {name for name in lines if name not in of_the_shell} == {"PATH", "HOME", "NO_PROXY", "REGION"}
    assert (information["apiVersion"], information["kind"]) == (V1, "ExecCredential")
    assert information["spec"]["interactive"] is False
    cluster = information["spec"]["cluster"]
    assert (cluster["server"], sorted(cluster)) == (server.url, ["certificate-authority-data", "server"])
    assert (plugin.folder / "cwd").read_text() == f"{plugin.folder}\n"
    assert (plugin.folder / "args").read_text() == "--for|a b|"
    assert (plugin.folder / "stdin").read_text() == ""


def test_its_failure_is_reported_with_its_name_and_words(plugin: Plugin, server: ApiServer) -> None:
    """Without the secrets that it was given or that look like some. Another run may succeed, so it is unavailable."""
    plugin.section |= {
        "args": ["--client-secret", "hunter22"],
        "env": [{"name": "AZURE_CLIENT_SECRET", "value": "tiger-33"}],
    }
    plugin.script(
        r"""echo '{"token": "eyJhbGciOiJub25lIn0.eyJhIjoxfQ.c2ln"}'
printf "no login for $2 $AZURE_CLIENT_SECRET\n\033[2J" >&2
exit 3"""
    )
    access = plugin.access()
    for use in (access.helm, lambda: access.api().get("/version")):
        with pytest.raises(
            Unavailable, match="the credential plugin 'login' failed with exit status 3: no login for"
        ) as raised:
            use()
        assert all(secret not in str(raised.value) for secret in ("hunter22", "tiger-33", "eyJ", "\x1b"))
    assert server.seen == []
    plugin.prints(token="t-1")
    assert access.api().get("/version") == {}


def test_a_plugin_that_hangs_is_ended_with_all_that_it_started(plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it said until then is reported."""
    monkeypatch.setattr(exec_plugin, "TIMEOUT", 0.5)
    plugin.script(f"echo waiting for a browser >&2; sleep 60 & echo $! > '{plugin.folder}/child'; wait")
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"'login' did not end within .*: waiting for a browser"):
        plugin.access().api().get("/version")
    assert time.monotonic() - began < 30
    child = int((plugin.folder / "child").read_text())
    assert wait_for_exit(child, 10), "it was sent SIGKILL"


def test_whoever_waits_for_a_plugin_gets_its_failure(plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run for all who asked meanwhile, not one after the other."""
    monkeypatch.setattr(exec_plugin, "TIMEOUT", 3.0)
    plugin.script("sleep 60")
    api, failures = plugin.access().api(), []

    def use() -> None:
        try:
            api.get("/version")
        except Unavailable as problem:
            failures.append(str(problem))

    threads = [threading.Thread(target=use) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(failures), plugin.runs) == (5, 1)


def test_output_without_end_is_cut_off(plugin: Plugin) -> None:
    plugin.script("yes")
    with pytest.raises(Unavailable, match="printed too much"):
        plugin.access().api().get("/version")


@pytest.mark.parametrize(
    "output",
    [
        "",
        "hunter22",
        "[]",
        json.dumps({"apiVersion": V1, "kind": "ExecCredential"}),
        json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": {}}),
        json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": {"token": {"a": "hunter22"}}}),
        json.dumps({"apiVersion": f"{V1}beta1", "kind": "ExecCredential", "status": {"token": "hunter22"}}),
        json.dumps({"apiVersion": V1, "kind": "Status", "status": {"token": "hunter22"}}),
        json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": {"clientCertificateData": "hunter22"}}),
        json.dumps(
            {"apiVersion": V1, "kind": "ExecCredential", "status": {"token": "hunter22", "expirationTimestamp": "x"}}
        ),
        json.dumps(
            {
                "apiVersion": V1,
                "kind": "ExecCredential",
                "status": {"token": "x", "expirationTimestamp": "2030-01-01T00:00:00"},
            }
        ),
    ],
)
def test_what_is_no_credential_is_for_a_person(plugin: Plugin, output: str) -> None:
    """It is not shown: it may be a secret nevertheless."""
    plugin.script(f"cat <<'END'\n{output}\nEND")
    with pytest.raises(ConfigurationError, match=f"'login' printed no ExecCredential of {V1} with a token") as raised:
        plugin.access().api().get("/version")
    assert "hunter22" not in str(raised.value)


def test_credentials_that_had_ended_are_not_used(plugin: Plugin, server: ApiServer) -> None:
    plugin.prints(token="t-1", expirationTimestamp=_at(minutes=-1))
    with pytest.raises(Unavailable, match="had ended"):
        plugin.access().api().get("/version")
    assert server.seen == []


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"command": "nowhere", "installHint": "See https://x"},
            "'nowhere' is not on the PATH .*install it there. See https://x",
        ),
        ({"command": "./nowhere"}, "'nowhere' cannot be started: No such file"),
        ({"interactiveMode": "Always"}, "'login' needs a terminal"),
    ],
)
def test_what_cannot_be_run_is_for_a_person(plugin: Plugin, section: Mapping[str, str], message: str) -> None:
    plugin.prints(token="t-1")
    plugin.section |= section
    with pytest.raises(ConfigurationError, match=message):
        plugin.access().api().get("/version")


def test_a_path_leads_from_the_kubeconfigs_folder(plugin: Plugin, server: ApiServer) -> None:
    plugin.prints(token="t-1")
    plugin.section["command"] = "bin/login"
    plugin.access(PATH="/nowhere:/bin:/usr/bin").api().get("/version")
    assert server.seen[0].headers["Authorization"] == "Bearer t-1"
