"""An API server, the credentials for it, and the connections to it, which are those of the package `kubernetes`.

That package is imported by the first client, not with this module: it takes 0.2 s, and most processes reach no cluster.
"""

from __future__ import annotations

import ssl
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import urllib3

from greenlight.lib.errors import ConfigurationError

if TYPE_CHECKING:
    from kubernetes.client.api_client import ApiClient
    from kubernetes.client.configuration import Configuration

CONNECTIONS = 16
"""How many connections to one API server are kept for reuse."""

LOOPBACK = "localhost,127.0.0.0/8,::1"
"""What is reached without a proxy whatever NO_PROXY contains, as by kubectl and Helm."""


@dataclass(frozen=True, slots=True)
class ApiEndpoint:
    """Hold the address of an API server, the certificates to trust there, and the credentials to present."""

    server: str  # https://HOST[:PORT][/PREFIX]
    authority: bytes | None = None  # certificates to trust, PEM; None: this machine's
    token: str | None = field(default=None, repr=False)
    certificate: tuple[bytes, bytes] | None = field(default=None, repr=False)  # the client's and its key, PEM
    server_name: str | None = None  # the name in the server's certificate, where it is not the host
    insecure: bool = False  # the server's certificate is not verified
    proxy: str | None = field(default=None, repr=False)  # URL; None: as HTTPS_PROXY and NO_PROXY say
    impersonation: tuple[tuple[str, str], ...] = ()  # headers that name who is acted for

    def connection(self) -> ApiEndpoint:
        """Return the part that a connection depends on: everything but what each request carries."""
        return replace(self, token=None, impersonation=())


def endpoint_of(configuration: Configuration) -> ApiEndpoint:
    """Return the endpoint that a loader of `kubernetes.config` has filled in. Raises OSError for a file that cannot be read."""
    header: str = configuration.api_key.get("BearerToken", "")
    key, certificate = configuration.key_file, configuration.cert_file
    return ApiEndpoint(
        server=configuration.host,
        authority=Path(configuration.ssl_ca_cert).read_bytes() if configuration.ssl_ca_cert else None,
        token=header.partition(" ")[2].strip() or None,
        certificate=(Path(certificate).read_bytes(), Path(key).read_bytes()) if certificate and key else None,
        server_name=configuration.tls_server_name,
        insecure=not configuration.verify_ssl,
    )


def client_of(endpoint: ApiEndpoint) -> ApiClient:
    """Return a client with connections of its own. Raises ConfigurationError where certificates or proxy cannot be used."""
    from kubernetes.client.api_client import ApiClient
    from kubernetes.client.configuration import Configuration

    try:
        context = _tls(endpoint)
    except (ssl.SSLError, ValueError) as problem:
        raise ConfigurationError(f"the certificates for {endpoint.server} cannot be used: {problem}") from problem
    configuration = Configuration(
        host=endpoint.server.rstrip("/"),
        verify_ssl=not endpoint.insecure,
        tls_server_name=endpoint.server_name,
        connection_pool_maxsize=CONNECTIONS,
        # A connection that the server has closed meanwhile is replaced once; nothing was sent on it.
        retries=urllib3.Retry(total=1, connect=1, read=0, redirect=False, status=False),
        proxy=endpoint.proxy,
        no_proxy="" if endpoint.proxy else None,
    )
    if endpoint.proxy is None:
        configuration.no_proxy = f"{configuration.no_proxy},{LOOPBACK}" if configuration.no_proxy else LOOPBACK
    try:
        account = urlsplit(configuration.proxy or "").netloc.rpartition("@")[0]
        if account:
            configuration.proxy_headers = urllib3.make_headers(proxy_basic_auth=unquote(account))
        client = ApiClient(configuration)
    except ImportError as problem:
        raise ConfigurationError(f"the proxy for {endpoint.server} cannot be used: {problem}") from problem
    except ValueError:  # whose text may quote the URL, with its password
        raise ConfigurationError(f"the proxy for {endpoint.server} is no URL of http, https or socks5") from None
    client.rest_client.pool_manager.connection_pool_kw["ssl_context"] = context
    return client


def _tls(endpoint: ApiEndpoint) -> ssl.SSLContext:
    """Return a context that trusts as kubectl and Helm do.

    Any certificate of the bundle is trusted, a root or not, and an authority without key identifiers, as EKS and older
    clusters have, is accepted: from Python 3.13 on, the `kubernetes` package would refuse it. The client's key is on the
    disk only while it is loaded.
    """
    context = ssl.create_default_context(cadata=endpoint.authority.decode() if endpoint.authority else None)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if endpoint.insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if endpoint.certificate:
        with tempfile.NamedTemporaryFile(prefix="greenlight-", suffix=".pem") as file:  # mode 0600
            file.write(endpoint.certificate[0] + b"\n" + endpoint.certificate[1])
            file.flush()
            context.load_cert_chain(file.name)
    return context
