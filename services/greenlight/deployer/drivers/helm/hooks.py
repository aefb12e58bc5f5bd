"""The hooks of a release: Helm runs them and waits for them, Greenlight finds those that cannot begin."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from greenlight.deployer.clusters.api import Api
from greenlight.deployer.clusters.refusals import Refused
from greenlight.deployer.drivers.helm import release
from greenlight.deployer.drivers.helm.release import Revision
from greenlight.deployer.rollout.proof import Rollout, Verdict
from greenlight.lib.clock import Clock
from greenlight.lib.errors import ConfigurationError, Unavailable
from greenlight.lib.process import Process

_EVENTS = {"pre-install", "post-install", "pre-upgrade", "post-upgrade"}
"""When the hooks run that `helm upgrade --install` waits for (pkg/release/v1/hook.go)."""


class Hooks:
    """Follow the hooks of the revision that Helm works at.

    What cannot be seen is left to Helm, which reports its end.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        find: Callable[[], Revision | None],
        process: Process,
        clock: Clock,
        patience: float | None,
    ) -> None:
        """Follow the hooks that the Helm in `process` runs.

        `find` is asked for the revision until it is there; `patience` is a rollout's, in seconds.
        """
        self._api, self._namespace, self._find, self._process = api, namespace, find, process
        self._clock, self._patience = clock, patience
        self._rollout: Rollout | None = None
        self._blind = False

    @property
    def followed(self) -> bool:
        """Return whether the hooks are seen."""
        return self._rollout is not None and not self._blind

    def cannot_begin(self, seconds: float) -> Verdict | None:
        """Wait at most `seconds` for a hook that cannot begin, or for Helm's end; not at all while no hook is seen."""
        with contextlib.suppress(Unavailable):
            try:
                if self._rollout is None and not self._blind:
                    self._rollout = self._follow()
                if self._rollout is not None and not self._blind:
                    return self._rollout.cannot_begin(seconds)
            except (Refused, ConfigurationError):
                self._blind = True
        return None

    def unfinished(self) -> str:
        """Return what the unfinished hook is doing; empty where that is not known."""
        return "" if self._rollout is None or self._blind else self._rollout.unfinished()

    def news(self) -> Sequence[str]:
        """Return a line for each hook whose state has changed since the last call."""
        return (
            [] if self._rollout is None or self._blind else [f"hook {line}" for line in self._rollout.news(made=True)]
        )

    def close(self) -> None:
        """Stop following."""
        if self._rollout is not None:
            self._rollout.close()

    def _follow(self) -> Rollout | None:
        revision = self._find()
        if revision is None:
            return None
        manifest = _objects(release.record(self._api, self._namespace, revision))
        never = self._clock.now() + timedelta(days=1)  # its time is Helm's to keep
        how = {"patience": self._patience}
        rollout = Rollout(self._api, manifest, self._namespace, never, self._clock, since=revision.made, **how)
        self._process.on_end(rollout.close)
        return rollout


def _objects(whole: Mapping[str, Any]) -> list[Any]:
    """Return the objects of a release's hooks that Helm runs while it installs or upgrades."""
    found = [hook for hook in whole.get("hooks") or () if _EVENTS & set(hook.get("events") or ())]
    return [item for hook in found for item in release.documents(hook.get("manifest") or "")]


def last_lines(api: Api, namespace: str, revision: Revision) -> str:
    """Return the last lines of a hook's pod that failed; empty if none did, or it left none."""
    with contextlib.suppress(Refused, Unavailable, ConfigurationError, KeyError):
        for hook in release.record(api, namespace, revision).get("hooks") or ():
            if (hook.get("last_run") or {}).get("phase") == "Failed":
                path = f"/api/v1/namespaces/{namespace}/pods/{_pods(api, namespace, hook)[-1]}/log"
                log = api.text(path, {"tailLines": "20", "limitBytes": "8192"}).strip()
                return f"The last lines of hook {hook['name']}:\n{log}" if log else ""
    return ""


def _pods(api: Api, namespace: str, hook: Mapping[str, Any]) -> Sequence[str]:
    """Return the names of a hook's pods: a Job's, or its own."""
    if hook["kind"] != "Job":
        return [hook["name"]]
    query = {"labelSelector": f"batch.kubernetes.io/job-name={hook['name']}"}
    found = api.list(f"/api/v1/namespaces/{namespace}/pods", query)["items"]
    return [pod["metadata"]["name"] for pod in found] or [hook["name"]]
