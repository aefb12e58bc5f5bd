"""Pipeline files become policies: they are read, checked as a whole, and each policy has the digest of its text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import rfc8785

from greenlight.lib.documents import Document, DocumentError, load
from greenlight.lib.durations import duration
from greenlight.lib.errors import ConfigurationError
from greenlight.lib.windows import Window, moment, zone
from greenlight.model.policy import Environment, Freeze, Pipeline, Policy
from greenlight.policy import checks
from greenlight.policy.driver import Drivers, DriverSection, mapping
from greenlight.policy.gates import registry as gates
from greenlight.policy.schema import schema
from greenlight.policy.shape import Fault, Step, faults, filled


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One error in a file; str() is FILE:LINE: the place and the error."""

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


def parse(files: Mapping[str, str], directory: Path, drivers: Drivers) -> Pipeline:
    """Return the pipeline that the texts of some files (by name) describe; charts and commands are below `directory`.

    `drivers` are those that it may deploy by. Raises PolicyError with every problem of every file.
    """
    whole = schema(drivers)
    documents, problems = _documents(files)
    for document in documents:
        problems += [_problem(document, fault) for fault in faults(document.value, whole, whole)]
    problems += [_problem(document, fault) for document, fault in _across(documents, drivers)]
    if not problems and not any(document.value.get("applications") for document in documents):
        problems.append(Problem(next(iter(files), "pipeline.yaml"), 1, "applications: there is none; describe one"))
    if problems:
        raise PolicyError(sorted(set(problems)))
    return _pipeline(documents, directory, drivers)


def warnings(files: Mapping[str, str], drivers: Drivers) -> list[Problem]:
    """Return what works in faultless pipeline files, texts by name, but is unwise."""
    documents, _ = _documents(files)
    found = [
        _problem(document, fault)
        for document in documents
        for index, app in enumerate(document.value.get("applications", ()))
        for fault in checks.warnings(app, ("applications", index))
    ]
    for document in documents:
        for path, driver, written in checks.sections(document, drivers):
            inner = driver.warnings(written, _below(document.plain, path))
            found += [_problem(document, Fault((*path, *fault.path), fault.message)) for fault in inner]
    return sorted(found)


def missing(files: Mapping[str, str], directory: Path, drivers: Drivers) -> list[Problem]:
    """Return what faultless pipeline files, texts by name, name beside them and does not exist.

    A deployment would be an error.
    """
    return [
        _located(document, (*path, *fault.path), fault.message)
        for document, path, deploy in _deploys(files, drivers)
        for fault in deploy.missing(directory)
    ]


def unresolved(files: Mapping[str, str], directory: Path, drivers: Drivers) -> list[Problem]:
    """Return what faultless pipeline files, texts by name, name that a deployer needs and this machine lacks."""
    return [
        _located(document, path, f"{problem}; where it is not there, nothing can be deployed")
        for document, path, deploy in _deploys(files, drivers)
        for problem in deploy.unresolved(directory)
    ]


def _deploys(files: Mapping[str, str], drivers: Drivers) -> Iterator[tuple[Document, tuple[Step, ...], DriverSection]]:
    for document in _documents(files)[0]:
        for path, driver, written in checks.sections(document, drivers):
            yield document, path, driver(written)


def _located(document: Document, path: tuple[Step, ...], message: str) -> Problem:
    return Problem(document.name, document.line(path), message)


def _below(plain: Mapping[tuple[Step, ...], str], path: tuple[Step, ...]) -> Mapping[tuple[Step, ...], str]:
    """Return values by their path below `path`, of values by their whole path."""
    return {at[len(path) :]: text for at, text in plain.items() if at[: len(path)] == path}


def _documents(files: Mapping[str, str]) -> tuple[list[Document], list[Problem]]:
    documents: list[Document] = []
    problems: list[Problem] = []
    for name, text in files.items():
        try:
            documents += load(text, name)
        except DocumentError as error:
            problems.append(Problem(error.name, error.line, error.problem))
    return documents, problems


def _across(documents: Sequence[Document], drivers: Drivers) -> Iterator[tuple[Document, Fault]]:
    """Yield errors between the parts, whichever files they are in."""
    sections = [(document, mapping(document.value)) for document in documents]
    clusters: dict[str, str] = {}
    for document, section in sections:
        for name in mapping(section.get("clusters")):
            if name in clusters:
                yield document, Fault(("clusters", name), f"there is a cluster of that name in {clusters[name]}")
            clusters.setdefault(name, f"{document.name}:{document.line(('clusters', name))}")
    names: dict[Any, str] = {}
    repos: dict[Any, Any] = {}
    yield from _shared_places(sections, drivers)
    for document, section in sections:
        apps = section.get("applications")
        for index, app in enumerate(apps if isinstance(apps, list) else ()):
            if isinstance(app, dict):
                path: tuple[Step, ...] = ("applications", index)
                own = [
                    *_known_already(app, path, names, repos),
                    *checks.application(app, path, list(clusters), drivers),
                ]
                yield from ((document, fault) for fault in own)
                names.setdefault(str(app.get("name")), f"{document.name}:{document.line(path)}")
    yield from _taken_names(sections, names)


