"""Results read from a provider's API, accepted as its webhook would have been."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from greenlight.lib.errors import Problem
from greenlight.model.rows import Fact
from greenlight.service.deps import Deps
from greenlight.webhooks.app import accept, wanted
from greenlight.webhooks.provider import Delivery
from greenlight.webhooks.providers.github import GitHub


class AcceptPolled:
    """Accepts what GitHub's API says in the form of a webhook. The id is the webhook's, so a late one is a repetition."""

    def __init__(self, deps: Deps) -> None:
        """Accept into the ledger of these dependencies."""
        self._deps, self._provider = deps, GitHub()

    def __call__(self, name: str, payload: Mapping[str, Any]) -> Fact | None:
        """Accept the fact in a payload; return it if it was not known, else None."""
        delivery = Delivery({"x-github-event": name}, json.dumps(payload).encode(), "", self._deps.clock.now())
        pipeline = self._deps.pipeline()
        try:
            fact = self._provider.fact(delivery, pipeline)
        except Problem as problem:
            self._deps.log.warning("what GitHub's API says of a %s cannot be used: %s", name, problem)
            return None
        if not isinstance(fact, Fact) or not isinstance(wanted(fact, pipeline), Fact):
            return None
        return fact if accept(fact, delivery.body, self._deps) else None
