"""The vocabulary: every event type that Greenlight itself emits."""

from __future__ import annotations

GATE_PASSED = "gate.passed"
GATE_FAILED = "gate.failed"
APPROVAL_GRANTED = "approval.granted"
APPROVAL_REVOKED = "approval.revoked"
GATE_OVERRIDDEN = "gate.overridden"
DEPLOYMENT_REQUESTED = "deployment.requested"

COMMIT_RECORDED = "commit.recorded"
PROMOTION_READY = "promotion.ready"
DEPLOYMENT_APPLIED = "deployment.applied"
DEPLOYMENT_PROGRESSING = "deployment.progressing"
DEPLOYMENT_SUCCEEDED = "deployment.succeeded"
DEPLOYMENT_FAILED = "deployment.failed"
DEPLOYMENT_ERROR = "deployment.error"
DEPLOYMENT_SUPERSEDED = "deployment.superseded"
DEPLOYMENT_CANCELED = "deployment.canceled"
CANCEL_REQUESTED = "deployment.cancel-requested"
TARGET_PAUSED = "target.paused"
TARGET_RESUMED = "target.resumed"
TARGET_FROZEN = "target.frozen"
TARGET_UNFROZEN = "target.unfrozen"
FEEDBACK_DUE = "feedback.due"
FEEDBACK_TEST = "feedback.test-requested"
FEEDBACK_NOTICE = "feedback.notice"

PING = "dev.knative.sources.ping"

FACT = "*"
"""Stands for the types of all facts, whatever they are called: a fact is known by an attribute (events/build.py)."""

ENDS = (
    DEPLOYMENT_SUCCEEDED,
    DEPLOYMENT_FAILED,
    DEPLOYMENT_ERROR,
    DEPLOYMENT_SUPERSEDED,
    DEPLOYMENT_CANCELED,
)

RESERVED_PREFIXES = (
    "gate.",
    "approval.",
    "commit.",
    "promotion.",
    "deployment.",
    "target.",
    "feedback.",
    "dev.knative.",
)
"""How our own types begin. A sender of `POST /webhooks/events/SENDER` may not send them, nor those of a provider."""
