"""Checks of pipeline files that no schema can make: names exist, paths stay inside, the order of environments ends.

Each check leaves what has the wrong shape to the schema and goes on, so that all problems are reported together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from greenlight.lib.documents import Document
from greenlight.lib.windows import moment, zone
from greenlight.policy.driver import Drivers, DriverSection, Place, items, mapping
from greenlight.policy.driver import Steps as Path
from greenlight.policy.shape import Fault, closest


def application(app: Mapping[str, Any], path: Path, clusters: Sequence[str], drivers: Drivers) -> Iterator[Fault]:
    """Find what is wrong with an application, given the names of all clusters."""
    if "branches" not in app and "tags" not in app:
        yield Fault(path, "ships nothing; give it branches or tags, such as branches: [main]")
    for field in ("branches", "tags", "paths"):
        yield from _patterns(app.get(field), (*path, field))
    environments = [(index, env) for index, env in items(app.get("environments")) if isinstance(env, dict)]
    names = [env.get("name") for _, env in environments]
    yield from _circles(environments, (*path, "environments"))
    for index, env in environments:
        at = (*path, "environments", index)
        if env.get("name") in names[:index]:
            yield Fault(at, "there is an environment of that name already")
        yield from _required(app, env, at)
        yield from _afters(env, [str(name) for name in names], at)
        yield from _freezes(env, at)
        yield from _deploy(env.get("deploy"), (*at, "deploy"), clusters, drivers)
        if "tags" not in app:
            yield from _tagless(env.get("deploy"), (*at, "deploy"), drivers)


def places(
    section: Mapping[str, Any], clusters: Mapping[str, Any], drivers: Drivers
) -> Iterator[tuple[Path, str, Place]]:
    """List (path, APPLICATION/ENVIRONMENT, place) of every environment of a pipeline file whose place it may not share."""
    for index, app in items(section.get("applications")):
        for at, env in items(mapping(app).get("environments")):
            path: Path = ("applications", index, "environments", at, "deploy")
            for name, written in _sections(mapping(env).get("deploy"), drivers):
                place = drivers[name].place(written, clusters)
                if place is not None:
                    yield (*path, name), f"{app.get('name')}/{env.get('name')}", place


def sections(document: Document, drivers: Drivers) -> Iterator[tuple[Path, type[DriverSection], Mapping[str, Any]]]:
    """List (path, its driver's class, the section) of every environment of a faultless document."""
    for index, app in enumerate(document.value.get("applications", ())):
        for number, env in enumerate(app["environments"]):
            for name, written in _sections(env["deploy"], drivers):
                path = ("applications", index, "environments", number, "deploy", name)
                yield path, drivers[name], written


def _sections(deploy: Any, drivers: Drivers) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((name, mapping(written)) for name, written in mapping(deploy).items() if name in drivers)


def _patterns(patterns: Any, path: Path) -> Iterator[Fault]:
    for index, pattern in items(patterns):
        parts = pattern.split("/") if isinstance(pattern, str) else []
        if any("**" in part and part != "**" for part in parts):
            yield Fault(
                (*path, index),
                f"{pattern!r}: ** stands for whole parts between slashes; write * or {_whole(pattern)!r}",
            )


def _whole(pattern: str) -> str:
    return pattern.replace("**", "*") + "/**"


def _required(app: Mapping[str, Any], env: Mapping[str, Any], path: Path) -> Iterator[Fault]:
    gates = list(mapping(app.get("gates")))
    for index, name in items(env.get("require")):
        if isinstance(name, str) and name not in gates:
            message = f"{name!r} is not a gate of {app.get('name')}; its gates are {', '.join(gates) or 'none'}"
            yield Fault((*path, "require"), message, index)


def earlier(item: Any) -> Any:
    """Return the environment that an item of `after` names, whether it has a soak time or not; else the item."""
    return next(iter(item), None) if isinstance(item, dict) else item


def _afters(env: Mapping[str, Any], names: Sequence[str], path: Path) -> Iterator[Fault]:
    before: list[Any] = []
    for index, item in items(env.get("after")):
        name = earlier(item)
        if item not in before and name in map(earlier, before):  # the same item twice is the schema's to report
            yield Fault((*path, "after"), f"{name!r} is there twice, with another soak time", index)
        before.append(item)
        if isinstance(name, str) and name not in names:
            yield Fault((*path, "after"), f"{name!r} is not an environment; {closest(name, names)}", index)


def _freezes(env: Mapping[str, Any], path: Path) -> Iterator[Fault]:
    """Yield days and time zones that do not exist, and windows that end before they begin."""
    for index, item in items(env.get("freeze")):
        at, known = (*path, "freeze", index), dict[str, Any]()
        for name, read in (("from", moment), ("to", moment), ("zone", zone)):
            text = mapping(item).get(name)
            if not isinstance(text, str):
                continue
            try:
                known[name] = read(text)
            except ValueError as error:
                if name == "zone":
                    yield Fault((*at, name), str(error))
                elif text[:1] == "2":  # any other shape is the schema's to report
                    yield Fault((*at, name), f"{text!r} is not a day of the calendar")
        if len(known) < 3:
            continue
        opens, closes = known["from"], known["to"]
        if type(opens) is not type(closes):
            yield Fault((*at, "to"), "must be a date if `from` is one, and a time of the week if `from` is one")
        elif opens == closes or (isinstance(opens, datetime) and closes < opens):
            yield Fault((*at, "to"), "must be later than `from`: the window is never open")


def _circles(environments: Sequence[tuple[int, Mapping[str, Any]]], path: Path) -> Iterator[Fault]:
    """Yield environments that would wait for themselves; each circle is reported once, at its first member."""
    after = {env.get("name"): [earlier(place) for _, place in items(env.get("after"))] for _, env in environments}
    reported: set[Any] = set()
    for index, env in environments:
        circle = _circle(env.get("name"), after)
        if circle and not reported & set(circle):
            reported |= set(circle)
            yield Fault((*path, index, "after"), f"goes in a circle: {' → '.join(circle)}; leave one of them out")


def _circle(start: Any, after: Mapping[Any, Sequence[Any]]) -> list[str]:
    """Return a way from `start` back to itself; empty if there is none."""
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


def _deploy(deploy: Any, path: Path, clusters: Sequence[str], drivers: Drivers) -> Iterator[Fault]:
    for name, written in _sections(deploy, drivers):
        found = drivers[name].faults(written, clusters)
        yield from (Fault((*path, name, *fault.path), fault.message, fault.key) for fault in found)


def _tagless(deploy: Any, path: Path, drivers: Drivers) -> Iterator[Fault]:
    """Yield places where the name of a tag is wanted, in an application that ships none."""
    for name, written in _sections(deploy, drivers):
        for at in drivers[name].tagged(written):
            yield Fault((*path, name, *at), "${tag} is never known, since the application ships no tags; give it tags")


NOBODY = "nobody may deploy, retry, roll back, pause, freeze, cancel or override: name groups of people as `operators:`"

NOTHING = "nothing is ever deployed here: promotion is manual, and nobody may deploy"


UNHEARD = (
    "no review counts: pull requests are for branches, and the application ships tags alone; add `any-branch: true`"
)


def warnings(app: Mapping[str, Any], path: Path) -> Iterator[Fault]:
    """Find what works in a faultless application but is unwise: no operators, several refs that feed its targets.

    Or a gate that waits for reviews which cannot count.
    """
    if not app.get("operators"):
        yield Fault(path, NOBODY)
        for index, env in enumerate(app["environments"]):
            if env.get("promote") == "manual":
                yield Fault((*path, "environments", index, "promote"), NOTHING)
    for name, gate in app.get("gates", {}).items():
        if "github-review" in gate and not gate.get("any-branch") and not app.get("branches"):
            yield Fault((*path, "gates", name), UNHEARD)
    refs = [*(f"branch {name}" for name in app.get("branches", ())), *(f"tag {name}" for name in app.get("tags", ()))]
    if len(refs) > 1 or any("*" in ref or "?" in ref for ref in refs):
        yield Fault(
            path, f"several refs feed each environment ({', '.join(refs)}): whichever is pushed last is deployed"
        )
