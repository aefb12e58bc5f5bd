"""Ids are functions of their cause, so that a repetition has the same one."""

from __future__ import annotations

import hashlib
import re


def derive(kind: str, *parts: str | int) -> str:
    """Return H(kind, parts).

    It is 32 hex digits of SHA-256 over the parts, each with its length, so that no two lists collide.
    """
    encoded = kind.encode()
    for part in parts:
        raw = str(part).encode("utf-8", "surrogatepass")
        encoded += b"\n%d:%b" % (len(raw), raw)
    return hashlib.sha256(encoded).hexdigest()[:32]


def promotion(application: str, environment: str, sha: str, n: int) -> str:
    """Return the id of a commit's n-th promotion in a target, which its deployment has as well."""
    return derive("promotion", application, environment, sha, n)


_OWN_TRACE = ("retry", "rollback")


def trace_id(repo: str, sha: str) -> str:
    """Return the trace of a commit: the first 16 bytes of SHA-256("greenlight/v1\\n" repo "\\n" sha), as hex.

    Public contract.
    """
    return hashlib.sha256(f"greenlight/v1\n{repo.lower()}\n{sha}".encode()).hexdigest()[:32]


def deployment_trace_id(repo: str, sha: str, deployment: str, cause: str) -> str:
    """Return the trace that a deployment is in: its commit's, except that a retry or rollback has one of its own."""
    if cause not in _OWN_TRACE:
        return trace_id(repo, sha)
    return hashlib.sha256(f"greenlight/v1\n{repo.lower()}\n{sha}\n{deployment}".encode()).hexdigest()[:32]


def span_id(event_id: str, step: str) -> str:
    """Return the span of one step caused by one event, as 16 hex digits, so that a redelivery adds none."""
    return hashlib.sha256(f"{event_id}\n{step}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def root_span_id(repo: str, sha: str) -> str:
    """Return the root span of a commit, the parent of everything about it."""
    return span_id(f"{repo}/{sha}", "commit")


def traceparent(repo: str, sha: str, event_id: str, step: str) -> str:
    """Return the W3C traceparent that an event of this commit carries: the span of the step that sent it.

    Always marked as sampled: what happened to the commit is in the journal, whatever a process exports.
    """
    return f"00-{trace_id(repo, sha)}-{span_id(event_id, step)}-01"


def deployment_traceparent(repo: str, sha: str, deployment: str, cause: str, step: str) -> str:
    """Return the traceparent of what belongs to a deployment; `step` is `promotion` or `deploy`."""
    return f"00-{deployment_trace_id(repo, sha, deployment, cause)}-{span_id(deployment, step)}-01"


_NOREPLY = re.compile(r"(?:[0-9]+\+)?([^@\s]+)@users\.noreply\.[a-z0-9.-]+")


def identity(kind: str, value: str) -> str:
    """Return a person's identity in the ledger: a digest of a login or e-mail, so that the chain has no address.

    `kind` is `github` or `email`. Both sides of a comparison go through here: case and a leading @ make no difference,
    and an address that GitHub gives people to hide theirs (`ID+LOGIN@users.noreply.github.com`) is the login in it.
    """
    word = value.strip().lower().lstrip("@")
    hidden = _NOREPLY.fullmatch(word) if kind == "email" else None
    return "p" + derive("person/github", hidden[1])[:16] if hidden else "p" + derive(f"person/{kind}", word)[:16]
