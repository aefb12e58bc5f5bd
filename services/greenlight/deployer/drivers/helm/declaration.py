"""The section `deploy: {helm: …}`: how it is written, checked and explained, and which rights Helm needs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from posixpath import normpath
from typing import Any, ClassVar

from greenlight.deployer.driver import Driver
from greenlight.deployer.drivers.declaration import Declaration
from greenlight.lib.clock import Clock
from greenlight.lib.scrub import Scrubber
from greenlight.model import keys
from greenlight.model.policy import Rule
from greenlight.policy.driver import Place, Section, Steps, inside, mapping, texts
from greenlight.policy.rbac import READ, WRITE
from greenlight.policy.shape import Fault, Schema, closest

_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}?")
_ALLOWED = re.compile(rf"sha|short_sha|repo|environment|tag|artifacts\.{keys.NAME}")
_KNOWN = "${sha}, ${short_sha}, ${repo}, ${environment}, ${tag} and ${artifacts.NAME}"
_ARTIFACT = re.compile(r"\$\{artifacts\.([a-z0-9_-]+)\}")
_OCI = re.compile(r"oci://[a-z0-9][a-z0-9.:/_-]{0,500}@sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Helm(Declaration):
    """A release of a chart in a namespace of one of the pipeline file's clusters."""

    driver = "helm"
    # The kinds of usual charts. Roles are excluded, to prevent privilege escalation.
    rules: ClassVar[Sequence[Rule]] = (
        ("", ("secrets",), WRITE),  # Helm's release records, too
        ("", ("configmaps", "services", "serviceaccounts", "persistentvolumeclaims"), WRITE),
        ("", ("pods",), (*READ, "create", "delete")),  # of Helm's hooks and tests
        ("", ("pods/log", "events", "resourcequotas"), READ),  # why something does not come up
        ("apps", ("deployments", "statefulsets", "daemonsets"), WRITE),
        ("apps", ("replicasets", "controllerrevisions"), READ),
        ("batch", ("jobs", "cronjobs"), WRITE),
        ("networking.k8s.io", ("ingresses", "networkpolicies"), WRITE),
        ("autoscaling", ("horizontalpodautoscalers",), WRITE),
        ("policy", ("poddisruptionbudgets",), WRITE),
        ("serving.knative.dev", ("services",), WRITE),
        ("serving.knative.dev", ("configurations", "routes", "revisions"), READ),
    )
    schema: ClassVar[Schema] = {
        "type": "object",
        "required": ["cluster", "chart", "release", "namespace"],
        "additionalProperties": False,
        "properties": {
            "cluster": {"$ref": "#/$defs/name"},
            "chart": {"$ref": "#/$defs/chart"},
            "release": {"$ref": "#/$defs/dns-label"},
            "namespace": {
                "type": "string",
                "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
                "errorMessage": "must be the name of a Kubernetes namespace",
            },
            "values": {
                "description": f"Helm values. Texts may hold {_KNOWN}.",
                "type": "object",
                "default": {},
            },
            "conflicts": {
                "description": (
                    "What becomes of fields that somebody else has set since: ours puts them back to "
                    "the chart's values, theirs leaves them, fail fails the deployment. A rollback "
                    "puts them back whatever this says. Replicas under a HorizontalPodAutoscaler "
                    "always stay as they are. Left out: ours."
                ),
                "type": "string",
                "pattern": "^(ours|theirs|fail)$",
                "errorMessage": "must be ours, theirs or fail",
            },
            "timeout": {"$ref": "#/$defs/duration", "default": "10m"},
            "patience": {
                "$ref": "#/$defs/duration",
                "description": (
                    "How long a bad sign (crash loop, image, quota, probe, …) may last before it is a"
                    " failure. Left out: each its own time."
                ),
            },
            "settle": {
                "$ref": "#/$defs/duration",
                "description": (
                    "How long a container without a readiness probe has to run before it counts as up. Left out: 5s."
                ),
            },
            "verify": {"$ref": "#/$defs/verify"},
        },
    }
    definitions: ClassVar[Mapping[str, Schema]] = {
        "verify": {
            "description": "What must hold once the release is up.",
            "type": "object",
            "minProperties": 1,
            "additionalProperties": False,
            "properties": {
                "http": {
                    "description": "An address that must answer with 2xx, asked from where Greenlight runs.",
                    "type": "string",
                    "pattern": "^https?://[!-~]{1,1000}$",
                    "errorMessage": "must be an http:// or https:// address",
                },
                "command": {
                    "description": (
                        "A program and its arguments that must exit with 0. There is no shell, and nothing is replaced."
                    ),
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "string",
                        "pattern": "^[^\\u0000]*$",
                        "errorMessage": "must be text; put it in quotes",
                    },
                    "errorMessage": "must be a list: the program and its arguments, such as [./smoke.sh, --quick]",
                },
                "helm-test": {"const": True, "errorMessage": "must be true"},
                "timeout": {"$ref": "#/$defs/duration", "default": "1m"},
            },
        },
        "chart": {
            "description": (
                "A folder below the pipeline file, oci://…@sha256:…, or a chart of a repository by version and digest."
            ),
            "type": ["string", "object"],
            "minLength": 1,
            "errorMessage": (
                "must be a folder below the pipeline file, oci://…@sha256:…, or {repository, name, version, digest}"
            ),
            "required": ["repository", "name", "version", "digest"],
            "additionalProperties": False,
            "properties": {
                "repository": {
                    "type": "string",
                    "pattern": "^https://[!-~]{1,1000}$",
                    "errorMessage": "must be the https:// address of a chart repository",
                },
                "name": {"$ref": "#/$defs/dns-label"},
                "version": {
                    "type": "string",
                    "pattern": "^[0-9]+\\.[0-9]+\\.[0-9]+([-+][0-9A-Za-z.+-]+)?$",
                    "errorMessage": 'must be one exact version such as "1.2.3"; a range would deploy what nobody checked',
                },
                "digest": {"$ref": "#/$defs/sha256"},
            },
        },
    }

    @property
    def cluster(self) -> str:
        return str(self.config["cluster"])

    @property
    def namespace(self) -> str:
        return str(self.config["namespace"])

    @property
    def artifacts(self) -> Sequence[str]:
        found = (name for _, text in texts(self.config.get("values", {})) for name in _ARTIFACT.findall(text))
        return sorted(set(found))

    def explained(self) -> str:
        return f"{self.config['release']} in {self.namespace} of cluster {self.cluster}"

    @classmethod
    def faults(cls, section: Section, clusters: Sequence[str]) -> Iterator[Fault]:
        """Find an unknown cluster, a chart that may change or lie elsewhere, and unknown placeholders in values."""
        cluster, chart = section.get("cluster"), section.get("chart")
        if isinstance(cluster, str) and cluster not in clusters:
            yield Fault(("cluster",), f"{cluster!r} is not one of the clusters; {closest(cluster, clusters)}")
        if isinstance(chart, str) and "://" in chart and not _OCI.fullmatch(chart):
            what = "must be oci://…@sha256: and 64 hex digits; a tag or version can be moved to another chart"
            yield Fault(("chart",), f"is {chart!r}, but {what}")
        elif isinstance(chart, str) and "://" not in chart:
            yield from inside(chart, ("chart",))
        for at, text in texts(section.get("values")):
            for found in _PLACEHOLDER.finditer(text):
                if not _ALLOWED.fullmatch(found[1]) or not found[0].endswith("}"):
                    yield Fault(("values", *at), f"{found[0]!r} is not known; there are {_KNOWN}")

    @classmethod
    def warnings(cls, section: Section, plain: Mapping[Steps, str]) -> Iterator[Fault]:
        """Find values that mean something else than they seem to."""
        from greenlight.deployer.drivers.helm import values

        yield from values.warnings(section.get("values", {}), ("values",), plain)

    @classmethod
    def tagged(cls, section: Section) -> Iterator[Steps]:
        """Find the values that hold ${tag}."""
        yield from (("values", *at) for at, text in texts(section.get("values")) if "${tag}" in text)

    @classmethod
    def place(cls, section: Section, clusters: Mapping[str, Any]) -> Place | None:
        """Return the release: two charts in one release would overwrite each other."""
        cluster, namespace, release = (str(section.get(name)) for name in ("cluster", "namespace", "release"))
        if cluster not in clusters:
            return None
        message = (
            f"{release!r} in namespace {namespace!r} of this cluster is the release of {{other}} already, and the "
            "two would overwrite each other; give each a release or a namespace of its own"
        )
        return Place((_same_cluster(mapping(clusters[cluster])) or cluster, namespace, release), "release", message)

    def missing(self, directory: Path) -> Iterator[Fault]:
        """Find a chart that is no folder beside the pipeline file."""
        chart = self.config["chart"]
        if isinstance(chart, str) and "://" not in chart and not (directory / chart / "Chart.yaml").is_file():
            message = f"chart {chart!r} is not a folder with a Chart.yaml beside the pipeline file"
            yield Fault(("chart",), message)

    @classmethod
    def make(cls, state: Path, scrub: Scrubber, clock: Clock) -> Driver:
        from greenlight.deployer.drivers.helm.driver import HelmDriver

        return HelmDriver(state / "helm", scrub=scrub, clock=clock)


def _same_cluster(cluster: Mapping[str, Any]) -> str:
    """Return what two names for one cluster have in common; empty where that cannot be known."""
    eks = mapping(cluster.get("eks"))
    if eks:
        return f"eks {eks.get('region')} {eks.get('name')}"  # whatever the role that is taken there
    if "kubeconfig" in cluster:
        return f"kubeconfig {normpath(str(cluster['kubeconfig']))} {cluster.get('context')}"
    return "in-cluster" if cluster.get("in-cluster") else ""
