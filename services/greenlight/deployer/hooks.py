"""The hooks of a release: Helm runs them and waits for them, we see which of them cannot begin."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from greenlight.deployer import release
from greenlight.deployer.access import Api, Refused
from greenlight.deployer.release import Revision
from greenlight.runtime.errors import ConfigurationError, Unavailable

_EVENTS = {"pre-install", "post-install", "pre-upgrade", "post-upgrade"}
"""When the hooks run that `helm upgrade --install` waits for (pkg/release/v1/hook.go)."""


def of(whole: Mapping[str, Any]) -> list[Any]:
    """The objects of a release's hooks that Helm runs while it installs or upgrades."""
    hooks = [hook for hook in whole.get("hooks") or () if _EVENTS & set(hook.get("events") or ())]
    return [item for hook in hooks for item in release.documents(hook.get("manifest") or "")]


def running(whole: Mapping[str, Any]) -> str:
    """The hook that runs, by kind and name; empty if none does."""
    found = [hook for hook in whole.get("hooks") or () if (hook.get("last_run") or {}).get("phase") == "Running"]
    return f"{found[-1]['kind']} {found[-1]['name']}" if found else ""


def last_lines(api: Api, namespace: str, revision: Revision) -> str:
    """The last lines of a hook's pod that failed; empty if none did, or it left none."""
    with contextlib.suppress(Refused, Unavailable, ConfigurationError, KeyError):
        for hook in release.record(api, namespace, revision).get("hooks") or ():
            if (hook.get("last_run") or {}).get("phase") == "Failed":
                path = f"/api/v1/namespaces/{namespace}/pods/{_pods(api, namespace, hook)[-1]}/log"
                log = api.text(path, {"tailLines": "20", "limitBytes": "8192"}).strip()
                return f"The last lines of hook {hook['name']}:\n{log}" if log else ""
    return ""


def _pods(api: Api, namespace: str, hook: Mapping[str, Any]) -> Sequence[str]:
    """The names of a hook's pods: a Job's, or its own."""
    if hook["kind"] != "Job":
        return [hook["name"]]
    query = {"labelSelector": f"batch.kubernetes.io/job-name={hook['name']}"}
    found = api.list(f"/api/v1/namespaces/{namespace}/pods", query)["items"]
    return [pod["metadata"]["name"] for pod in found] or [hook["name"]]
