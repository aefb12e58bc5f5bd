"""The journal of a commit or a target in words. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenlight.events import types
from greenlight.ledger.journal import summary
from greenlight.model.rows import Entry
from greenlight.policy.signals import parts

Payload = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sentence:
    """An entry as people read it."""

    at: str  # RFC 3339
    state: str  # whose shape and colour it has
    what: str
    more: str = ""
    link: str | None = None  # its evidence, if that is an address
    minor: bool = False  # left out unless everything is asked for


def story(entries: Sequence[Entry], author: str = "", titles: Mapping[str, str] | None = None) -> Sequence[Sentence]:
    """Return entries in words, newest first.

    `author` is who made the commit, as far as is known; `titles` names commits by sha, where entries are about several.
    """
    return [_sentence(entry, author, titles or {}) for entry in reversed(entries)]


def _sentence(entry: Entry, author: str, titles: Mapping[str, str]) -> Sentence:
    payload = entry.payload
    if "unreadable" in payload:
        return Sentence(entry.at, "error", f"{entry.type} cannot be read", str(payload["unreadable"]))
    words = _SENTENCES.get(entry.type)
    details = payload.get("details")
    it = {
        **payload,
        **(details if isinstance(details, dict) else {}),
        "author": author,
        "title": titles.get(str(payload.get("sha")), ""),
    }
    if words is not None:
        state, what, more, minor = words(it)
        return Sentence(entry.at, state, what, more, _address(payload), minor)
    if payload.get("signal"):
        return Sentence(entry.at, _outcome(it), f"{called(str(it['signal']))} {_word(it)}", "", _address(payload))
    return Sentence(entry.at, "none", entry.type, summary(payload), _address(payload), minor=True)


def called(signal: str) -> str:
    """Return a signal as people call it: "CircleCI workflow build-test"."""
    kind, _, name = parts(signal)
    kinds = {
        "circleci.workflow": "CircleCI workflow",
        "circleci.job": "CircleCI job",
        "github.check": "Check",
        "github.status": "Status",
        "github.workflow": "Workflow",
        "github.review": "Review of",
        "webhook": "",
        "event": "Event",
    }
    return f"{kinds.get(kind, kind)} {name}".strip()


Words = tuple[str, str, str, bool]


def _push(it: Payload) -> Words:
    refs = ", ".join(str(ref).split("/", 2)[-1] for ref in it.get("refs") or ())
    who = it.get("author") or "Somebody"
    if it.get("deleted"):
        return "none", f"{refs} was deleted", "", False
    forced = "forced; the earlier commits of the branch are superseded" if it.get("forced") else ""
    return (
        "done",
        f"{who} pushed to {refs or 'a ref that is not known'}",
        forced or "the sender's signature was right",
        False,
    )


def _gate(it: Payload) -> Words:
    name = parts(str(it.get("signal", "")))[2] or "a gate"
    return _outcome(it), f"{name} {_word(it)}", "", False


def _approved(it: Payload) -> Words:
    return "passed", f"{it.get('person')} approved {it.get('gate')}", _quoted(it.get("comment")), False


def _revoked(it: Payload) -> Words:
    return "revoked", f"{it.get('person')} revoked {it.get('gate')}", _quoted(it.get("comment")), False


def _overrode(it: Payload) -> Words:
    where = f"{it.get('person')} passed {it.get('gate')} for {it.get('environment')}"
    return "overridden", where, _quoted(it.get("reason")), False


def _asked(it: Payload) -> Words:
    what = {"deploy": "a deployment", "retry": "another try", "rollback": "a rollback"}.get(str(it.get("kind")), "it")
    return (
        "pending",
        f"{it.get('person')} asked for {what} to {it.get('environment')}",
        _quoted(it.get("reason")),
        False,
    )


def _decided(it: Payload) -> Words:
    state = {"ready": "done", "blocked": "blocked", "superseded": "superseded"}.get(str(it.get("decision")), "pending")
    what = f"Decided for {it.get('environment')}: {it.get('decision')}"
    return state, what, "; ".join(map(str, it.get("reasons") or ())), True


def _ready(it: Payload) -> Words:
    return "done", f"Ready for {it.get('environment')}", "", True


def _began(it: Payload) -> Words:
    cause = "" if it.get("cause") in (None, "automatic") else f" ({it.get('cause')})"
    return "superseded", f"The deployment to {it.get('environment')} began{cause}", str(it["title"]), False


def _ended(state: str, how: str) -> Callable[[Payload], Words]:
    def words(it: Payload) -> Words:
        more = [str(it["title"]), str(it.get("reason") or "")]
        return state, how.format(it.get("environment")), " · ".join(part for part in more if part), False

    return words


def _target(state: str, how: str) -> Callable[[Payload], Words]:
    def words(it: Payload) -> Words:
        return state, f"{it.get('person')} {how} {it.get('environment')}", _quoted(it.get("reason")), False

    return words


def _froze(it: Payload) -> Words:
    begins, until = (str(it.get(name))[:16].replace("T", " ") for name in ("from", "until"))
    what = f"{it.get('person')} froze {it.get('environment')} from {begins} to {until} UTC"
    return "frozen", what, _quoted(it.get("reason")), False


def _unfroze(it: Payload) -> Words:
    what = f"{it.get('person')} ended {it.get('frozen_by')}’s freeze of {it.get('environment')}"
    return "succeeded", what, _quoted(it.get("reason")), False


def _request(how: str) -> Callable[[Payload], Words]:
    def words(it: Payload) -> Words:
        who = it.get("requested_by") or it.get("person") or "somebody"
        return "none", f"The request of {who} for {it.get('environment')} {how}", _quoted(it.get("reason")), False

    return words


_SENTENCES: Mapping[str, Callable[[Payload], Words]] = {
    "com.github.push": _push,
    types.GATE_PASSED: _gate,
    types.GATE_FAILED: _gate,
    types.APPROVAL_GRANTED: _approved,
    types.APPROVAL_REVOKED: _revoked,
    types.GATE_OVERRIDDEN: _overrode,
    types.DEPLOYMENT_REQUESTED: _asked,
    "decision": _decided,
    types.PROMOTION_READY: _ready,
    types.DEPLOYMENT_APPLIED: lambda it: ("running", f"Handed to {it.get('environment')}", "", True),
    types.DEPLOYMENT_PROGRESSING: lambda it: ("running", f"Still under way in {it.get('environment')}", "", True),
    "deployment.started": _began,
    types.DEPLOYMENT_SUCCEEDED: _ended("succeeded", "Runs in {}"),
    types.DEPLOYMENT_FAILED: _ended("failed", "The deployment to {} failed"),
    types.DEPLOYMENT_ERROR: _ended("error", "The deployment to {} ended in error"),
    types.DEPLOYMENT_SUPERSEDED: _ended("superseded", "The deployment to {} was superseded"),
    types.DEPLOYMENT_CANCELED: _ended("canceled", "The deployment to {} was canceled"),
    types.CANCEL_REQUESTED: _target("canceled", "asked to end the deployment to"),
    types.TARGET_PAUSED: _target("paused", "paused"),
    types.TARGET_RESUMED: _target("succeeded", "resumed"),
    types.TARGET_FROZEN: _froze,
    types.TARGET_UNFROZEN: _unfroze,
    "request.expired": _request("expired"),
    "request.canceled": _request("was withdrawn"),
    "request.overtaken": _request("was overtaken"),
}
"""What an entry of a type says: state, sentence, detail, and whether it is left out of the short form."""


def _outcome(it: Payload) -> str:
    return {"passed": "passed", "failed": "failed"}.get(str(it.get("outcome")), "pending")


def _word(it: Payload) -> str:
    outcome = str(it.get("outcome") or "")
    return {"passed": "passed", "failed": "failed", "said": "was reported"}.get(outcome, outcome)


def _quoted(text: Any) -> str:
    return f"“{text}”" if text else ""


def _address(payload: Payload) -> str | None:
    """Return the evidence, if a browser may open it."""
    evidence = payload.get("evidence")
    return evidence if isinstance(evidence, str) and evidence.startswith(("https://", "http://")) else None
