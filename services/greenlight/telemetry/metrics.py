"""Every metric of Greenlight, in one place, so that names and labels are decided once."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

WEBHOOKS = Counter("greenlight_webhooks_total", "Webhooks by provider and verdict.", ["provider", "verdict"])
CLOCK_AHEAD = Counter(
    "greenlight_clock_ahead_total",
    "Times in signed bodies that were ahead of Greenlight's clock, by sender.",
    ["sender"],
)
SILENT = Gauge(
    "greenlight_repository_silent", "1 while a configured repository has sent no push for unusually long.", ["repo"]
)
SECRETS = Counter(
    "greenlight_secret_used_total", "Signatures that were verified by a line of a secrets file.", ["file", "line"]
)
SECRETS_UNREADABLE = Gauge(
    "greenlight_secrets_unreadable",
    "1 while a file of secrets, or the folder (*), cannot be read or is malformed; its last valid content is in force.",
    ["file"],
)
HANDLED = Counter("greenlight_events_handled_total", "Events by service and outcome.", ["service", "outcome"])
FILTER_ERRORS = Counter(
    "greenlight_broker_filter_errors_total",
    "Events that a Trigger did not pass because its CESQL expression failed.",
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
FEEDBACK = Counter(
    "greenlight_feedback_total",
    "Commits that feedback looked at: in step, unavailable (GitHub cannot be asked now) or refused.",
    ["outcome"],
)
FOUND = Counter(
    "greenlight_facts_found_total", "Facts that were found only by asking GitHub: its webhook is broken.", ["repo"]
)
LOST = Gauge(
    "greenlight_lost_pushes",
    "Shipped branches whose head at GitHub no webhook reported: its webhook is broken.",
    ["repo"],
)
REDELIVERED = Counter("greenlight_redeliveries_total", "Webhooks that GitHub was asked to deliver again.", ["repo"])
NOTIFICATIONS = Counter(
    "greenlight_notifications_total", "Messages to destinations: sent or failed.", ["destination", "outcome"]
)
GITHUB = Counter(
    "greenlight_github_requests_total", "Requests to GitHub's API by status; none: no answer.", ["method", "status"]
)
UNREADABLE = Gauge(
    "greenlight_ledger_unreadable_rows", "Rows of the ledger that this process could not read.", ["table"]
)
SPANS = Counter(
    "greenlight_spans_total",
    "Spans by outcome: exported, or dropped because the queue was full or the backend refused them; kept in the ledger's "
    "store, or lost because too many waited or the store refused them.",
    ["outcome"],
)


def handled(service: str, outcome: str) -> None:
    """Count one event that a service answered."""
    HANDLED.labels(service, outcome).inc()