def _taken_names(
    sections: Sequence[tuple[Document, Mapping[str, Any]]], names: Mapping[Any, str]
) -> Iterator[tuple[Document, Fault]]:
    """Yield an error for a former name that an application still has, or that two applications say they had.

    What is known under a name belongs to one application.
    """
    heirs: dict[Any, str] = {}
    for document, section in sections:
        apps = section.get("applications")
        for index, app in enumerate(apps if isinstance(apps, list) else ()):
            former = mapping(app).get("formerly")
            if not isinstance(former, str):
                continue
            path: tuple[Step, ...] = ("applications", index, "formerly")
            if former in names:
                yield document, Fault(path, f"there is still an application {former!r} in {names[former]}")
            elif former in heirs:
                yield document, Fault(path, f"the application in {heirs[former]} was called {former!r}, too")
            heirs.setdefault(former, f"{document.name}:{document.line(path)}")


def _shared_places(
    sections: Sequence[tuple[Document, Mapping[str, Any]]], drivers: Drivers
) -> Iterator[tuple[Document, Fault]]:
    """Yield environments, of whatever application and file, that would overwrite what the other deploys."""
    clusters = {name: cluster for _, section in sections for name, cluster in mapping(section.get("clusters")).items()}
    owners: dict[tuple[str, ...], tuple[str, str]] = {}
    for document, section in sections:
        for path, name, place in checks.places(section, clusters, drivers):
            owner, where = owners.setdefault(place.key, (name, f"{name} ({document.name}:{document.line(path)})"))
            if owner != name:  # a name that is there twice is a problem of its own
                yield document, Fault((*path, place.field), place.message.replace("{other}", where))


def _known_already(
    app: Mapping[str, Any], path: tuple[Step, ...], names: Mapping[Any, str], repos: dict[Any, Any]
) -> Iterator[Fault]:
    """Yield an error for an application's name, or a CircleCI project's repository, that is given twice."""
    if str(app.get("name")) in names:
        yield Fault((*path, "name"), f"there is an application {app['name']!r} in {names[str(app['name'])]}")
    project, repo = mapping(app.get("circleci")).get("project"), str(app.get("repo")).lower()
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
    """Return a path in words for people.

    Items are called by their name, and a path inside an application begins there.
    """
    words: list[str] = []
    for step in path:
        value = value.get(step) if isinstance(value, dict) else value[step] if isinstance(step, int) else None
        name = value.get("name") if isinstance(step, int) and isinstance(value, dict) else step
        words.append(name if isinstance(name, str) else f"[{step}]")
    if path[:1] == ("applications",) and len(path) > 1:
        words = words[2:] or words[1:]
    return ".".join(words).replace(".[", "[")


def _pipeline(documents: Sequence[Document], directory: Path, drivers: Drivers) -> Pipeline:
    whole_schema = schema(drivers)
    wholes = [filled(document.value, whole_schema, whole_schema) for document in documents]
    clusters = {name: cluster for whole in wholes for name, cluster in whole.get("clusters", {}).items()}
    apps = [app for whole in wholes for app in whole.get("applications", ())]
    applications = {app["name"]: _policy(app, clusters, directory, drivers) for app in apps}
    return Pipeline(applications, clusters, partial(parse, drivers=drivers))


def _policy(app: dict[str, Any], clusters: Mapping[str, Any], directory: Path, drivers: Drivers) -> Policy:
    app = {**app, "repo": app["repo"].lower()}
    environments = {env["name"]: _environment(env, drivers) for env in app["environments"]}
    clusters = _used(environments, clusters)
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
        environments=environments,
        digest=f"sha256:{hashlib.sha256(text).hexdigest()}",
        text=text.decode(),
        directory=str(directory),
        clusters=clusters,
        formerly=app.get("formerly"),
    )


def _canonical(app: Mapping[str, Any], clusters: Mapping[str, Any]) -> bytes:
    """Return a pipeline file of that application alone, with the clusters that it uses, as canonical JSON (RFC 8785)."""
    whole: dict[str, Any] = {
        "apiVersion": "greenlight/v1",
        "kind": "Pipeline",
        "clusters": clusters,
        "applications": [app],
    }
    text: bytes = rfc8785.dumps(whole)
    return text


def _used(environments: Mapping[str, Environment], clusters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the clusters that an application is deployed to."""
    used = {env.deploy.cluster for env in environments.values()}
    return {name: clusters[name] for name in sorted(clusters) if name in used}


def _environment(env: Mapping[str, Any], drivers: Drivers) -> Environment:
    ((driver, config),) = env["deploy"].items()
    return Environment(
        name=env["name"],
        require=tuple(env["require"]),
        deploy=drivers[driver](config),
        after=tuple(str(checks.earlier(item)) for item in env["after"]),
        tries=env["tries"],
        rollback=env.get("rollback", "manual"),
        soak={name: duration(text) for item in env["after"] for name, text in mapping(item).items()},
        promote=env.get("promote", "automatic"),
        freeze=tuple(_freeze(section) for section in env.get("freeze", ())),
    )


def _freeze(section: Mapping[str, Any]) -> Freeze:
    window = Window(moment(section["from"]), moment(section["to"]), zone(section["zone"]))
    return Freeze(window, section["reason"], tuple(section["except"]))
