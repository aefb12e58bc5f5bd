"""`github-check: {name: NAME}`: a check run on GitHub has passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from greenlight.model.policy import Situation
from greenlight.model.rows import Run, Signal
from greenlight.policy.gates.kind import Schema
from greenlight.policy.gates.signal import SignalGate
from greenlight.policy.signals import owned, parts


@dataclass(frozen=True, kw_only=True)
class GithubCheck(SignalGate):
    """A check of that name has passed, of every app that makes one, or of one app; in each of its check suites."""

    kind = "github-check"
    schema: ClassVar[Schema] = {
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {
            "name": {"$ref": "#/$defs/text"},
            "app": {
                "description": "Slug of the app that makes the check, such as github-actions. Without it, that of every "
                "app that makes one has to pass.",
                "type": "string",
                "pattern": "^[A-Za-z0-9._-]{1,100}$",
                "errorMessage": "must be the slug of a GitHub App, such as github-actions",
            },
        },
    }
    signal = "github.check"
    of_a_ref = True

    check: str
    app: str | None = None

    @classmethod
    def fields(cls, written: Mapping[str, Any]) -> Mapping[str, Any]:
        wants = written["github-check"]
        return {"check": wants["name"], "app": wants.get("app")}

    @property
    def subject(self) -> str:
        return f"check {self.check}" + (f" of {self.app}" if self.app else "")

    def reads(self, key: str) -> bool:
        kind, _, name = parts(key)
        return kind == "github.check" and owned(name, self.app, self.check)

    def own_signals(self, case: Situation) -> Mapping[str, Mapping[str, Signal]]:
        """Leave out what a fork's run made: its suite has the fork's branch, which may be called as a shipped one is."""
        runs = case.record.runs
        return {key: by_ref for key, by_ref in super().own_signals(case).items() if not _is_foreign(key, runs)}

    def _why_pending(self, case: Situation, by_key: Mapping[str, Mapping[str, Signal]]) -> str:
        if not by_key and super().own_signals(case):
            return f"{self.subject} was heard for a fork only, whose runs never count"
        return super()._why_pending(case, by_key)

    def without_replaced(self, signals: Mapping[str, Signal], runs: Mapping[str, Run]) -> Mapping[str, Signal]:
        """Leave out a check suite that a later one of the same workflow replaces, where both are known to be of it, too."""
        latest: dict[tuple[str, ...], str] = {}
        for key in signals:
            one = _workflow(key, runs)
            if one not in latest or _number(key, runs) > _number(latest[one], runs):
                latest[one] = key
        return super().without_replaced({key: signals[key] for key in latest.values()}, runs)

    def origin(self, key: str, runs: Mapping[str, Run]) -> str:
        _, source, name = parts(key)
        if not source:
            return f"app {name.partition('/')[0]}"
        run = runs.get(source)
        return f"check suite {source}" + (f" of workflow {run.workflow}" if run else "")


def _is_foreign(key: str, runs: Mapping[str, Run]) -> bool:
    run = runs.get(parts(key)[1])
    return run is not None and run.foreign


def _workflow(key: str, runs: Mapping[str, Run]) -> tuple[str, ...]:
    """Return the key of what a later fact replaces.

    It is the check's suite, or the workflow that is known to have made the suite.
    """
    _, source, name = parts(key)
    run = runs.get(source)
    return (key,) if run is None else (name, run.workflow)


def _number(key: str, runs: Mapping[str, Run]) -> int:
    run = runs.get(parts(key)[1])
    return 0 if run is None else run.number
