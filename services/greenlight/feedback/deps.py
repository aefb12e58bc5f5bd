"""The dependencies of feedback alone."""

from __future__ import annotations

from dataclasses import dataclass

from greenlight.feedback.github.hub import Hub
from greenlight.feedback.notify.notifier import Notifier
from greenlight.service.deps import Deps as BaseDeps


@dataclass(frozen=True, kw_only=True)
class Deps(BaseDeps):
    """GitHub and the destinations of notifications, beside the dependencies of every service."""

    hub: Hub
    notifier: Notifier
