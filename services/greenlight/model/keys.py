"""The ledger's keys: streams of the journal, keys of what is due, and keys inside a record. Built and parsed here only.

A key is words between slashes. Its first word names its kind, so that keys of two kinds are never equal:

| key | names |
| --- | --- |
| commit/OWNER/NAME/SHA, target/APPLICATION/ENVIRONMENT | the stream of a commit, of a target |
| repository/OWNER/NAME, clocks/DATE | the stream of a repository's names, of senders' clocks that day |
| pull/OWNER/NAME/NUMBER, tree/OWNER/NAME/TREE | the stream of a pull request's reviews, of the commits with one tree |
| fact/ID, record/OWNER/NAME/SHA | a fact is due to be recorded, a record to be decided |
| decision/APPLICATION/ENVIRONMENT/OWNER/NAME/SHA | a decision ends by time alone |
| deployment/ID, withdrawn/ID | a promotion and its deployment are due to go on, a withdrawn one to be decided anew |
| request/APPLICATION/ENVIRONMENT/FACT, canceled/FACT | a request expires, the end of a canceled one is due to be decided |
| cancel/DEPLOYMENT | the end of a deployment that a person canceled is due |
| resumed/APPLICATION/ENVIRONMENT | a target that goes on again is due to be decided |
| feedback/OWNER/NAME/SHA | the stream of what was reported of a commit outside Greenlight |
| destinations/failing | the stream of which destinations of notifications fail |
| notification-test/ID | the stream of a test of destinations: who asked for it, and the results |
| found/OWNER/NAME/MONTH | the stream of the facts of a repository that were found only by asking, that month |
| heads/OWNER/NAME | the stream of the heads of a repository's branches that no webhook reported |
| look/OWNER/NAME | a repository is due to be looked at on its provider |
| report/OWNER/NAME/SHA | a commit is due to be reported again |
| policy/DIGEST/APPLICATION/ENVIRONMENT | a target is due to be decided under an edited policy |
"""

from __future__ import annotations

from datetime import date

NAME = r"[a-z0-9][a-z0-9_-]{0,62}"
"""How operators write names: of applications, environments, gates, groups, people. None has a slash, so keys can join them."""

_COMMIT, _TARGET = "commit", "target"


def of(*names: str) -> str:
    """Join names to a key inside a record, or the partition key of a target's events.

    APPLICATION/ENVIRONMENT, APPLICATION/GATE or APPLICATION/ENVIRONMENT/GATE.
    """
    return "/".join(names)


def commit_stream(repo: str, sha: str) -> str:
    """Name the journal of a commit: its facts and the decisions on it."""
    return of(_COMMIT, repo, sha)


def is_commit_stream(stream: str) -> bool:
    """Return whether a stream is the journal of a commit."""
    return stream.startswith(f"{_COMMIT}/")


def target_stream(application: str, environment: str) -> str:
    """Name the journal of a target: its promotions, deployments and requests."""
    return of(_TARGET, application, environment)


def repository_stream(repo: str) -> str:
    """Name the journal of what a repository is called, and when nothing was heard of it."""
    return of("repository", repo)


def clocks_stream(day: date) -> str:
    """Name the journal of the senders whose clocks were ahead on a day."""
    return of("clocks", day.isoformat())


def pull_stream(repo: str, number: object) -> str:
    """Name the journal of a pull request: its reviews, and the commit that merged it."""
    return of("pull", repo, str(number))


def tree_stream(repo: str, tree: str) -> str:
    """Name the journal of a tree: the commits that were pushed with it, and the reviews of any of them."""
    return of("tree", repo, tree)


def fact_due(fact: str) -> str:
    """Name that a fact is due to be recorded."""
    return of("fact", fact)


def record_due(repo: str, sha: str) -> str:
    """Name that a record that has changed is due to be decided."""
    return of("record", repo, sha)


def decision_due(application: str, environment: str, repo: str, sha: str) -> str:
    """Name that a commit is due to be decided again when time alone may change its decision."""
    return of("decision", application, environment, repo, sha)


def deployment_due(deployment: str) -> str:
    """Name that a promotion and its deployment are due, from promotion.ready to what follows from the end."""
    return of("deployment", deployment)


def withdrawal_due(promotion: str) -> str:
    """Name that the candidates of a target are due to be decided after a promotion was withdrawn."""
    return of("withdrawn", promotion)


def request_due(application: str, environment: str, fact: str) -> str:
    """Name that a target is due to be looked at when a request has waited too long."""
    return of("request", application, environment, fact)


def canceled_request_due(fact: str) -> str:
    """Name that the candidates of a target are due to be decided after a person canceled a request."""
    return of("canceled", fact)


def cancellation_due(deployment: str) -> str:
    """Name that the end of a deployment that a person canceled is due."""
    return of("cancel", deployment)


def resumption_due(application: str, environment: str) -> str:
    """Name that the candidates of a target that goes on again are due to be decided."""
    return of("resumed", application, environment)


def policy_due(digest: str, application: str, environment: str) -> str:
    """Name that the candidates of a target are due to be decided under an edited policy."""
    return of("policy", digest, application, environment)


def feedback_stream(repo: str, sha: str) -> str:
    """Name the journal of what was reported of a commit outside Greenlight."""
    return of("feedback", repo, sha)


def report_due(repo: str, sha: str) -> str:
    """Name that a commit is due to be reported again, after a report did not get through."""
    return of("report", repo, sha)


def destinations_stream() -> str:
    """Name the journal of which destinations of notifications fail."""
    return of("destinations", "failing")


def notification_test_stream(test: str) -> str:
    """Name the journal of one test of destinations: who asked for it, and the results."""
    return of("notification-test", test)


def found_stream(repo: str, month: str) -> str:
    """Name the journal of the facts of a repository that were found only by asking its provider in a month."""
    return of("found", repo, month)


def heads_stream(repo: str) -> str:
    """Name the journal of the heads of a repository's branches that no webhook reported."""
    return of("heads", repo)


def look_due(repo: str) -> str:
    """Name that a repository is due to be looked at on its provider."""
    return of("look", repo)
