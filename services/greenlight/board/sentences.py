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


def in_words(entries: Sequence[Entry], author: str = "", titles: Mapping[str, str] | None = None) -> Sequence[Sentence]:
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
    values = {
        **payload,
        **(details if isinstance(details, dict) else {}),
        "author": author,
        "title": titles.get(str(payload.get("sha")), ""),
    }
    if words is not None:
        state, what, more, minor = words(values)
        return Sentence(entry.at, state, what, more, _address(payload), minor)
    if payload.get("signal"):
        what = f"{called(str(values['signal']))} {_word(values)}"
        return Sentence(entry.at, _outcome(values), what, "", _address(payload))
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


def _push(payload: Payload) -> Words:
    refs = ", ".join(str(ref).split("/", 2)[-1] for ref in payload.get("refs") or ())
    who = payload.get("author") or "Somebody"
    if payload.get("deleted"):
        return "none", f"{refs} was deleted", "", False
    forced = "forced; the earlier commits of the branch are superseded" if payload.get("forced") else ""
    return (
        "done",
        f"{who} pushed to {refs or 'a ref that is not known'}",
        forced or "the sender's signature was right",
        False,
    )


def _gate(payload: Payload) -> Words:
    name = parts(str(payload.get("signal", "")))[2] or "a gate"
    return _outcome(payload), f"{name} {_word(payload)}", "", False


def _approved(payload: Payload) -> Words:
    return "passed", f"{payload.get('person')} approved {payload.get('gate')}", _quoted(payload.get("comment")), False


def _revoked(payload: Payload) -> Words:
    return "revoked", f"{payload.get('person')} revoked {payload.get('gate')}", _quoted(payload.get("comment")), False


def _overrode(payload: Payload) -> Words:
    where = f"{payload.get('person')} passed {payload.get('gate')} for {payload.get('environment')}"
    return "overridden", where, _quoted(payload.get("reason")), False


def _asked(payload: Payload) -> Words:
    kinds = {"deploy": "a deployment", "retry": "another try", "rollback": "a rollback"}
    kind = kinds.get(str(payload.get("kind")), "it")
    what = f"{payload.get('person')} asked for {kind} to {payload.get('environment')}"
    return "pending", what, _quoted(payload.get("reason")), False


def _decided(payload: Payload) -> Words:
    states = {"ready": "done", "blocked": "blocked", "superseded": "superseded"}
    state = states.get(str(payload.get("decision")), "pending")
    what = f"Decided for {payload.get('environment')}: {payload.get('decision')}"
    return state, what, "; ".join(map(str, payload.get("reasons") or ())), True


def _ready(payload: Payload) -> Words:
    return "done", f"Ready for {payload.get('environment')}", "", True


def _began(payload: Payload) -> Words:
    cause = "" if payload.get("cause") in (None, "automatic") else f" ({payload.get('cause')})"
    return "superseded", f"The deployment to {payload.get('environment')} began{cause}", str(payload["title"]), False


def _under_way(how: str) -> Callable[[Payload], Words]:
    return lambda payload: ("running", how.format(payload.get("environment")), "", True)


def _ended(state: str, how: str) -> Callable[[Payload], Words]:
    def words(payload: Payload) -> Words:
        more = [str(payload["title"]), str(payload.get("reason") or "")]
        return state, how.format(payload.get("environment")), " · ".join(part for part in more if part), False

    return words


def _target(state: str, how: str) -> Callable[[Payload], Words]:
    def words(payload: Payload) -> Words:
        what = f"{payload.get('person')} {how} {payload.get('environment')}"
        return state, what, _quoted(payload.get("reason")), False

    return words


def _froze(payload: Payload) -> Words:
    begins, until = (str(payload.get(name))[:16].replace("T", " ") for name in ("from", "until"))
    what = f"{payload.get('person')} froze {payload.get('environment')} from {begins} to {until} UTC"
    return "frozen", what, _quoted(payload.get("reason")), False


def _unfroze(payload: Payload) -> Words:
    what = f"{payload.get('person')} ended {payload.get('frozen_by')}’s freeze of {payload.get('environment')}"
    return "succeeded", what, _quoted(payload.get("reason")), False


def _carried(payload: Payload) -> Words:
    return "none", f"Known before as a commit of {payload.get('formerly')}", "", False


def _request(how: str) -> Callable[[Payload], Words]:
    def words(payload: Payload) -> Words:
        who = payload.get("requested_by") or payload.get("person") or "somebody"
        what = f"The request of {who} for {payload.get('environment')} {how}"
        return "none", what, _quoted(payload.get("reason")), False

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
    types.DEPLOYMENT_APPLIED: _under_way("Handed to {}"),
    types.DEPLOYMENT_PROGRESSING: _under_way("Still under way in {}"),
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
    "repository.changed": _carried,
    "request.expired": _request("expired"),
    "request.canceled": _request("was withdrawn"),
    "request.overtaken": _request("was overtaken"),
}
"""What an entry of a type says: state, sentence, detail, and whether it is left out of the short form."""


def _outcome(payload: Payload) -> str:
    return {"passed": "passed", "failed": "failed"}.get(str(payload.get("outcome")), "pending")


def _word(payload: Payload) -> str:
    outcome = str(payload.get("outcome") or "")
    return {"passed": "passed", "failed": "failed", "said": "was reported"}.get(outcome, outcome)


def _quoted(text: Any) -> str:
    return f"“{text}”" if text else ""


def _address(payload: Payload) -> str | None:
    """Return the evidence, if a browser may open it."""
    evidence = payload.get("evidence")
    return evidence if isinstance(evidence, str) and evidence.startswith(("https://", "http://")) else None
