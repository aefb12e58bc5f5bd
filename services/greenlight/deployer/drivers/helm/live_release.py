"""A release in the cluster: its objects, who has changed them since, and which fields stay as they are."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from greenlight.deployer.clusters.api import Api, Object
from greenlight.deployer.clusters.refusals import Forbidden, NotFound, Refused
from greenlight.deployer.drivers.helm import field_managers
from greenlight.deployer.drivers.helm.field_managers import Field
from greenlight.deployer.rollout.kinds import Kinds
from greenlight.deployer.rollout.states import group
from greenlight.deployer.rollout.workloads import objects
from greenlight.lib.together import together

_Target = tuple[str, str, str, str]
"""API group, kind, namespace and name."""

REPLICAS = ("spec", "replicas")

_VOLATILE = ("managedFields", "resourceVersion", "generation")
"""Metadata that an apply changes though it changes nothing."""


@dataclass(frozen=True, slots=True)
class Part:
    """An object of a release: as the manifest has it, and as the cluster has it; None where it is not there."""

    manifest: Object
    namespace: str
    collection: str | None  # None: the cluster has no such kind
    found: Object | None
    kept: Sequence[Field] = ()  # stays as it is
    taken: Sequence[Field] = ()  # set by others, and to be put back

    def __str__(self) -> str:
        return f"{self.manifest['kind']} {self.manifest['metadata']['name']}"


@dataclass(frozen=True, slots=True)
class Release:
    """A release as the cluster has it."""

    name: str
    namespace: str
    parts: Sequence[Part] = field(default=())

    def keeps(self) -> Mapping[str, Any] | None:
        """Return the input of the program `kept`; None if nothing is kept."""
        fields = [
            {
                "group": group(part.manifest["apiVersion"]),
                "kind": part.manifest["kind"],
                "namespace": part.namespace,
                "name": part.manifest["metadata"]["name"],
                "path": list(one.path),
                "value": one.value,
                "add": part.found is not None
                and one.path == REPLICAS
                and field_managers.helm_set(part.found, REPLICAS),
            }
            for part in self.parts
            for one in part.kept
        ]
        return {"namespace": self.namespace, "fields": fields} if fields else None

    def notes(self) -> Iterator[str]:
        """Yield a sentence for every field that others have set: whether it stays."""
        for part in self.parts:
            kept = [one for one in part.kept if field_managers.at(part.manifest, one.path)[0]]
            for fields, what in ((kept, "stays as it is"), (part.taken, "is put back to the chart's value")):
                for one in fields:
                    number = f" to {one.value}" if isinstance(one.value, int) else ""
                    yield f"{part}: {one} was set{number} by {one.manager}, and {what}"


def release(
    api: Api, name: str, manifest: Iterable[Any], namespace: str, *, everything_kept: bool, taken: bool
) -> Release:
    """Return the release as it is now, with one request for each object, several at a time.

    `replicas` under a HorizontalPodAutoscaler is always kept; `everything_kept`: what others have set is, too. `taken`: what is
    not kept will be put back.
    """
    kinds, items = Kinds(api), list(objects(manifest))
    questions: list[Callable[[], Any]] = [partial(_part, api, kinds, item, namespace) for item in items]
    questions += [partial(_autoscaled, api, name) for name in {_namespace(item, namespace) for item in items}]
    answers = together(questions)
    parts, scaled = answers[: len(items)], set[_Target]().union(*answers[len(items) :])
    return Release(name, namespace, [_decided(part, scaled, everything_kept, taken) for part in parts])


def drift(api: Api, release: Release, *, force: bool) -> str | None:
    """Return what differs between the release and the cluster; None: nothing.

    The API server, which knows every default, compares them by a dry run.
    """
    for part in release.parts:
        if part.found is None or part.collection is None:
            return f"{part} was deleted"
        try:
            path = f"{part.collection}/{part.manifest['metadata']['name']}"
            applied = api.would_apply(path, _applied(release, part), field_managers.HELM, force=force)
        except Refused as problem:
            return f"{part} cannot be compared: {problem.message}"
        if _plain(applied) != _plain(part.found):
            return f"{part} was changed"
    return None


def _part(api: Api, kinds: Kinds, item: Object, namespace: str) -> Part:
    own = _namespace(item, namespace)
    collection = kinds.collection(item["apiVersion"], item["kind"], own)
    try:
        found = None if collection is None else api.get(f"{collection}/{item['metadata']['name']}")
    except (NotFound, Forbidden):  # what we may not read Helm may not either, and says so
        found = None
    return Part(item, own, collection, found)


def _namespace(item: Object, namespace: str) -> str:
    """Return the namespace of an object, or the one that it would have."""
    return str(item["metadata"].get("namespace") or namespace)


def _autoscaled(api: Api, namespace: str) -> set[_Target]:
    """Return the targets of a namespace's HorizontalPodAutoscalers; none without the right to see them."""
    try:
        items = api.list(f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers").get("items") or ()
    except (Forbidden, NotFound):
        return set()
    targets = [item["spec"]["scaleTargetRef"] for item in items]
    return {(group(target.get("apiVersion", "")), target["kind"], namespace, target["name"]) for target in targets}


def _decided(part: Part, scaled: set[_Target], everything_kept: bool, taken: bool) -> Part:
    """Return the part with its fields that are kept."""
    if part.found is None:
        return part
    others = field_managers.foreign(part.found)
    key = (group(part.manifest["apiVersion"]), part.manifest["kind"], part.namespace, part.manifest["metadata"]["name"])
    there, replicas = field_managers.at(part.found, REPLICAS)
    autoscaled = [Field("its autoscaler", REPLICAS, replicas)] if there and key in scaled else []
    rest = [one for one in others if not autoscaled or one.path != REPLICAS]
    kept = [*autoscaled, *(rest if everything_kept else ())]
    back = field_managers.also_in(rest, part.manifest) if taken and not everything_kept else ()
    return Part(part.manifest, part.namespace, part.collection, part.found, kept, back)


def _applied(release: Release, part: Part) -> Object:
    """Return the object as Helm applies it: with its marks of ownership (pkg/action/validate.go), and kept fields."""
    item = copy.deepcopy(part.manifest)
    for one in part.kept:
        *way, last = one.path
        there, holder = field_managers.at(item, way)
        if there and isinstance(holder, dict) and last in holder:
            holder[last] = one.value
    meta = item["metadata"]
    if f"/namespaces/{part.namespace}/" in str(part.collection):
        meta["namespace"] = part.namespace
    meta["labels"] = {**(meta.get("labels") or {}), "app.kubernetes.io/managed-by": "Helm"}
    owner = {"meta.helm.sh/release-name": release.name, "meta.helm.sh/release-namespace": release.namespace}
    meta["annotations"] = {**(meta.get("annotations") or {}), **owner}
    return item


def _plain(item: Object) -> Object:
    """Return an object without its status, and without fields that an apply changes although nothing else changes."""
    meta = {name: value for name, value in item["metadata"].items() if name not in _VOLATILE}
    return {**{name: value for name, value in item.items() if name != "status"}, "metadata": meta}
