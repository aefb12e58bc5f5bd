"""`github-workflow: {name: NAME}` or `{path: FILE}`: a workflow of GitHub Actions has passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import unquote

from greenlight.model.policy import Situation
from greenlight.model.rows import Run, Signal
from greenlight.policy.gates.kind import Schema
from greenlight.policy.gates.signal import SignalGate
from greenlight.policy.signals import age, parts


@dataclass(frozen=True, kw_only=True)
class GithubWorkflow(SignalGate):
    """A workflow of that name or file has passed, for the runs of every event that starts it, or of one."""

    kind = "github-workflow"
    schema: ClassVar[Schema] = {
        "type": "object",
        "kindOf": "name or path",
        "additionalProperties": False,
        "properties": {
            "name": {"$ref": "#/$defs/text"},
            "path": {
                "description": "The workflow's file, which stays the same where its name changes, such as "
                ".github/workflows/ci.yml.",
                "$ref": "#/$defs/text",
            },
            "event": {
                "description": "What starts the runs that count. Without it, every event's runs have to pass.",
                "type": "string",
                "pattern": "^[a-z_]{1,64}$",
                "errorMessage": "must be an event that starts workflows, such as push",
            },
        },
        "oneOf": [{"required": ["name"]}, {"required": ["path"]}],
    }
    signal = "github.workflow"
    of_a_ref = True

    called: str | None = None
    path: str | None = None  # of its file
    event: str | None = None

    @classmethod
    def fields(cls, written: Mapping[str, Any]) -> Mapping[str, Any]:
        wants = written["github-workflow"]
        return {"called": wants.get("name"), "path": wants.get("path"), "event": wants.get("event")}

    @property
    def subject(self) -> str:
        return f"GitHub workflow {self.called or self.path}" + (f" started by {self.event}" if self.event else "")

    def reads(self, key: str) -> bool:
        kind, source, name = parts(key)
        _, event, path = _source(source)
        named = name == self.called if self.called is not None else path == self.path
        return kind == "github.workflow" and named and self.event in (None, event)

    def own_signals(self, case: Situation) -> Mapping[str, Mapping[str, Signal]]:
        """Return the signals of each workflow that has the name, also those of runs that had another name."""
        named = {_workflow(key) for key in super().own_signals(case)}
        return {key: by_ref for key, by_ref in case.record.signals.items() if _workflow(key) in named}

    def without_replaced(self, signals: Mapping[str, Signal], runs: Mapping[str, Run]) -> Mapping[str, Signal]:
        """Leave out the run of a workflow that a later one replaces, whatever name the workflow had then, too."""
        latest: dict[tuple[str, ...], str] = {}
        for key in signals:
            one = _workflow(key)
            if one not in latest or age(signals[key]) > age(signals[latest[one]]):
                latest[one] = key
        return super().without_replaced({key: signals[key] for key in latest.values()}, runs)

    def origin(self, key: str, runs: Mapping[str, Run]) -> str:
        _, source, _ = parts(key)
        workflow, event, path = _source(source)
        started = f" (started by {event})" if event else ""
        return f"{path or 'workflow ' + workflow}{started}" if source else ""


def _source(source: str) -> tuple[str, str, str]:
    """Return the workflow's id, the event that started the run, and the workflow's file."""
    workflow, _, rest = source.partition("/")
    event, _, path = rest.partition("/")
    return workflow, event, unquote(path)


def _workflow(key: str) -> tuple[str, ...]:
    """Return the workflow of a signal, and what starts its runs: a workflow keeps its id when its name changes."""
    kind, source, _ = parts(key)
    return (kind, *_source(source)[:2]) if source else (key,)
