"""The dependencies of feedback alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from greenlight.feedback.github.access import GitHubAccess
from greenlight.feedback.notify.notifier import Notifier
from greenlight.model.rows import Fact
from greenlight.service.deps import Deps as BaseDeps


@dataclass(frozen=True, kw_only=True)
class Deps(BaseDeps):
    """GitHub and the destinations of notifications, beside the dependencies of every service."""

    github: GitHubAccess
    notifier: Notifier
    accept: Callable[[str, Mapping[str, Any]], Fact | None]
    """Accepts a payload of GitHub's, under the name of its event, as its webhook would be. None: it is known, or of no use."""
