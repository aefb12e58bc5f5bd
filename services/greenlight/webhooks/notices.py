"""News in a webhook beside its fact: a repository's new name, and a sender's clock that is ahead of Greenlight's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from greenlight.ledger import names
from greenlight.ledger.names import Name
from greenlight.ledger.port import Conflict
from greenlight.lib.errors import Unavailable
from greenlight.model.policy import Pipeline
from greenlight.service.deps import Deps
from greenlight.telemetry import metrics

REMARKABLE = timedelta(seconds=5)
"""What a sender's clock may be ahead without being named: less is counted alone."""


class Notices:
    """Notices, written in the ledger once, and kept in this process.

    One that cannot be written keeps no fact out.
    """

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._log = deps.log.getChild("webhooks")
        self._names: dict[str, Name] = {}
        self._ahead: set[tuple[str, str]] = set()

    def seen(
        self, repo: str, id: str | None, former: str | None, pipeline: Pipeline, speaks: Callable[[str], bool]
    ) -> str | None:
        """Note the name in a body; return the answer if a configured repository has that name now.

        `id` is the provider's, `former` the name before as far as the body says, `speaks` whether its secrets speak for a
        repository.
        """
        if pipeline.knows(repo):
            if speaks(repo) and id is not None:
                self._try(lambda: self._bound(repo, id))
            return None
        old = next((name for name in self._candidates(pipeline, id, former) if speaks(name)), None)
        if old is None:
            return None
        self._try(lambda: self._renamed(old, repo))
        return _rename_text(old, repo)

    def ahead(self, sender: str, at: datetime, now: datetime) -> None:
        """Count a time that is ahead of Greenlight's clock, and log its sender if the difference is remarkable."""
        metrics.CLOCK_AHEAD.labels(sender).inc()
        today = (sender, now.date().isoformat())
        if at - now > REMARKABLE and today not in self._ahead:
            self._ahead.add(today)
            seconds = (at - now).total_seconds()
            self._log.warning(
                "the clock of %s is ahead of Greenlight's by %.0f s; its times count as their arrival", sender, seconds
            )
            self._try(lambda: names.clock_ahead(self._deps.ledger, sender, at - now, now))

    def _try(self, write: Callable[[], object]) -> None:
        """Write a notice; if the ledger cannot take it now, the next webhook tries again."""
        try:
            write()
        except (Unavailable, Conflict) as problem:
            self._log.warning("cannot store a webhook's notice: %s", problem)

    def _renamed(self, old: str, repo: str) -> None:
        known = self._known(old)
        if known.now != repo:
            self._log.error("%s", _rename_text(old, repo))
            self._names[old] = names.rename(self._deps.ledger, known, repo, self._deps.clock.now())

    def _bound(self, repo: str, id: str) -> None:
        known = self._known(repo)
        if (known.id, known.now) == (id, None):
            return
        if known.id not in (None, id):
            self._log.error("%s is another repository now: its id is %s, and was %s", repo, id, known.id)
        self._names[repo] = names.bind(self._deps.ledger, known, id, self._deps.clock.now())

    def _candidates(self, pipeline: Pipeline, id: str | None, former: str | None) -> list[str]:
        """Return the configured repositories that may have got another name."""
        configured = sorted({policy.repo for policy in pipeline.applications.values()})
        by_id = [repo for repo in configured if id is not None and self._known(repo).id == id]
        return [*([former] if former in configured else []), *by_id]

    def _known(self, repo: str) -> Name:
        known = self._names.get(repo) or names.name_of(self._deps.ledger, repo)
        if known.id is not None:  # another process may see the others first
            self._names[repo] = known
        return known


def _rename_text(old: str, repo: str) -> str:
    return f"{old} is called {repo} now: change `repo` in the pipeline file"
