"""One context of a kubeconfig file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from greenlight.deployer.clusters.api import Api
from greenlight.deployer.clusters.endpoint import ApiEndpoint, endpoint_of
from greenlight.deployer.clusters.exec_plugin import ExecPlugin
from greenlight.deployer.clusters.reloaded import ReloadedValue
from greenlight.lib.clock import Clock, SystemClock
from greenlight.lib.errors import ConfigurationError

_FILES = ("tokenFile", "client-certificate", "client-key", "certificate-authority")
"""Fields that name a file. A certificate or key may stand in the kubeconfig itself instead, in a field NAME-data."""


@dataclass(frozen=True, slots=True)
class _Context:
    """Hold what the file contains about the context: its endpoint, and the program that provides credentials, if one does."""

    endpoint: ApiEndpoint
    plugin: ExecPlugin | None


class Kubeconfig:
    """Reach `{kubeconfig: FILE, context: NAME}`: one context of a kubeconfig file, never its current one.

    Helm reads the file itself. Here the package `kubernetes` reads it, but for `exec`, which exec_plugin.py runs.
    """

    def __init__(
        self, file: Path, context: str, env: Mapping[str, str] = os.environ, clock: Clock | None = None
    ) -> None:
        """Name the file and its context; read nothing yet."""
        self._file, self._name = file, context
        self._env, self._clock = env, clock or SystemClock()
        self._context = ReloadedValue(self._read, [file])
        self._api = Api(self._endpoint, self._forget)

    def helm(self) -> Mapping[str, str]:
        """Return KUBECONFIG and HELM_KUBECONTEXT. Raises what is wrong with the file, or with its program, before Helm runs."""
        self._endpoint()
        return {"KUBECONFIG": str(self._file), "HELM_KUBECONTEXT": self._name}

    def api(self) -> Api:
        """Return the client."""
        return self._api

    def _endpoint(self) -> ApiEndpoint:
        context = self._context.value()
        if context.plugin is None:
            return context.endpoint
        found = context.plugin.credentials()
        own = context.endpoint
        return replace(own, token=found.token or own.token, certificate=found.certificate or own.certificate)

    def _forget(self) -> None:
        """Use no credentials any more that the API server has refused."""
        plugin = self._context.value().plugin
        if plugin is not None:
            plugin.forget()
        else:
            self._context.forget()

    def _read(self) -> tuple[_Context, Sequence[Path]]:
        from kubernetes.client.configuration import Configuration
        from kubernetes.config.config_exception import ConfigException
        from kubernetes.config.kube_config import KubeConfigLoader

        folder, configuration = self._file.absolute().parent, Configuration()
        try:
            whole, cluster, user = self._parsed()
            plugin = ExecPlugin(user["exec"], cluster, folder, self._env, self._clock) if "exec" in user else None
            with tempfile.TemporaryDirectory(prefix="greenlight-") as temporary:  # mode 0700
                KubeConfigLoader(
                    whole, active_context=self._name, config_base_path=str(folder), temp_file_path=temporary
                ).load_and_set(configuration)
                endpoint = replace(
                    endpoint_of(configuration), proxy=cluster.get("proxy-url"), impersonation=_impersonation(user)
                )
        except yaml.MarkedYAMLError as problem:  # whose text would quote the line, and the line may be a token
            line = f"line {problem.problem_mark.line + 1}: " if problem.problem_mark else ""
            raise ConfigurationError(f"{self}: is no YAML: {line}{problem.problem}") from None
        except OSError as problem:
            raise ConfigurationError(f"{self}: {problem.filename}: {problem.strerror}") from problem
        except KeyError as problem:
            raise ConfigurationError(f"{self}: cannot be used: {problem} is missing") from problem
        except (ConfigException, yaml.YAMLError, ValueError, TypeError, AttributeError) as problem:
            raise ConfigurationError(f"{self}: cannot be used: {problem}") from problem
        except ConfigurationError as problem:
            raise ConfigurationError(f"{self}: {problem}") from problem
        sections = {**cluster, **user}
        named = [name for name in _FILES if name in sections and f"{name}-data" not in sections]
        return _Context(endpoint, plugin), [self._file, *(folder / sections[name] for name in named)]

    def _parsed(self) -> tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]:
        """Return the file's content for the loader, with the context's user as the loader can use it; its cluster; its user."""
        from kubernetes.config.kube_config import ConfigNode

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        whole = yaml.load(self._file.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 - both are safe
        sections = ConfigNode("kubeconfig", whole)
        context = sections["contexts"].get_with_name(self._name)["context"]
        cluster = sections["clusters"].get_with_name(context["cluster"])["cluster"].value
        if not str(cluster.get("server")).startswith(("https://", "http://")):
            raise ConfigurationError("the `server` of its cluster is no URL of https or http")
        name = context.safe_get("user")
        user = dict(sections["users"].get_with_name(name).value.get("user") or {}) if name else {}
        if "auth-provider" in user:
            raise ConfigurationError(
                "its user has an `auth-provider`, which kubectl and Helm no longer support; name a program by `exec` instead "
                "(gke-gcloud-auth-plugin for GKE, kubelogin for AKS or OIDC)"
            )
        if "username" in user:
            raise ConfigurationError("its user has a `username`, and API servers no longer accept passwords")
        if "tokenFile" in user:
            user.pop("token", None)  # the file counts, as with kubectl
        static = {field: value for field, value in user.items() if field != "exec"}
        return {**whole, "users": [{"name": name, "user": static}]}, cluster, user

    def __str__(self) -> str:
        return f"{self._file}, context {self._name!r}"


def _impersonation(user: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the headers for `as` and its companions, which the package leaves out and Helm sends."""
    found = [
        (header, user[name])
        for name, header in (("as", "Impersonate-User"), ("as-uid", "Impersonate-Uid"))
        if name in user
    ]
    found += [("Impersonate-Group", group) for group in user.get("as-groups") or ()]
    for key, values in (user.get("as-user-extra") or {}).items():
        found += [(f"Impersonate-Extra-{quote(key.lower(), safe='')}", value) for value in values]
    return tuple((header, str(value)) for header, value in found)
