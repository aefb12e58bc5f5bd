"""Every metric of ours, in one place, so that names and labels are decided once."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

WEBHOOKS = Counter("greenlight_webhooks_total", "Webhooks by provider and verdict.", ["provider", "verdict"])
CLOCK_AHEAD = Counter(
    "greenlight_clock_ahead_total", "Times in signed bodies that were ahead of our clock, by sender.", ["sender"]
)
SILENT = Gauge(
    "greenlight_repository_silent", "1 where nothing has been heard of a configured repository for long.", ["repo"]
)
SECRETS = Counter(
    "greenlight_secret_used_total", "Signatures that a line of a secrets file was right for.", ["file", "line"]
)
SECRETS_UNREADABLE = Gauge(
    "greenlight_secrets_unreadable",
    "1 while a file of secrets, or the folder (*), cannot be read or is spoiled; what was last right of it is in force.",
    ["file"],
)
HANDLED = Counter("greenlight_events_handled_total", "Events by service and outcome.", ["service", "outcome"])
FILTER_ERRORS = Counter(
    "greenlight_broker_filter_errors_total",
    "Events that a Trigger's CESQL expression could not judge, and so did not pass.",
    ["trigger", "error"],
)
REEMITTED = Counter("greenlight_events_reemitted_total", "Events that were due and lacked a result.", ["type"])
DEAD_LETTERS = Counter(
    "greenlight_dead_letters_total",
    "Events that a Trigger could not deliver, as the Broker reported.",
    ["type", "code"],
)
DEPLOYMENTS = Counter(
    "greenlight_deployments_total", "Deployments that have ended.", ["application", "environment", "outcome"]
)
UNREADABLE = Gauge(
    "greenlight_ledger_unreadable_rows",
    "Rows of the ledger that this process has met and that cannot be read.",
    ["table"],
)
SPANS = Counter(
    "greenlight_spans_total", "Spans by outcome: exported, or dropped for want of room or a taker.", ["outcome"]
)


def handled(service: str, outcome: str) -> None:
    """Count one event that a service answered."""
    HANDLED.labels(service, outcome).inc()
