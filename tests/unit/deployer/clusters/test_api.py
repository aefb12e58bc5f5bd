"""A client of an API server: what it trusts, what it sends, and what each answer means."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from urllib3.exceptions import InsecureRequestWarning

from greenlight.deployer.clusters import transport
from greenlight.deployer.clusters.api import Api
from greenlight.deployer.clusters.endpoint import ApiEndpoint
from greenlight.deployer.clusters.refusals import Conflict, Forbidden, Gone, NotFound, Refused
from greenlight.deployer.clusters.transport import Request, Transport
from greenlight.lib.errors import ConfigurationError, Unavailable
from support.apiserver import ApiServer, Authority, api_server


@pytest.fixture
def endpoint(server: ApiServer, authority: Authority) -> ApiEndpoint:
    return ApiEndpoint(server.url, authority.certificate.read_bytes(), "t-1")


@pytest.fixture
def api(endpoint: ApiEndpoint) -> Api:
    return Api(lambda: endpoint)


def test_an_authority_without_key_identifiers_is_trusted(api: Api, server: ApiServer) -> None:
    """EKS has such ones. Python refuses them from 3.13 on, kubectl and Helm do not."""
    server.answer("/version", {"major": "1"})
    assert api.get("/version") == {"major": "1"}
    (seen,) = server.seen
    assert seen.headers["Authorization"] == "Bearer t-1"
    assert seen.client is None


def test_a_servers_own_certificate_may_be_the_authority(server: ApiServer) -> None:
    """Whatever is in the bundle is trusted, though another one has signed it."""
    assert Api(lambda: ApiEndpoint(server.url, server.certificate.read_bytes())).get("/version") == {}


@pytest.mark.parametrize(("name", "trusted"), [("kubernetes", True), ("other", False)])
def test_a_server_may_have_another_name_than_its_host(
    server: ApiServer, authority: Authority, name: str, trusted: bool
) -> None:
    """The name that `tls-server-name` gives has to be in its certificate."""
    found = ApiEndpoint(server.url, authority.certificate.read_bytes(), server_name=name)
    if trusted:
        assert Api(lambda: found).get("/version") == {}
    else:
        with pytest.raises(Unavailable, match="mismatch"):
            Api(lambda: found).get("/version")


def test_another_authority_is_not_trusted_and_what_was_known_is_forgotten(server: ApiServer, tmp_path: Path) -> None:
    """No request is sent; the certificates may have been renewed, so they are found out anew the next time."""
    endpoint, forgotten = ApiEndpoint(server.url, Authority(tmp_path).certificate.read_bytes(), "t-1"), []
    with pytest.raises(Unavailable, match="certificate verify failed"):
        Api(lambda: endpoint, lambda: forgotten.append(1)).get("/version")
    assert server.seen == []
    assert forgotten == [1]
    with pytest.warns(InsecureRequestWarning):
        assert Api(lambda: ApiEndpoint(server.url, insecure=True)).get("/version") == {}


def test_a_client_certificate_is_presented_and_its_key_is_not_left_on_the_disk(
    server: ApiServer, authority: Authority, temporary: Path
) -> None:
    """Another one is presented once the endpoint has it."""
    pairs = [authority.issue(name) for name in ("lena", "omar")]
    found = [
        ApiEndpoint(
            server.url,
            authority.certificate.read_bytes(),
            certificate=(pair.certificate.read_bytes(), pair.key.read_bytes()),
        )
        for pair in pairs
    ]
    given = iter([found[0], found[0], found[1]])
    api = Api(lambda: next(given))
    for _ in range(3):
        api.get("/version")
    assert [seen.client for seen in server.seen] == ["lena", "lena", "omar"]
    assert list(temporary.iterdir()) == []
    assert "PRIVATE KEY" not in repr(found)


@pytest.mark.parametrize("broken", [b"no certificate", b""])
def test_a_certificate_that_is_none_is_for_a_person(server: ApiServer, broken: bytes) -> None:
    endpoint = ApiEndpoint(server.url, certificate=(broken, broken))
    with pytest.raises(ConfigurationError, match="certificates for https://127"):
        Api(lambda: endpoint).get("/version")


@pytest.mark.parametrize("proxy", ["ftp://lena:hunter22@proxy", "http://lena:hunter22@[", "lena:hunter22@proxy:1"])
def test_a_proxy_that_is_none_is_for_a_person(server: ApiServer, proxy: str) -> None:
    endpoint = ApiEndpoint(server.url, proxy=proxy)
    with pytest.raises(ConfigurationError, match="proxy for https://127") as raised:
        Api(lambda: endpoint).get("/version")
    assert "hunter22" not in str(raised.value)


def test_connections_are_kept_while_tokens_change(server: ApiServer, authority: Authority) -> None:
    """A request carries the token that holds now."""
    tokens = iter(["t-1", "t-2", "t-3"])
    client = Transport(lambda: ApiEndpoint(server.url, authority.certificate.read_bytes(), next(tokens)), lambda: None)
    for _ in range(3):
        client.read(Request("GET", "/version"))
    assert [seen.headers["Authorization"] for seen in server.seen] == [f"Bearer t-{n}" for n in (1, 2, 3)]
    assert client._client is not None
    pools = client._client[1].rest_client.pool_manager.pools
    assert [pools[key].num_connections for key in pools.keys()] == [1]  # noqa: SIM118 - no dict


@pytest.mark.parametrize(
    ("call", "method", "content"),
    [
        (lambda api: api.create("/it", {"a": "ä"}), "POST", "application/json"),
        (lambda api: api.replace("/it", {"a": "ä"}), "PUT", "application/json"),
        (lambda api: api.patch("/it", {"a": "ä"}), "PATCH", "application/merge-patch+json"),
        (
            lambda api: api.would_apply("/it", {"a": "ä"}, "helm", force=True),
            "PATCH",
            "application/apply-patch+yaml",
        ),
    ],
)
def test_an_object_is_sent_as_json(
    api: Api, server: ApiServer, call: Callable[[Api], object], method: str, content: str
) -> None:
    """Once, and under the media type that says what is to become of it."""
    call(api)
    (seen,) = server.seen
    assert (seen.method, seen.headers["Content-Type"]) == (method, content)
    assert json.loads(seen.body) == {"a": "ä"}


def test_a_refused_token_is_forgotten_and_the_request_repeated_once(server: ApiServer, authority: Authority) -> None:
    """With the one that came then; if that is refused, too, a person has to act, and the message has no token."""
    tokens = ["t-old"]
    api = Api(
        lambda: ApiEndpoint(server.url, authority.certificate.read_bytes(), tokens[-1]), lambda: tokens.append("t-new")
    )
    server.tokens = {"t-new"}
    assert api.get("/version") == {}
    assert tokens == ["t-old", "t-new"]
    server.tokens = set()
    with pytest.raises(ConfigurationError, match="does not accept the credentials") as raised:
        api.get("/version")
    assert "t-new" not in str(raised.value)
    assert len(server.seen) == 4


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (410, Gone),
        (422, Refused),
        (429, Unavailable),
        (503, Unavailable),
    ],
)
def test_a_refusal_is_of_the_kind_that_its_status_says(
    api: Api, server: ApiServer, status: int, kind: type[Exception]
) -> None:
    """With the API server's own words, or those of a proxy in front of it."""
    server.answer("/it", {"reason": "Because", "message": "of that"}, status)
    with pytest.raises(kind, match="of that") as raised:
        api.get("/it", {"secret": "x"})
    assert type(raised.value) is kind
    assert "secret" not in str(raised.value)
    server.answer("/it", b"<html>nginx</html>", status)
    with pytest.raises(kind, match="nginx"):
        api.get("/it")


