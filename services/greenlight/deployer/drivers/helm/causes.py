"""Causes of Helm's failures, and advice: by the form in which Helm and the API server write each cause. Pure.

Every form is one of Helm 4.3 (pkg/action, pkg/kube) or of the API server (apimachinery's api/errors and util/validation/field,
apiserver's admission plugins). What has none of these forms is reported as it is written, without advice: a word in a person's
template, field or policy is no cause.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

AGAIN = re.compile(
    r"another operation \(install/upgrade/rollback\) is in progress|release: already exists"
    r'|secrets "sh\.helm\.release\.[^"]{1,200}" already exists|Unauthorized|asked for the client to provide credentials'
    r"|cluster unreachable|connection refused|connection reset|no such host|i/o timeout|TLS handshake|unexpected EOF"
    r"|failed to invoke post-renderer plugin"
    r"|etcdserver|Too Many Requests|ServiceUnavailable|the server is currently unable|Internal error occurred"
)
"""Helm's words when Greenlight or a dependency broke: trying again may help. Any other failure is the release's."""

_NO_RIGHT = re.compile(r'is forbidden: User "[^"]*" cannot [a-z*]+ resource "[^"]+"')
"""A missing right is an error, not a failure: it is over as soon as the right is granted."""

_HOOK = re.compile(r"\b(?:pre|post)-(?:install|upgrade)\b")


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed run of Helm and its reason; `again`: trying again may help."""

    reason: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """The input of a rule: the whole text, the place of the form in it, and what is deployed where."""

    text: str
    match: re.Match[str]
    release: str
    namespace: str


def failure(output: str, release: str, namespace: str) -> Failure:
    """Return why Helm failed, by what it printed."""
    text = error_line(output)
    if _NO_RIGHT.search(text):
        return Failure(f"Helm: {text}; docs/deployer-helm.md lists the rights that the deployer needs", again=True)
    for form, explain in _RULES:
        match = form.search(text)
        if match is not None:
            return Failure(explain(_Found(text, match, release, namespace)))
    if AGAIN.search(output):
        return Failure(text, again=True)
    hook = "a hook failed: " if _HOOK.search(text) else ""
    return Failure(f"Helm: {hook}{text}")


def error_line(output: str) -> str:
    """Return the last line of a program that begins with Error:, or its last line; in one line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [index for index, line in enumerate(lines) if line.lower().startswith("error:")]
    found = " ".join(lines[errors[-1] :]) if errors else (lines[-1] if lines else "it printed nothing")
    return found.removeprefix("Error: ").removeprefix("UPGRADE FAILED: ").removeprefix("INSTALLATION FAILED: ")


_IMMUTABLE = re.compile(
    r'(?P<kind>[A-Z][A-Za-z]+)(?:\.[a-z0-9.-]+)? "(?P<name>[^"]+)" is invalid: (?P<field>[A-Za-z0-9.\[\]]+): '
    r"(?:Invalid value: (?:(?! is invalid: ).)*?: (?:field is immutable|may not change once set)"
    r"|Forbidden: (?:(?! is invalid: ).)*?(?:immutable|updates to \w+ spec for fields other than))"
)

_MADE_ANEW = {
    "Job": "`kubectl delete job {name} -n {namespace}` and retry, or make it a hook, which Helm creates again each time",
    "StatefulSet": (
        "`kubectl delete statefulset {name} -n {namespace} --cascade=orphan`, which keeps its pods, and retry; or revert the "
        "change"
    ),
    "PersistentVolumeClaim": (
        "revert the change, or give the new claim another name; deleting the claim may delete its data"
    ),
}
"""The way out of a field that cannot be changed, by kind."""


def _immutable(found: _Found) -> str:
    """Name the fields that cannot be changed. The API server's text repeats the whole value, which does not help."""
    parts = []
    for one in _IMMUTABLE.finditer(found.text):
        kind, name = one["kind"], one["name"]
        usual = f"`kubectl delete {kind.lower()} {{name}} -n {{namespace}}` and retry creates it again; or revert the change"
        way = _MADE_ANEW.get(kind, usual).format(name=name, namespace=found.namespace)
        parts.append(
            f"{kind} {name}: {one['field']} cannot be changed once the object is there (it is immutable); {way}"
        )
    return ". ".join(dict.fromkeys(parts))


