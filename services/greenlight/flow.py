"""The wiring, once: the service that handles each event type, and what it emits.

The Triggers in knative/triggers, the README's diagram and docs/events.md are compared with this table by tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from greenlight.events import Event, types
from greenlight.events.build import is_fact


@dataclass(frozen=True, slots=True)
class Edge:
    """One Trigger: events of these types go to that service."""

    trigger: str  # name of the Trigger and, with its number, of its file
    number: int
    service: str
    on: tuple[str, ...]
    emits: tuple[str, ...]


FLOW = (
    Edge("facts-to-recorder", 10, "recorder", (types.FACT,), (types.COMMIT_RECORDED,)),
    Edge("commit-recorded-to-promoter", 20, "promoter", (types.COMMIT_RECORDED,), (types.PROMOTION_READY,)),
    Edge(
        "promotion-ready-to-deployer",
        30,
        "deployer",
        (types.PROMOTION_READY,),
        (types.DEPLOYMENT_APPLIED, types.DEPLOYMENT_ERROR, types.DEPLOYMENT_SUPERSEDED, types.DEPLOYMENT_CANCELED),
    ),
    Edge(
        "deployment-to-deployer",
        40,
        "deployer",
        (types.DEPLOYMENT_APPLIED, types.DEPLOYMENT_PROGRESSING),
        (
            types.DEPLOYMENT_PROGRESSING,
            types.DEPLOYMENT_SUCCEEDED,
            types.DEPLOYMENT_FAILED,
            types.DEPLOYMENT_ERROR,
            types.DEPLOYMENT_CANCELED,
        ),
    ),
    Edge("cancel-requested-to-deployer", 45, "deployer", (types.CANCEL_REQUESTED,), (types.DEPLOYMENT_CANCELED,)),
    Edge(
        "deployment-ended-to-promoter",
        50,
        "promoter",
        types.ENDS,
        (types.PROMOTION_READY, types.DEPLOYMENT_REQUESTED),
    ),
    Edge(
        "target-resumed-to-promoter",
        60,
        "promoter",
        (types.TARGET_RESUMED, types.TARGET_UNFROZEN),
        (types.PROMOTION_READY,),
    ),
    Edge("ping-to-reconciler", 70, "reconciler", (types.PING,), ()),
    Edge(
        "changes-to-feedback",
        80,
        "feedback",
        (
            types.COMMIT_RECORDED,
            types.PROMOTION_READY,
            types.DEPLOYMENT_APPLIED,
            *types.ENDS,
            types.FEEDBACK_DUE,
            types.FEEDBACK_TEST,
        ),
        (),
    ),
)


def wanting(event: Event) -> Sequence[Edge]:
    """Return the edges that an event goes along."""
    return [edge for edge in FLOW if event.type in edge.on or (types.FACT in edge.on and is_fact(event))]