def test_a_redirect_is_not_followed(api: Api, server: ApiServer) -> None:
    """It would carry the token elsewhere."""
    server.answer("/it", b"", 302, Location="/elsewhere")
    with pytest.raises(Refused) as raised:
        api.get("/it")
    assert raised.value.status == 302
    assert [seen.path for seen in server.seen] == ["/it"]


def test_an_answer_is_bounded_and_whole(api: Api, server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is larger, breaks off, or is no JSON is no answer; the connection of none of them is used again."""
    server.answer("/large", b"[" + b"1," * 40000 + b"1]")
    assert len(api.get("/large")) == 40001
    monkeypatch.setattr(transport, "MAX_BYTES", 60000)
    with pytest.raises(Unavailable, match="more than"):
        api.get("/large")
    server.answer("/short", b"{}", **{"Content-Length": "10", "Connection": "close"})
    with pytest.raises(Unavailable, match="broke off"):
        api.get("/short")
    server.answer("/page", b"<html>please log in</html>")
    with pytest.raises(Unavailable, match="no JSON"):
        api.get("/page")
    assert api.text("/page") == "<html>please log in</html>"
    assert api.get("/version") == {}


def test_a_silent_server_is_not_waited_for(authority: Authority) -> None:
    """Nor one that is not there, nor one that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        client = Transport(lambda: ApiEndpoint(url, authority.certificate.read_bytes(), "t-1"), lambda: None)
        with pytest.raises(Unavailable, match=f"{url} cannot be reached: .*timed out"):
            client.read(Request("GET", "/version", timeout=(0.2, 0.2)))
    with pytest.raises(Unavailable, match="refused"):
        client.read(Request("GET", "/version"))


def test_a_watch_yields_what_comes_and_ends_by_close(api: Api, server: ApiServer) -> None:
    """Events that have come are yielded before the stream ends; 410 in it means to list again."""
    event = {"type": "ADDED", "object": {"kind": "Pod"}}
    gone = {"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old"}}
    server.answer("/pods", b"\n".join(json.dumps(it).encode() for it in (event, gone)) + b"\n")
    events = iter(api.watch("/pods", {"fieldSelector": "x"}, "7"))
    assert next(events) == ("ADDED", {"kind": "Pod"})
    with pytest.raises(Gone, match="too old"):
        next(events)
    assert server.seen[0].path.partition("?")[2].split("&") == [
        "fieldSelector=x",
        "watch=true",
        "resourceVersion=7",
        "allowWatchBookmarks=true",
        "timeoutSeconds=30",
    ]

    server.answer("/pods", json.dumps(event).encode() + b"\n", **{"Content-Length": "1000"})
    watch = api.watch("/pods", {}, "7")
    events = iter(watch)
    assert next(events) == ("ADDED", {"kind": "Pod"})
    threading.Timer(0.1, watch.close).start()
    with pytest.raises(Unavailable, match="broke off"):
        next(events)


