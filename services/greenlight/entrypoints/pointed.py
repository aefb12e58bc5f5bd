"""The senders that are expected, and how to point each at Greenlight."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from greenlight.model.policy import Pipeline
from greenlight.webhooks.provider import Place
from greenlight.webhooks.providers.registry import ROUTES

ALWAYS = ("github", "circleci")
"""Who is expected to send webhooks also where no gate names them, by the file of the secret."""


def senders(pipeline: Pipeline) -> list[str]:
    """Return the expected senders of webhooks, by the file of the secret."""
    gates = (gate for policy in pipeline.applications.values() for gate in policy.gates.values())
    named = {gate.sender for gate in gates if gate.sender is not None}
    return [*ALWAYS, *sorted(named.difference(ALWAYS))]


def pointed(webhooks: str, secrets: Path, pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    """Yield each sender with how to set it up, first those whose route has no name. `webhooks`: the URL of that port."""
    repo = min(policy.repo for policy in pipeline.applications.values())
    found = [(sender, it) for sender in senders(pipeline) for it in ROUTES.values() if it.files.has(sender)]
    for sender, provider in sorted(found, key=lambda each: each[1].files.word):
        name = sender.removeprefix(f"{provider.files.name}-") if provider.files.word else ""
        yield sender, provider.pointed(Place(name, provider.route + name, webhooks, secrets / sender, repo))
