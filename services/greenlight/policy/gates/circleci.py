"""`circleci: {workflow: NAME}` or `{job: NAME}`: a workflow or a job of CircleCI has passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import unquote

from greenlight.model.rows import Run
from greenlight.policy.gates.kind import Schema
from greenlight.policy.gates.signal import SignalGate
from greenlight.policy.signals import parts


@dataclass(frozen=True, kw_only=True)
class CircleCI(SignalGate):
    """A workflow or a job of CircleCI has passed, in every project that builds the repository, or in one of them."""

    kind = "circleci"
    schema: ClassVar[Schema] = {
        "type": "object",
        "kindOf": "workflow or job",
        "additionalProperties": False,
        "properties": {
            "workflow": {"$ref": "#/$defs/text"},
            "job": {"$ref": "#/$defs/text"},
            "project": {
                "description": "Id of the CircleCI project whose builds count. Without it, those of every project that "
                "builds the repository.",
                "$ref": "#/$defs/circleci-project",
            },
        },
        "oneOf": [{"required": ["workflow"]}, {"required": ["job"]}],
    }
    signal = "circleci"
    of_a_ref = True
    sender = "circleci"

    what: str  # workflow or job
    called: str
    project: str | None = None  # its UUID, in lower case

    @classmethod
    def fields(cls, written: Mapping[str, Any]) -> Mapping[str, Any]:
        wants = written["circleci"]
        what = "workflow" if "workflow" in wants else "job"
        project = wants["project"].lower() if "project" in wants else None
        return {"what": what, "called": wants[what], "project": project}

    @property
    def subject(self) -> str:
        return f"CircleCI {self.what} {self.called}" + (f" of project {self.project}" if self.project else "")

    def reads(self, key: str) -> bool:
        kind, source, name = parts(key)
        fits = (kind, name) == (f"circleci.{self.what}", self.called)
        return fits and self.project in (None, source.partition("/")[0])

    def origin(self, key: str, runs: Mapping[str, Run]) -> str:
        kind, source, _ = parts(key)
        project, _, workflow = source.partition("/")
        if not source:
            return ""
        return f"workflow {unquote(workflow)} of project {project}" if kind == "circleci.job" else f"project {project}"