def test_a_proxy_is_used_as_kubectl_does(
    server: ApiServer, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the kubeconfig always; that of HTTPS_PROXY not for the loopback. Its password is in no error."""
    trusted = authority.certificate.read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        heard: list[bytes] = []
        accounts: list[bytes] = []

        def refuse() -> None:
            while True:
                try:
                    connection, _ = proxy.accept()
                except OSError:
                    return  # it was closed
                with connection:
                    lines = connection.recv(4096).splitlines()
                    heard.append(lines[0].split()[1])
                    accounts.extend(line for line in lines if line.lower().startswith(b"proxy-authorization"))
                    connection.sendall(b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=refuse, daemon=True).start()
        url = f"http://lena:hunter%2022@127.0.0.1:{proxy.getsockname()[1]}"
        named = ApiEndpoint(server.url, trusted, proxy=url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with pytest.raises(Unavailable, match="Tunnel connection failed: 502") as raised:
            Api(lambda: named).get("/version")
        assert set(heard) == {server.url.removeprefix("https://").encode()}
        assert "hunter" not in str(raised.value) + repr(named)

        heard.clear()
        monkeypatch.setenv("HTTPS_PROXY", url)
        monkeypatch.delenv("NO_PROXY")
        assert Api(lambda: ApiEndpoint(server.url, trusted)).get("/version") == {}
        assert heard == []
        with pytest.raises(Unavailable, match="Tunnel connection failed: 502") as raised:
            Api(lambda: ApiEndpoint("https://cluster.example", trusted)).get("/version")
        assert set(heard) == {b"cluster.example:443"}
        assert {line.split()[-1] for line in accounts} == {base64.b64encode(b"lena:hunter 22")}
        assert "hunter" not in str(raised.value)
        proxy.shutdown(socket.SHUT_RDWR)


def test_a_server_that_was_restarted_with_another_certificate_is_found_again(
    authority: Authority, tmp_path: Path
) -> None:
    """What the endpoint says then counts for new connections."""
    other = Authority(tmp_path)
    with (
        api_server(authority, authority.issue("one", server=True)) as first,
        api_server(other, other.issue("two", server=True)) as second,
    ):
        found = [
            ApiEndpoint(first.url, authority.certificate.read_bytes()),
            ApiEndpoint(second.url, other.certificate.read_bytes()),
        ]
        api = Api(lambda: found[0])
        assert api.get("/version") == {}
        del found[0]
        assert api.get("/version") == {}
        assert (len(first.seen), len(second.seen)) == (1, 1)


def test_the_package_is_imported_by_the_first_client_and_its_models_never(server: ApiServer) -> None:
    """Most processes reach no cluster, and 1800 models would take a second and more."""
    code = f"""
import sys
import greenlight.deployer.app
from greenlight.deployer.clusters.api import Api
from greenlight.deployer.clusters.endpoint import ApiEndpoint
from greenlight.deployer.clusters.in_cluster import InCluster
from greenlight.deployer.clusters.kubeconfig import Kubeconfig
assert not [name for name in sys.modules if name.partition(".")[0] in ("kubernetes", "pydantic", "aiohttp")]
assert Api(lambda: ApiEndpoint({server.url!r}, insecure=True)).get("/version") == {{}}
import kubernetes.config.kube_config, kubernetes.config.incluster_config
print([name for name in sys.modules if name.startswith(("kubernetes.client.models.", "kubernetes.client.api.", "aiohttp"))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr
