"""What a schema cannot say of pipeline files: that names name something, that paths stay inside, that order has an end.

Each check leaves what has the wrong shape to the schema and goes on, so that all problems are told together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from posixpath import normpath
from typing import Any

from greenlight.lib.scrub import secrets_in, secrets_of_arguments
from greenlight.policy.shape import Fault, Step, closest

Path = tuple[Step, ...]

_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}?")
_ALLOWED = re.compile(r"sha|repo|artifacts\.[a-z0-9][a-z0-9_-]{0,62}")
_OURS = re.compile(r"\$\{(?:[a-z][a-z0-9_.-]*)\}")
_PLACES = ("_FILE", "_PATH", "_DIR")
_READABLE = "which whoever reads this file or the ledger can read"
_INSTEAD = "name where it is: env: {{{}: {{file: PATH}}}} or {{from: VARIABLE}}"
_OCI = re.compile(r"oci://[a-z0-9][a-z0-9.:/_-]{0,500}@sha256:[0-9a-f]{64}")


def application(app: Mapping[str, Any], path: Path, clusters: Sequence[str]) -> Iterator[Fault]:
    """What is wrong with an application, given the names of all clusters."""
    if "branches" not in app and "tags" not in app:
        yield Fault(path, "ships nothing; give it branches or tags, such as branches: [main]")
    for field in ("branches", "tags", "paths"):
        yield from _patterns(app.get(field), (*path, field))
    environments = [(index, env) for index, env in _items(app.get("environments")) if isinstance(env, dict)]
    names = [env.get("name") for _, env in environments]
    yield from _circles(environments, (*path, "environments"))
    for index, env in environments:
        at = (*path, "environments", index)
        if env.get("name") in names[:index]:
            yield Fault(at, "there is an environment of that name already")
        yield from _required(app, env, at)
        yield from _afters(env, [str(name) for name in names], at)
        yield from _deploy(_mapping(env.get("deploy")), (*at, "deploy"), clusters)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a release of Helm is: what no two environments may share."""

    cluster: str
    namespace: str
    release: str


def releases(section: Mapping[str, Any], clusters: Mapping[str, Any]) -> Iterator[tuple[Path, str, Place]]:
    """(path, APPLICATION/ENVIRONMENT, place) of everything in a pipeline file that Helm deploys to one of `clusters`."""
    for index, app in _items(section.get("applications")):
        for at, env in _items(_mapping(app).get("environments")):
            helm = _mapping(_mapping(_mapping(env).get("deploy")).get("helm"))
            cluster, namespace, release = (str(helm.get(name)) for name in ("cluster", "namespace", "release"))
            if cluster in clusters:
                path = ("applications", index, "environments", at, "deploy", "helm")
                place = Place(_same_cluster(_mapping(clusters[cluster])) or cluster, namespace, release)
                yield path, f"{app.get('name')}/{env.get('name')}", place


def shared(place: Place, other: str) -> str:
    """What is wrong with a second release in one place."""
    return (
        f"{place.release!r} in namespace {place.namespace!r} of this cluster is the release of {other} already, and the "
        "two would overwrite each other; give each a release or a namespace of its own"
    )


def _same_cluster(cluster: Mapping[str, Any]) -> str:
    """What two names for one cluster have in common; empty where that cannot be known."""
    eks = _mapping(cluster.get("eks"))
    if eks:
        return f"eks {eks.get('region')} {eks.get('name')}"  # whatever the role that is taken there
    if "kubeconfig" in cluster:
        return f"kubeconfig {normpath(str(cluster['kubeconfig']))} {cluster.get('context')}"
    return "in-cluster" if cluster.get("in-cluster") else ""


