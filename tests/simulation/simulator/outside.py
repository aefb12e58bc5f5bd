"""The world outside Greenlight: a repository with its commits and refs, and the webhooks that providers send about it.

This is what is true. The ledger knows of it only what arrives.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from greenlight.lib import signing

REPO, ZEROS = "acme/shop", "0" * 40
SECRETS = {
    "github": b"the secret of GitHub",
    "circleci": b"the secret of CircleCI",
    "gate-scan": b"whsec_c2NhbiBzZWNyZXQ=",
}
SHIPPED = ("refs/heads/main", "refs/heads/release")
"""Branches that every pipeline of a story ships; besides, it ships tags that begin with v."""


def sha_of(name: str) -> str:
    """Return the sha of the commit `cN`; a name may be of any form in a story that somebody wrote."""
    return f"{int(name.removeprefix('c')):040x}"


def name_of(sha: str) -> str:
    """Return the commit of a sha."""
    return f"c{int(sha, 16)}"


def ships(ref: str) -> bool:
    """Return whether the pipelines of a story ship that ref."""
    return ref in SHIPPED or ref.startswith("refs/tags/v")


@dataclass(frozen=True)
class Commit:
    """A commit, with its author, and what it changes."""

    name: str
    parent: str | None
    author: str
    helper: str | None = None  # a co-author, in a trailer


@dataclass(frozen=True)
class Mail:
    """A webhook that a provider sends until it is acknowledged."""

    name: str
    path: str
    headers: dict[str, str]
    body: bytes
    about: Report


@dataclass(frozen=True)
class Report:
    """The content of a webhook or a person's request, in the words of the model."""

    kind: str  # push, build, scan, approve, revoke, override, deploy, retry, rollback, pause, resume, freeze, unfreeze, cancel
    commit: str = ""
    ref: str = ""
    before: str | None = None
    after: str | None = None
    at: datetime | None = None  # by the sender's clock
    forced: bool = False
    listed: tuple[str, ...] = ()  # commits that a push lists
    pusher: str = ""
    turn: int = 0  # of a push: which one it is of its ref, from 1
    number: int = 0  # of a run
    outcome: str = ""
    person: str = ""
    gate: str = ""
    application: str = ""
    environment: str = ""
    id: str = ""


@dataclass
class Repository:
    """The repository acme/shop as it is."""

    commits: dict[str, Commit] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)

    def ancestors(self, name: str | None) -> list[str]:
        """Return the commit and all before it, newest first."""
        found = []
        while name is not None and name in self.commits:
            found.append(name)
            name = self.commits[name].parent
        return found

    def push(self, ref: str, name: str | None, pusher: str, at: datetime) -> Report:
        """Put a commit at the head of a ref, or None there; return GitHub's report of it."""
        before, turn = self.heads.get(ref), self.turns.get(ref, 0) + 1
        known = {ancestor for head in self.heads.values() for ancestor in self.ancestors(head)}
        base = set(self.ancestors(before)) if before else known
        listed = tuple(reversed([one for one in self.ancestors(name) if one not in base]))
        forced = name is not None and before is not None and before not in self.ancestors(name)
        self.turns[ref] = turn
        if name is None:
            self.heads.pop(ref, None)
        else:
            self.heads[ref] = name
        commit = name or before or ""
        return Report("push", commit, ref, before, name, at, forced, listed, pusher, turn)


