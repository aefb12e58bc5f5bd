"""The cluster that this process runs in."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from greenlight.deployer.clusters.api import Api
from greenlight.deployer.clusters.endpoint import ApiEndpoint, endpoint_of
from greenlight.deployer.clusters.helm_environment import helm_environment
from greenlight.deployer.clusters.reloaded import ReloadedValue
from greenlight.lib.errors import ConfigurationError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts a pod's token, and the certificates to trust."""


class InCluster:
    """Reach `{in-cluster: true}`: the cluster that this process runs in, as its pod's ServiceAccount.

    The kubelet renews the token when four fifths of its lifetime are over; the new one is used from the next request on.
    (https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/)
    """

    def __init__(self, folder: Path = SERVICE_ACCOUNT, env: Mapping[str, str] = os.environ) -> None:
        """Name the files; read nothing yet."""
        self._token, self._authority, self._env = folder / "token", folder / "ca.crt", env
        self._endpoint = ReloadedValue(self._read, self._files())
        self._api = Api(self._endpoint.value, self._endpoint.forget)

    def helm(self) -> Mapping[str, str]:
        """Return variables for one run of Helm that begins now: its token is not renewed while it runs."""
        endpoint = self._endpoint.value()
        assert endpoint.token is not None, "a ServiceAccount without one is refused"
        return helm_environment(endpoint.server, str(self._authority), endpoint.token)

    def api(self) -> Api:
        """Return the client."""
        return self._api

    def _files(self) -> Sequence[Path]:
        return [self._token, self._authority]

    def _read(self) -> tuple[ApiEndpoint, Sequence[Path]]:
        from kubernetes.client.configuration import Configuration
        from kubernetes.config.config_exception import ConfigException
        from kubernetes.config.incluster_config import InClusterConfigLoader

        if not self._env.get("KUBERNETES_SERVICE_HOST"):
            raise ConfigurationError(
                "in-cluster: this process runs in no pod (KUBERNETES_SERVICE_HOST is not set); name the cluster by "
                "{kubeconfig, context} or {eks: {name, region}}"
            )
        configuration = Configuration()
        loader = InClusterConfigLoader(
            token_filename=str(self._token),
            cert_filename=str(self._authority),
            try_refresh_token=False,  # after up to a minute; here the files' times are compared before every request
            environ=self._env,
        )
        try:
            loader.load_and_set(configuration)
            endpoint = endpoint_of(configuration)
            if endpoint.token is None:
                raise ConfigException("Token file exists but blank.")
        except (ConfigException, OSError, ValueError) as problem:
            raise ConfigurationError(
                f"in-cluster: {self._token.parent} holds no ServiceAccount token: {problem} The pod needs a "
                "serviceAccountName, and automountServiceAccountToken that is not false"
            ) from problem
        return endpoint, self._files()
