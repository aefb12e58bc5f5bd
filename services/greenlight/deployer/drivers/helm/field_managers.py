"""The fields of an object that others than Helm have set, as the API server notes it. Pure.

Every object carries `metadata.managedFields`: a manager for each field that was set (FieldsV1 of k8s.io/apimachinery:
`f:NAME` is a field, `k:{…}` an item of a list by its keys, `v:…` a value of a set). Helm 4 applies server-side as manager
`helm`: where a value would change that another manager has set, the API server refuses the object as a conflict, unless it is
forced.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenlight.deployer.clusters.api import Object

HELM = "helm"
"""The manager that Helm is, whatever its program is called (cmd/helm/helm.go)."""

Path = tuple[Any, ...]
"""A step is the name of a field, or, as a mapping, what tells an item of a list."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field as it is in the cluster, and who set it."""

    manager: str
    path: Path
    value: Any

    def __str__(self) -> str:
        """Return the path as Kubernetes writes it: .spec.template.spec.containers[name="app"].image."""
        return "".join(f".{step}" if isinstance(step, str) else _item(step) for step in self.path)


def foreign(item: Object) -> list[Field]:
    """Return the fields that others have set, in the order of managers, without those of the status."""
    found: dict[str, Field] = {}
    for entry in item["metadata"].get("managedFields") or ():
        if entry.get("manager") == HELM or entry.get("subresource") == "status":
            continue
        for path in _leaves(entry.get("fieldsV1") or {}):
            there, value = at(item, path)
            if there and path[:1] != ("status",):
                field = Field(str(entry.get("manager") or "somebody"), path, value)
                found.setdefault(str(field), field)
    return list(found.values())


def helm_set(item: Object, path: Path) -> bool:
    """Return whether Helm is a manager of the field: the API server removes what its only manager no longer applies."""
    entries = item["metadata"].get("managedFields") or ()
    return any(path in _leaves(one.get("fieldsV1") or {}) for one in entries if one.get("manager") == HELM)


def at(item: Any, path: Sequence[Any]) -> tuple[bool, Any]:
    """Return whether the object has something there, and what."""
    for step in path:
        if isinstance(step, str):
            if not isinstance(item, Mapping) or step not in item:
                return False, None
            item = item[step]
        else:
            item = _chosen(item if isinstance(item, list) else [], step)
            if item is None:
                return False, None
    return True, item


def also_in(fields: Iterable[Field], manifest: Object) -> list[Field]:
    """Return the fields that a manifest sets to another value."""
    return [field for field in fields if (there := at(manifest, field.path))[0] and there[1] != field.value]


def _leaves(fields: Mapping[str, Any], path: Path = ()) -> Iterator[Path]:
    """Yield the paths that a FieldsV1 ends in; values of sets are left out, as Helm does not take them back."""
    for name, below in fields.items():
        kind, _, rest = name.partition(":")
        if kind == "f":
            step: Any = rest
        elif kind == "k":
            step = json.loads(rest)
        else:
            continue
        if below and set(below) != {"."}:
            yield from _leaves(below, (*path, step))
        elif isinstance(step, str):
            yield (*path, step)


def _chosen(items: Sequence[Any], step: Mapping[str, Any]) -> Any:
    """Return the list's item with these keys.

    A manifest may leave out a key with a default, such as a port's protocol.
    """
    known = [one for one in items if isinstance(one, Mapping)]
    exact = [one for one in known if all(name in one and one[name] == value for name, value in step.items())]
    near = [
        one
        for one in known
        if step.keys() & one.keys() and all(one.get(name, value) == value for name, value in step.items())
    ]
    return next(iter(exact or near), None)


def _item(step: Mapping[str, Any]) -> str:
    return f"[{','.join(f'{name}={json.dumps(value)}' for name, value in step.items())}]"
