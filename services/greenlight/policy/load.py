"""Pipeline files are read, checked as a whole, and become policies, each with the digest of what it says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785

from greenlight.lib.documents import Document, DocumentError, load
from greenlight.lib.errors import ConfigurationError
from greenlight.model.policy import Deploy, Environment, Pipeline, Policy
from greenlight.policy import checks, values
from greenlight.policy.gates import registry as gates
from greenlight.policy.schema import schema
from greenlight.policy.shape import Fault, Step, faults, filled


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing to mend; str() is FILE:LINE: where and what."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class PolicyError(ConfigurationError):
    """The pipeline files are wrong; `problems` are all there are, by file and line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = list(problems)


def parse(files: Mapping[str, str], directory: Path) -> Pipeline:
    """The pipeline that the texts of some files (by name) describe; charts and commands are below `directory`.

    Raises PolicyError with every problem of every file.
    """
    documents, problems = _documents(files)
    for document in documents:
        problems += [_problem(document, fault) for fault in faults(document.value, schema(), schema())]
    problems += [_problem(document, fault) for document, fault in _across(documents)]
    if not problems and not any(document.value.get("applications") for document in documents):
        problems.append(Problem(next(iter(files), "pipeline.yaml"), 1, "applications: there is none; describe one"))
    if problems:
        raise PolicyError(sorted(set(problems)))
    return _pipeline(documents, directory)


def warnings(files: Mapping[str, str]) -> list[Problem]:
    """What of right pipeline files, texts by name, works and is not wise."""
    documents, _ = _documents(files)
    found = [
        _problem(document, fault)
        for document in documents
        for index, app in enumerate(document.value.get("applications", ()))
        for fault in checks.warnings(app, ("applications", index))
    ]
    found += [_problem(document, fault) for document in documents for fault in values.warnings(document)]
    return sorted(found)


def _documents(files: Mapping[str, str]) -> tuple[list[Document], list[Problem]]:
    documents: list[Document] = []
    problems: list[Problem] = []
    for name, text in files.items():
        try:
            documents += load(text, name)
        except DocumentError as error:
            problems.append(Problem(error.name, error.line, error.problem))
    return documents, problems


def _across(documents: Sequence[Document]) -> Iterator[tuple[Document, Fault]]:
    """What is wrong between the parts, wherever they stand."""
    sections = [(document, _mapping(document.value)) for document in documents]
    clusters: dict[str, str] = {}
    for document, section in sections:
        for name in _mapping(section.get("clusters")):
            if name in clusters:
                yield document, Fault(("clusters", name), f"there is a cluster of that name in {clusters[name]}")
            clusters.setdefault(name, f"{document.name}:{document.line(('clusters', name))}")
    names: dict[Any, str] = {}
    repos: dict[Any, Any] = {}
    yield from _shared_releases(sections)
    for document, section in sections:
        apps = section.get("applications")
        for index, app in enumerate(apps if isinstance(apps, list) else ()):
            if isinstance(app, dict):
                path: tuple[Step, ...] = ("applications", index)
                own = [*_known_already(app, path, names, repos), *checks.application(app, path, list(clusters))]
                yield from ((document, fault) for fault in own)
                names.setdefault(str(app.get("name")), f"{document.name}:{document.line(path)}")


def _shared_releases(sections: Sequence[tuple[Document, Mapping[str, Any]]]) -> Iterator[tuple[Document, Fault]]:
    """Environments, of whatever application and file, that would overwrite each other's release of Helm."""
    clusters = {name: it for _, section in sections for name, it in _mapping(section.get("clusters")).items()}
    owners: dict[checks.Place, tuple[str, str]] = {}
    for document, section in sections:
        for path, name, place in checks.releases(section, clusters):
            owner, where = owners.setdefault(place, (name, f"{name} ({document.name}:{document.line(path)})"))
            if owner != name:  # a name that is there twice is a problem of its own
                yield document, Fault((*path, "release"), checks.shared(place, where))


