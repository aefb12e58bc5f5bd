"""Checks of `greenlight doctor` on one machine. They change nothing.

A check that finds something wrong is distinguished from one that could not find out. The checks on one machine are here,
what in a cluster in cluster.py, and what both have in common, the clusters that are deployed to, in targets.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from greenlight.deployer.drivers.registry import DRIVERS
from greenlight.entrypoints.doctor.findings import OK, SKEW, UNKNOWN, WRONG, Finding, checked
from greenlight.entrypoints.doctor.targets import targets
from greenlight.lib.clock import Clock
from greenlight.lib.errors import ConfigurationError, Unavailable
from greenlight.model.policy import Pipeline
from greenlight.policy.checks import NOBODY
from greenlight.policy.gates.approval import Approval
from greenlight.service.configuration import read_pipeline
from greenlight.service.health import DOWN

LATE = 60.0
"""Seconds that an event may wait for a Trigger before something is wrong with it."""


class Running(Protocol):
    """A running Greenlight. Both raise Unavailable where none answers, ConfigurationError where it refuses."""

    def readiness(self) -> Mapping[str, Any] | None:
        """Return None if it is ready, else the problem in its answer.

        The problem's reason tells whether waiting helps (service/health.py).
        """
        ...

    def get(self, path: str) -> Mapping[str, Any]:
        """Return a document of its API."""
        ...


def machine(config: Path, data: Path, secrets: Path, clock: Clock, running: Running) -> Iterator[Finding]:
    """Yield the findings about one machine: its files, and the Greenlight that runs there."""
    pipeline: list[Pipeline] = []
    yield from checked("pipeline", lambda: _pipeline(config, pipeline))
    yield from checked("people", lambda: _people(config, pipeline))
    if pipeline:
        yield from checked("secrets", lambda: _secrets(pipeline[0], secrets))
        yield from checked("feedback", lambda: _feedback(config, secrets))
        yield from checked("operators", lambda: _operators(pipeline[0]))
        yield from checked("deploys", lambda: _deploys(pipeline[0], data, clock))
    yield from checked("login", lambda: login(os.environ, secrets, clock))
    yield from checked("running", lambda: _running(running))
    yield from table(os.environ)
    if pipeline:
        directory = next(iter(pipeline[0].applications.values())).directory
        yield from targets(pipeline[0], Path(directory), clock)


def senders(pipeline: Pipeline) -> Mapping[str, str]:
    """Return the senders that need a secret, and why: by the name of the secret's file."""
    found = {"github": "pushes come from GitHub"}
    for policy in pipeline.applications.values():
        for gate in policy.gates.values():
            if gate.sender is not None:
                found.setdefault(gate.sender, f"the gate {gate.name} of {policy.name} waits for it")
    return found


def present(pipeline: Pipeline, files: Iterable[str], where: str, todo: str) -> Iterator[Finding]:
    """Yield the findings about secrets: is there one for every sender? Those for one owner or repository alone count."""
    there = {name.partition("@")[0] for name in files}
    wanted = senders(pipeline)
    for sender, why in wanted.items():
        if sender not in there:
            yield Finding("secrets", WRONG, f"{where} has no secret for {sender}, and {why}", todo.format(sender))
    if there >= set(wanted):
        yield Finding("secrets", OK, f"{where} has one for each of {', '.join(wanted)}")


