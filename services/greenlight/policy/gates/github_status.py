"""`github-status: {context: CONTEXT}`: a commit status on GitHub has passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from greenlight.model.policy import Situation
from greenlight.policy.gates.kind import Schema
from greenlight.policy.gates.signal import SignalGate
from greenlight.policy.refs import shipped
from greenlight.policy.signals import github_status


@dataclass(frozen=True, kw_only=True)
class GithubStatus(SignalGate):
    """The commit status of that context has passed."""

    kind = "github-status"
    schema: ClassVar[Schema] = {
        "type": "object",
        "required": ["context"],
        "additionalProperties": False,
        "properties": {"context": {"$ref": "#/$defs/text"}},
    }
    signal = "github.status"
    of_a_ref = True

    context: str

    @classmethod
    def fields(cls, written: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"context": written["github-status"]["context"]}

    @property
    def subject(self) -> str:
        return f"commit status {self.context}"

    def reads(self, key: str) -> bool:
        return key == github_status(self.context)

    def counts(self, ref: str, case: Situation) -> bool:
        """Return whether a fact counts: its commit was seen on a shipped ref.

        Only who may write to the repository can set a commit status, and GitHub names ten branches of it at most and no tag.
        """
        everywhere = self.any_branch or any(shipped(case.policy, pushed) for pushed in case.record.pushes)
        return everywhere or super().counts(ref, case)