def _known_already(
    app: Mapping[str, Any], path: tuple[Step, ...], names: Mapping[Any, str], repos: dict[Any, Any]
) -> Iterator[Fault]:
    """An application's name, and the repository of a CircleCI project, are known once."""
    if str(app.get("name")) in names:
        yield Fault((*path, "name"), f"there is an application {app['name']!r} in {names[str(app['name'])]}")
    project, repo = _mapping(app.get("circleci")).get("project"), str(app.get("repo")).lower()
    if isinstance(project, str) and repos.setdefault(project.lower(), repo) != repo:
        other = repos[project.lower()]
        yield Fault(
            (*path, "circleci", "project"), f"is the project of {other} already; a project builds one repository"
        )


def _problem(document: Document, fault: Fault) -> Problem:
    at = fault.path if fault.key is None else (*fault.path, fault.key)
    where = _where(document.value, fault.path)
    return Problem(document.name, document.line(at), f"{where}: {fault.message}" if where else fault.message)


def _where(value: Any, path: Sequence[Step]) -> str:
    """A path as people say it: what has a name is called by it, and what is inside an application begins there."""
    words: list[str] = []
    for step in path:
        value = value.get(step) if isinstance(value, dict) else value[step] if isinstance(step, int) else None
        name = value.get("name") if isinstance(step, int) and isinstance(value, dict) else step
        words.append(name if isinstance(name, str) else f"[{step}]")
    if path[:1] == ("applications",) and len(path) > 1:
        words = words[2:] or words[1:]
    return ".".join(words).replace(".[", "[")


def _pipeline(documents: Sequence[Document], directory: Path) -> Pipeline:
    wholes = [filled(document.value, schema(), schema()) for document in documents]
    clusters = {name: it for whole in wholes for name, it in whole.get("clusters", {}).items()}
    apps = [app for whole in wholes for app in whole.get("applications", ())]
    return Pipeline({app["name"]: _policy(app, clusters, directory) for app in apps}, clusters)


def _policy(app: dict[str, Any], clusters: Mapping[str, Any], directory: Path) -> Policy:
    app = {**app, "repo": app["repo"].lower()}
    project = app["circleci"]["project"].lower() if "circleci" in app else None
    text = _canonical(app, clusters)
    return Policy(
        name=app["name"],
        repo=app["repo"],
        branches=tuple(app.get("branches", ())),
        tags=tuple(app.get("tags", ())),
        paths=tuple(app["paths"]),
        circleci_project=project,
        operators=tuple(app["operators"]),
        gates={name: gates.read(name, gate) for name, gate in app["gates"].items()},
        environments={env["name"]: _environment(env) for env in app["environments"]},
        digest=f"sha256:{hashlib.sha256(text).hexdigest()}",
        text=text.decode(),
        directory=str(directory),
        clusters={name: clusters[name] for name in _used(app)},
        formerly=app.get("formerly"),
    )


def _canonical(app: Mapping[str, Any], clusters: Mapping[str, Any]) -> bytes:
    """A pipeline file of that application alone, with the clusters it uses, as canonical JSON (RFC 8785)."""
    whole: dict[str, Any] = {
        "apiVersion": "greenlight/v1",
        "kind": "Pipeline",
        "clusters": {name: clusters[name] for name in _used(app)},
        "applications": [app],
    }
    text: bytes = rfc8785.dumps(whole)
    return text


def _used(app: Mapping[str, Any]) -> list[str]:
    """The clusters that an application is deployed to."""
    return sorted({env["deploy"]["helm"]["cluster"] for env in app["environments"] if "helm" in env["deploy"]})


def _environment(env: Mapping[str, Any]) -> Environment:
    ((driver, config),) = env["deploy"].items()
    return Environment(
        env["name"],
        tuple(env["require"]),
        Deploy(driver, config),
        tuple(env["after"]),
        env["tries"],
        env.get("rollback", "manual"),
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