def table(env: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the findings about the settings of the ledger's table, where it is on DynamoDB."""
    kind, _, name = env.get("GREENLIGHT_LEDGER", "").partition(":")
    if kind == "dynamodb":
        yield from checked("table", lambda: _table(name))


def login(env: Mapping[str, str], folder: Path, clock: Clock) -> Iterator[Finding]:
    """Yield the findings about login: its settings, the client secrets, and whether the provider can be asked."""
    from greenlight.board.login.provider import LoginFailed
    from greenlight.board.login.web import providers
    from greenlight.entrypoints.login_secrets import login_secret
    from greenlight.entrypoints.login_settings import login_config
    from greenlight.service.secrets import Secrets
    from greenlight.webhooks.providers.registry import FILES

    problems: list[str] = []
    config = login_config(env, problems, one_machine=True)
    if problems:
        raise ConfigurationError("\n".join(problems))
    if config.oidc is None and config.github is None:
        return
    secret = login_secret(config, Secrets(folder, FILES))
    for provider in providers(config, secret, clock).values():
        try:
            provider.check()
        except LoginFailed as problem:
            yield Finding("login", WRONG, str(problem), "docs/login.md describes the settings")
        else:
            yield Finding("login", OK, f"{provider.title} can be asked")
    if config.url is None:
        yield Finding(
            "login", WRONG, "GREENLIGHT_BOARD_URL is not set, so only this machine can log in", "set it to https://HOST"
        )


def _pipeline(config: Path, found: list[Pipeline]) -> Iterator[Finding]:
    found.append(read_pipeline(config, DRIVERS))
    yield Finding("pipeline", OK, f"{config} describes {', '.join(found[0].applications)}")


def _operators(pipeline: Pipeline) -> Iterator[Finding]:
    """Yield the findings about each application's operators."""
    for policy in pipeline.applications.values():
        if not policy.operators:
            yield Finding(
                "operators", WRONG, f"{policy.name}: {NOBODY}", "add it to the application in the pipeline file"
            )
        else:
            yield Finding("operators", OK, f"{policy.name} is operated by {', '.join(policy.operators)}")


def _people(config: Path, pipeline: Sequence[Pipeline]) -> Iterator[Finding]:
    from greenlight.service.people import ADD, NAME_THEM, read, without_identity

    people = read(config / "people.yaml")
    gates = [gate for each in pipeline for policy in each.applications.values() for gate in policy.gates.values()]
    asked = {group for gate in gates if isinstance(gate, Approval) and gate.not_author for group in gate.groups}
    lacking = without_identity(people.values())
    for id in lacking:
        state = WRONG if asked & set(people[id].groups) else OK
        text = f"{id} has neither `github` nor `emails`, so nobody can tell whether they are an author"
        yield Finding(
            "people", state, text, f"{NAME_THEM} in people.yaml: without, no gate with `not: author` counts them"
        )
    if people:
        yield Finding("people", OK, f"{len(people)} are known")
    else:
        yield Finding("people", WRONG, f"{config}/people.yaml names nobody, so nobody can approve or operate", ADD)


def _secrets(pipeline: Pipeline, folder: Path) -> Iterator[Finding]:
    from greenlight.service.secrets import Secrets
    from greenlight.webhooks.providers.registry import FILES

    files = {secret.file for secret in Secrets(folder, FILES).all()}
    yield from present(pipeline, files, str(folder), "greenlight up makes it when it starts, or write one into {}")


def _feedback(config: Path, folder: Path) -> Iterator[Finding]:
    """Yield the findings about reports on GitHub, where they are configured."""
    from greenlight.feedback.configuration import NAME, read
    from greenlight.feedback.github.credentials import KEY, TOKEN
    from greenlight.service.secrets import Secrets
    from greenlight.webhooks.providers.registry import FILES

    configuration = read(config / NAME)
    app = configuration.app
    files = {secret.file for secret in Secrets(folder, FILES).all()}
    if app is not None and KEY not in files:
        text = f"{NAME} names the GitHub App {app}, and {folder} has no file {KEY}, so nothing is reported on GitHub"
        yield Finding("feedback", WRONG, text, f"put the private key of the App into {folder / KEY}")
    elif app is not None or TOKEN in files:
        yield Finding("feedback", OK, f"commits are reported on GitHub by {f'the App {app}' if app else 'a token'}")
    for name in configuration.destinations:
        if f"notify-{name}" not in files:
            text = (
                f"{NAME} names the destination {name}, and {folder} has no file notify-{name}, so nothing is sent there"
            )
            yield Finding("feedback", WRONG, text, f"write its URL or secret into {folder / f'notify-{name}'}")


def _deploys(pipeline: Pipeline, data: Path, clock: Clock) -> Iterator[Finding]:
    from greenlight.entrypoints.drivers import Drivers
    from greenlight.lib.scrub import Scrubber

    drivers = Drivers(data / "deployer", Scrubber(), clock)
    try:
        problems = drivers.problems(pipeline)
    finally:
        drivers.close()
    for problem in problems:
        yield Finding("deploys", WRONG, problem, "install it, or change `deploy` in the pipeline file")
    if not problems:
        yield Finding("deploys", OK, "everything that the pipeline's deployments need is there")


def _running(running: Running) -> Iterator[Finding]:
    problem = running.readiness()
    if problem is None:
        yield Finding("running", OK, "Greenlight is ready")
    else:
        todo = (
            "it continues by itself once that is available again"
            if problem["reason"] == DOWN
            else "repair that, then start it again"
        )
        yield Finding("running", WRONG, f"not ready: {problem['reason']}: {problem['detail']}", todo)
    for row in running.get("/unreadable")["rows"]:
        yield Finding(
            "ledger",
            WRONG,
            f"the row {row['key']} of {row['table']} cannot be read since {row['since']}: {row['why']}",
            "nothing that depends on it is done until it is repaired: docs/operations.md, Unreadable rows",
        )
    triggers = running.get("/triggers")["triggers"]
    worst = [trigger for trigger in triggers if (trigger["oldest"] or 0) > LATE]
    for trigger in worst:
        yield Finding(
            "triggers",
            WRONG,
            f"{trigger['trigger']} has events that wait for {trigger['oldest']:.0f} s, "
            f"{trigger['retrying']} of them refused so far",
            "greenlight broker triggers shows the subscriber; its log says why it refuses",
        )
    dead = sum(trigger["dead_letters"] for trigger in triggers)
    if dead:
        yield Finding(
            "dead letters",
            WRONG,
            f"{dead} events could not be delivered",
            "greenlight dead-letters list, then replay or discard them",
        )
    if not worst and not dead:
        yield Finding("triggers", OK, f"{len(triggers)} deliver, and there is no dead letter")
    for failing in running.get("/notifications")["failing"]:
        name = failing["destination"]
        text = f"the destination {name} has taken no message since {failing['since']}: {failing['reason']}"
        yield Finding("notifications", WRONG, text, f"repair it, then: greenlight notify test {name}")
    yield from _senders(running.get("/senders"))


def _senders(status: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the findings about renamed or silent repositories, and the clocks of senders and this machine."""
    for repository in status["repositories"]:
        repo, called, silent_since = repository["repo"], repository["called"], repository["silent_since"]
        if called != repo:
            text = f"{repo} is called {called} now, so none of its webhooks is accepted"
            yield Finding("repositories", WRONG, text, f"change `repo: {repo}` in the pipeline file")
        elif silent_since is not None:
            text = f"{repo} has sent no push since {silent_since}, more than twice its longest pause"
            todo = "look at the recent deliveries in the settings of its webhook, or remove it from the pipeline file"
            yield Finding("repositories", WRONG, text, todo)
        for lost in repository["lost_pushes"]:
            todo = "look at the recent deliveries in the settings of its webhook, or of the App; then push to it again"
            yield Finding("repositories", WRONG, lost["text"], todo)
        if repository["found_by_asking"]:
            text = (
                f"the webhook of {repo} is broken: {repository['found_by_asking']} facts of the last 7 days were found "
                "only by asking GitHub"
            )
            todo = "look at the recent deliveries in the settings of its webhook, or of the App"
            yield Finding("repositories", WRONG, text, todo)
    ahead = [clock for clock in status["clocks_ahead"] if clock["seconds"] > SKEW.total_seconds()]
    if len(ahead) > 1:
        most, who = max(clock["seconds"] for clock in ahead), ", ".join(clock["sender"] for clock in ahead)
        text = (
            f"the clocks of {len(ahead)} senders ({who}) are ahead by up to {most} s: this machine's seems to be behind"
        )
        yield Finding(
            "clock", WRONG, text, "set it by NTP; until then the times of these senders count as their arrival"
        )


def _table(name: str) -> Iterator[Finding]:
    from greenlight.ledger.dynamodb import aws
    from greenlight.ledger.dynamodb import table as dynamodb_table
    from greenlight.ledger.dynamodb.client import Dynamo
    from greenlight.lib.errors import Misconfigured

    states = {dynamodb_table.HOLDS: OK, dynamodb_table.DIFFERS: WRONG}
    try:
        for finding in dynamodb_table.check(Dynamo(aws.Service("dynamodb", aws.account()), name)):
            wanted = "" if finding.found == finding.wanted else f", should be {finding.wanted}"
            text = f"{name}: {finding.setting}: {finding.found}{wanted}"
            yield Finding("table", states.get(finding.verdict, UNKNOWN), text, finding.to_do)
    except Misconfigured as problem:
        raise ConfigurationError(f"{name}: {problem}") from problem
    except Unavailable as problem:
        raise Unavailable(f"{name}: {problem}") from problem