_CONFLICT = re.compile(
    r"conflict occurred while applying object [^/\s]*/(?P<name>\S+) \S*, Kind=(?P<kind>\w+): "
    r"Apply failed with \d+ conflicts?: (?P<managers>.*?)(?= && |$)"
)
_SET_BY = re.compile(
    r'conflicts? with "(?P<manager>[^"]*)"(?: with subresource "[^"]*")? using \S+: (?P<fields>.*?)(?= conflicts? with "|$)'
)
_FIELD = re.compile(r"(?:^|\s)(\.\S+)")

FIELDS = 5
"""Fields of an object that are named; all are in the output."""


def _conflict(found: _Found) -> str:
    """Return the fields of every object, and who set them."""
    parts = []
    for one in _CONFLICT.finditer(found.text):
        by = [
            (by["manager"], field) for by in _SET_BY.finditer(one["managers"]) for field in _FIELD.findall(by["fields"])
        ]
        named = [f"{field} was set by {manager}" for manager, field in by[:FIELDS]]
        more = [f"{len(by) - FIELDS} more fields by others"] if len(by) > FIELDS else []
        parts.append(f"{one['kind']} {one['name']}: {', '.join([*named, *more])}")
    return (
        f"Helm: others have set fields of the chart: {'. '.join(parts)}. `conflicts: ours` in the pipeline file puts them back "
        "to the chart's values, `conflicts: theirs` leaves them"
    )


def _no_namespace(found: _Found) -> str:
    name = found.match["name"]
    return (
        f"Helm: {found.text}; Greenlight makes no namespaces: have {name} made (`kubectl create namespace {name}`), with "
        "the rights that `greenlight policy rbac` prints, then retry"
    )


def _no_kind(found: _Found) -> str:
    kind, version = found.match["kind"], found.match["version"]
    what = f"{kind} {found.match['name'] or ''}".strip()
    absent = f"{what}: the cluster has no kind {kind} of {version} (any more): install its CustomResourceDefinition, then retry"
    forget = f"kubectl delete secret -n {found.namespace} -l owner=helm,name={found.release}"
    return (
        f"{absent}. If the kind is gone for good, take it out of the chart; and where the release has it already, have Helm "
        f"forget the release: `{forget}`; its other objects stay, and the next deployment takes them over"
    )


def _with(advice: str) -> Callable[[_Found], str]:
    """Return Helm's words, and advice with the names that the form contains."""
    return lambda found: f"Helm: {found.text}; {advice.format(**found.match.groupdict())}"


_RULES: Sequence[tuple[re.Pattern[str], Callable[[_Found], str]]] = (
    (_IMMUTABLE, _immutable),
    (_CONFLICT, _conflict),
    (
        re.compile(r"cannot be imported into the current release: invalid ownership metadata"),
        _with("somebody else made these objects; remove them, or give them to this release"),
    ),
    (
        re.compile(
            r'resource mapping not found for name: "(?P<name>[^"]*)".*?no matches for kind "(?P<kind>[^"]+)" in version '
            r'"(?P<version>[^"]+)"'
        ),
        _no_kind,
    ),
    (re.compile(r'namespaces "(?P<name>[^"]+)" not found'), _no_namespace),
    (
        re.compile(
            r"is forbidden: unable to create new content in namespace (?P<name>\S+) because it is being terminated"
        ),
        _with(
            "the namespace is being deleted: once it is gone, have it made anew (`kubectl create namespace {name}`), then retry"
        ),
    ),
    (
        re.compile(r"is forbidden: exceeded quota: (?P<name>[^,\s]+),"),
        _with("the quota {name} of the namespace is used up: raise it, or free some of it, then retry"),
    ),
    (
        re.compile(r"is forbidden: ValidatingAdmissionPolicy '(?P<name>[^']+)' with binding '[^']+' denied request"),
        _with("the cluster's admission policy {name} does not admit it"),
    ),
    (
        re.compile(r'admission webhook "(?P<name>[^"]+)" denied the request'),
        _with("the cluster's admission webhook {name} does not admit it"),
    ),
    (
        re.compile(r'is forbidden: violates PodSecurity "(?P<name>[^"]+)"'),
        _with("the namespace takes pods of the security level {name} only"),
    ),
    (
        re.compile(
            r"failed to create typed patch object \((?:[^/;]*/)?[^;]*; [^)]*\): (?P<field>\S+): field not declared in schema"
        ),
        _with("the chart's template writes the field {field}, which this kind does not have; correct the template"),
    ),
    (
        re.compile(r"values don't meet the specifications of the schema"),
        _with("the values in the pipeline file do not fit the chart's schema"),
    ),
)
"""(form, how it is explained), the most particular first."""
