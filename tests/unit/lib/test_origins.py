"""Which requests may be a web page's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from werkzeug.test import Client

from greenlight.lib.origins import OnlyPrograms, foreign


def environ(host: str | None, origin: str | None = None) -> dict[str, Any]:
    return {name: value for name, value in (("HTTP_HOST", host), ("HTTP_ORIGIN", origin)) if value is not None}


OURS = (
    "127.0.0.1",
    "127.0.0.1:8082",
    "127.3.2.1:8082",
    "localhost",
    "LOCALHOST:8082",
    "[::1]:8082",
    "broker-ingress.knative-eventing.svc.cluster.local",
    "broker-ingress.knative-eventing.svc:80",
    "host.docker.internal:8082",
    "greenlight.localhost:8082",
)

FOREIGN = (
    None,
    "",
    "evil.example",
    "evil.example:8082",
    "localhost.evil.example",
    "127.0.0.1.evil.example:8082",
    "127.0.0.1@evil.example",
    "svc.cluster.local.evil.example",
    "evilsvc.cluster.local",
    "svc",
    "internal",
    "evilinternal",
    "internal.evil.example",
    "10.0.0.7:8082",
    "169.254.169.254",
    "0.0.0.0:8082",
    "[::]:8082",
    "[::1",
    "[evil]:8082",
)


@pytest.mark.parametrize("host", OURS)
def test_a_program_asks_by_a_name_that_no_page_can_have(host: str) -> None:
    """Loopback, Services of a cluster, which a hosts file may lead here, and the host as its containers call it."""
    assert foreign(environ(host), named=True) is None
    assert foreign(environ(host, f"http://{host}"), named=True) is None


@pytest.mark.parametrize("host", FOREIGN)
def test_any_other_name_may_have_been_bound_to_this_machine(host: str | None) -> None:
    """Whether the browser says so or not; elsewhere than on loopback a program may use any."""
    assert foreign(environ(host), named=True)
    assert foreign(environ(host, f"http://{host}"), named=True)
    assert foreign(environ(host), named=False) is None


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://evil.example",
        "http://127.0.0.1",
        "http://127.0.0.1:8081",
        "127.0.0.1:8082",
        "http://[",
        "http://127.0.0.1:8082, http://evil.example",
        "file://",
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_an_origin_must_be_the_address_that_is_asked(origin: str, named: bool) -> None:
    """`null` is what a sandboxed frame or a local file says."""
    assert foreign(environ("127.0.0.1:8082", origin), named=named)


@pytest.mark.parametrize(
    ("loopback", "path", "headers", "status"),
    [
        (True, "/greenlight/default", {}, 202),
        (True, "/greenlight/default", {"Host": "evil.example"}, 403),
        (True, "/healthz", {"Host": "10.0.0.7"}, 202),
        (False, "/greenlight/default", {"Host": "broker.shop.example"}, 202),
        (False, "/greenlight/default", {"Host": "10.0.0.7:8080"}, 202),
        (False, "/greenlight/default", {"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        (False, "/greenlight/default", {"Host": "10.0.0.7", "Origin": "null"}, 403),
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET", "OPTIONS"])
def test_a_port_for_programs_refuses_pages(
    loopback: bool, path: str, headers: dict[str, str], status: int, method: str
) -> None:
    """Nothing of the app is called. On an address of the network a browser is known by its Origin."""
    called: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        called.append(environ["PATH_INFO"])
        start_response("202 Accepted", [])
        return []

    guarded = OnlyPrograms(app, loopback=loopback, anybody=("/healthz",))
    answer = Client(guarded).open(path, method=method, headers=headers, base_url="http://127.0.0.1:8082")
    assert answer.status_code == status
    assert called == ([path] if status == 202 else [])
    if status == 403:
        assert answer.mimetype == "application/problem+json"
        assert method == "HEAD" or answer.get_json()["detail"]