class Providers:
    """GitHub, CircleCI and a scanner, with their signatures and forms."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def github_push(self, report: Report) -> Mail:
        """Make the webhook of a push."""
        assert report.at is not None
        commits = [self._commit(name, report.at) for name in report.listed]
        head = self._commit(report.after, report.at) if report.after else None
        document = {
            "ref": report.ref,
            "before": sha_of(report.before) if report.before else ZEROS,
            "after": sha_of(report.after) if report.after else ZEROS,
            "created": report.before is None,
            "deleted": report.after is None,
            "forced": report.forced,
            "base_ref": None,
            "compare": f"https://github.com/{REPO}/compare",
            "commits": commits,
            "head_commit": head,
            "repository": {
                "id": 1296269,
                "name": "shop",
                "full_name": REPO,
                "html_url": f"https://github.com/{REPO}",
                "owner": {"login": "acme", "name": "acme"},
                "default_branch": "main",
                "pushed_at": int(report.at.timestamp()),
            },
            "pusher": {"name": report.pusher, "email": f"{report.pusher}@example.com"},
            "sender": {"login": report.pusher, "id": 1, "type": "User"},
        }
        name = f"push {report.commit} {report.ref.removeprefix('refs/').removeprefix('heads/')} {report.turn}"
        return self._mail(name, "/webhooks/github", document, report, {"X-GitHub-Event": "push"})

    def circleci(self, report: Report) -> Mail:
        """Make the webhook of a workflow that ended."""
        assert report.at is not None
        document = {
            "id": f"event-{report.number}-{report.outcome}-{int(report.at.timestamp() * 1e6)}",
            "type": "workflow-completed",
            "happened_at": report.at.isoformat().replace("+00:00", "Z"),
            "project": {"id": "7b5a2f3e-0000-4000-8000-000000000001", "name": "shop", "slug": f"gh/{REPO}"},
            "organization": {"id": "7b5a2f3e-0000-4000-8000-000000000002", "name": "acme"},
            "workflow": {
                "id": f"workflow-{report.number}",
                "name": "build",
                "status": {"passed": "success"}.get(report.outcome, report.outcome),
                "url": f"https://app.circleci.com/pipelines/{report.number}",
                "created_at": report.at.isoformat().replace("+00:00", "Z"),
                "stopped_at": report.at.isoformat().replace("+00:00", "Z"),
            },
            "pipeline": {
                "id": f"pipeline-{report.number}",
                "number": report.number,
                "created_at": report.at.isoformat().replace("+00:00", "Z"),
                "vcs": {
                    "provider_name": "github",
                    "target_repository_url": f"https://github.com/{REPO}",
                    "origin_repository_url": f"https://github.com/{REPO}",
                    "revision": sha_of(report.commit),
                    "branch": report.ref.removeprefix("refs/heads/"),
                },
            },
        }
        name = f"build {report.number} {report.commit} {report.outcome}"
        return self._mail(name, "/webhooks/circleci", document, report, {"circleci-event-type": "workflow-completed"})

    def scanner(self, report: Report) -> Mail:
        """Make the webhook of a scanner's verdict."""
        assert report.at is not None
        document = {
            "repo": REPO,
            "sha": sha_of(report.commit),
            "outcome": report.outcome,
            "run": report.number,
            "at": report.at.isoformat().replace("+00:00", "Z"),
        }
        return self._mail(
            f"scan {report.number} {report.commit} {report.outcome}", "/webhooks/gates/scan", document, report, {}
        )

    def signed(self, mail: Mail, now: datetime) -> dict[str, str]:
        """Return the headers of a delivery of `mail`, sent at `now` by the sender's clock."""
        headers = dict(mail.headers)
        if mail.path == "/webhooks/github":
            headers["X-Hub-Signature-256"] = signing.github(SECRETS["github"], mail.body)
        elif mail.path == "/webhooks/circleci":
            headers["circleci-signature"] = signing.circleci(SECRETS["circleci"], mail.body)
        else:
            id, stamp = f"msg_{mail.name.replace(' ', '_')}", int(now.timestamp())
            headers["webhook-id"], headers["webhook-timestamp"] = id, str(stamp)
            secret = SECRETS["gate-scan"]
            headers["webhook-signature"] = signing.standard_webhooks(secret, id, stamp, mail.body)
        return headers

    def _commit(self, name: str, at: datetime) -> dict[str, Any]:
        commit = self._repository.commits[name]
        who = {"name": commit.author, "email": f"{commit.author}@example.com", "username": commit.author}
        trailer = f"\n\nCo-authored-by: {commit.helper} <{commit.helper}@example.com>" if commit.helper else ""
        return {
            "id": sha_of(name),
            "tree_id": f"{int(name[1:]) + 1000:040x}",
            "distinct": True,
            "message": f"Change {name}{trailer}",
            "timestamp": at.isoformat(),
            "author": who,
            "committer": {"name": "GitHub", "email": "noreply@github.com", "username": "web-flow"},
            "added": [],
            "removed": [],
            "modified": [f"src/{name}.py"],
        }

    def _mail(self, name: str, path: str, document: dict[str, Any], report: Report, headers: dict[str, str]) -> Mail:
        return Mail(name, path, headers, json.dumps(document).encode(), report)
