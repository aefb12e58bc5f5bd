"""The senders that are expected, and how to point each at Greenlight."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from greenlight.board.sources import Sender
from greenlight.model.policy import Pipeline
from greenlight.webhooks.provider import Place, Provider
from greenlight.webhooks.providers.registry import ROUTES

ALWAYS = ("github", "circleci")
"""Who is expected to send webhooks also where no gate names them, by the file of the secret."""


def senders(pipeline: Pipeline) -> list[str]:
    """Return the expected senders of webhooks, by the file of the secret."""
    gates = (gate for policy in pipeline.applications.values() for gate in policy.gates.values())
    named = {gate.sender for gate in gates if gate.sender is not None}
    return [*ALWAYS, *sorted(named.difference(ALWAYS))]


def pointed(webhooks: str, secrets: Path, pipeline: Pipeline) -> Iterator[Sender]:
    """Yield each sender of one machine, first those whose route has no name. `webhooks`: the URL of that port."""
    for sender, provider in _expected(pipeline):
        place = _place(sender, provider, str(secrets / sender), pipeline)
        codes = (place.url, place.secret)
        yield Sender(sender, provider.label, provider.pointed(place), codes, provider.trial(place, webhooks))


def pointed_in_a_cluster(pipeline: Pipeline) -> Iterator[Sender]:
    """Yield each sender of a cluster, where the secrets are keys of the Secret that the service webhooks mounts."""
    for sender, provider in _expected(pipeline):
        place = _place(sender, provider, f"the key {sender} of the Secret greenlight-secrets", pipeline)
        yield Sender(sender, provider.label, provider.pointed(place), (place.url, "greenlight-secrets"))


def _expected(pipeline: Pipeline) -> list[tuple[str, Provider]]:
    found = [
        (sender, provider) for sender in senders(pipeline) for provider in ROUTES.values() if provider.files.has(sender)
    ]
    return sorted(found, key=lambda each: each[1].files.word)


def _place(sender: str, provider: Provider, secret: str, pipeline: Pipeline) -> Place:
    name = sender.removeprefix(f"{provider.files.name}-") if provider.files.word else ""
    repo = min(policy.repo for policy in pipeline.applications.values())
    return Place(name, provider.route + name, secret, repo)