def texts(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every text in a JSON value, keys aside, with its path."""
    if isinstance(value, str):
        yield path, value
    for key, item in value.items() if isinstance(value, dict) else _items(value):
        yield from texts(item, (*path, key))


def _patterns(patterns: Any, path: Path) -> Iterator[Fault]:
    for index, pattern in _items(patterns):
        parts = pattern.split("/") if isinstance(pattern, str) else []
        if any("**" in part and part != "**" for part in parts):
            yield Fault(
                (*path, index),
                f"{pattern!r}: ** stands for whole parts between slashes; write * or {_whole(pattern)!r}",
            )


def _whole(pattern: str) -> str:
    return pattern.replace("**", "*") + "/**"


def _required(app: Mapping[str, Any], env: Mapping[str, Any], path: Path) -> Iterator[Fault]:
    gates = list(_mapping(app.get("gates")))
    for index, name in _items(env.get("require")):
        if isinstance(name, str) and name not in gates:
            message = f"{name!r} is not a gate of {app.get('name')}; its gates are {', '.join(gates) or 'none'}"
            yield Fault((*path, "require"), message, index)


def _afters(env: Mapping[str, Any], names: Sequence[str], path: Path) -> Iterator[Fault]:
    for index, name in _items(env.get("after")):
        if isinstance(name, str) and name not in names:
            yield Fault((*path, "after"), f"{name!r} is not an environment; {closest(name, names)}", index)


def _circles(environments: Sequence[tuple[int, Mapping[str, Any]]], path: Path) -> Iterator[Fault]:
    """Environments that would wait for themselves; each circle is told once, at its first member."""
    after = {env.get("name"): [name for _, name in _items(env.get("after"))] for _, env in environments}
    told: set[Any] = set()
    for index, env in environments:
        circle = _circle(env.get("name"), after)
        if circle and not told & set(circle):
            told |= set(circle)
            yield Fault((*path, index, "after"), f"goes in a circle: {' → '.join(circle)}; leave one of them out")


def _circle(start: Any, after: Mapping[Any, Sequence[Any]]) -> list[str]:
    """A way from `start` back to itself; empty if there is none."""
    ways, seen = [[start]], set()
    while ways:
        way = ways.pop()
        for name in after.get(way[-1], ()):
            if name == start:
                return [*way, name]
            if isinstance(name, str) and name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []


def _deploy(deploy: Mapping[str, Any], path: Path, clusters: Sequence[str]) -> Iterator[Fault]:
    if "command" in deploy:
        yield from _command(_mapping(deploy["command"]), (*path, "command"))
    if "helm" in deploy:
        yield from _helm(_mapping(deploy["helm"]), (*path, "helm"), clusters)


def _command(command: Mapping[str, Any], path: Path) -> Iterator[Fault]:
    yield from _inside(command.get("cwd"), (*path, "cwd"))
    for field in ("run", "env"):
        for at, text in texts(command.get(field)):
            for found in _OURS.findall(text):
                variable = "$GREENLIGHT_REPO" if found == "${repo}" else "$GREENLIGHT_SHA"
                message = (
                    f"{found} is not replaced in a command; its arguments are constants, so have it read {variable}"
                )
                yield Fault((*path, field, *at), f"{message} or another GREENLIGHT_ variable")
    for name, value in _mapping(command.get("env")).items():
        file = _mapping(value).get("file")
        if isinstance(file, str) and not file.startswith("/"):
            yield from _inside(file, (*path, "env", name, "file"))


NOBODY = "nobody may deploy, retry, roll back, pause, cancel or override: name groups of people as `operators:`"


def warnings(app: Mapping[str, Any], path: Path) -> Iterator[Fault]:
    """What of a faultless application works, and is not wise: nobody who operates it, several refs that feed its targets,
    secrets that stand in the file.
    """
    if not app.get("operators"):
        yield Fault(path, NOBODY)
    refs = [*(f"branch {name}" for name in app.get("branches", ())), *(f"tag {name}" for name in app.get("tags", ()))]
    if len(refs) > 1 or any("*" in ref or "?" in ref for ref in refs):
        yield Fault(
            path, f"several refs feed each environment ({', '.join(refs)}): whichever is pushed last is deployed"
        )
    for index, env in _items(app["environments"]):
        command = env["deploy"].get("command", {})
        at = (*path, "environments", index, "deploy", "command")
        for name, value in command.get("env", {}).items():
            if isinstance(value, str) and value and _holds_secret(value, name):
                yield Fault((*at, "env", name), f"seems to hold a secret, {_READABLE}; {_INSTEAD.format(name)}")
        if secrets_of_arguments(command.get("run", ())):
            seen = "and every program on the machine sees arguments"
            yield Fault((*at, "run"), f"seems to hold a secret, {_READABLE}, {seen}; {_INSTEAD.format('NAME')}")


def _holds_secret(value: str, name: str) -> bool:
    """Whether the value, or a part of it, is one; what is called a file or a folder is none."""
    return bool(secrets_in(value, "" if name.upper().endswith(_PLACES) else name))


def _helm(helm: Mapping[str, Any], path: Path, clusters: Sequence[str]) -> Iterator[Fault]:
    cluster, chart = helm.get("cluster"), helm.get("chart")
    if isinstance(cluster, str) and cluster not in clusters:
        yield Fault((*path, "cluster"), f"{cluster!r} is not one of the clusters; {closest(cluster, clusters)}")
    if isinstance(chart, str) and "://" in chart and not _OCI.fullmatch(chart):
        what = "must be oci://…@sha256: and 64 hex digits; a tag or version can be moved to another chart"
        yield Fault((*path, "chart"), f"is {chart!r}, but {what}")
    elif isinstance(chart, str) and "://" not in chart:
        yield from _inside(chart, (*path, "chart"))
    for at, text in texts(helm.get("values")):
        for found in _PLACEHOLDER.finditer(text):
            if not _ALLOWED.fullmatch(found[1]) or not found[0].endswith("}"):
                known = "${sha}, ${repo} and ${artifacts.NAME}"
                yield Fault((*path, "values", *at), f"{found[0]!r} is not known; there are {known}")


def _inside(folder: Any, path: Path) -> Iterator[Fault]:
    """Only names below the pipeline file; that no link leads out is for whoever opens it to see."""
    if isinstance(folder, str) and (folder.startswith(("/", "~")) or ".." in folder.split("/") or "\\" in folder):
        yield Fault(path, f"{folder!r} leads out of the folder of the pipeline file; name one below it")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> list[tuple[int, Any]]:
    return list(enumerate(value)) if isinstance(value, list) else []
