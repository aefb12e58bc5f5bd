"""A repository that ships to more targets than one transaction holds."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

from greenlight.events.recorded import commit_recorded
from greenlight.ledger.port import Ledger, Transaction
from greenlight.model.rows import DUE_AFTER, Due
from greenlight.promoter import app as promoter
from greenlight.service.deps import Deps
from greenlight.service.publisher import InLog
from support.ledger import REPO, HandClock, a_push, a_record, at, sha
from support.policy import parse

APPLICATIONS, ENVIRONMENTS = 10, 3

POLICY = "apiVersion: greenlight/v1\nkind: Pipeline\napplications:\n" + "".join(
    f"""
  - name: shop{n}
    repo: {REPO}
    branches: [main]
    gates:
      build: {{circleci: {{workflow: build}}}}
    environments:
"""
    + "".join(
        f"      - {{name: e{m}, require: [], deploy: {{command: {{run: [./a]}}}}}}\n" for m in range(ENVIRONMENTS)
    )
    for n in range(APPLICATIONS)
)


class Moves(HandClock):
    """What a handler is given."""

    def monotonic(self) -> float:
        return 0.0


def test_a_commit_of_a_monorepo_is_decided_for_all_its_targets(ledger: Ledger) -> None:
    """Thirty at once, every one ready: each gets its promotion, and the event is done with."""
    clock = Moves()
    pipeline = parse({"pipeline.yaml": POLICY}, Path("config"))
    deps = Deps(clock, ledger, lambda: pipeline, InLog(), logging.getLogger("test"))
    push = a_push()
    event = commit_recorded(REPO, sha(1), "f1", at(0))
    ledger.transact(
        Transaction(
            records=[a_record(pushes={push.ref: push})],
            pushes=[push],
            due=[Due(f"record/{REPO}/{sha(1)}", at(0) + DUE_AFTER, event)],
        )
    )
    events = promoter.on_commit_recorded(event, deps)
    assert len(events) == APPLICATIONS * ENVIRONMENTS
    targets = ledger.targets()
    assert len(targets) == APPLICATIONS * ENVIRONMENTS
    assert all(target.wanted is not None and target.wanted.sha == sha(1) for target in targets)
    keys = {due.key for due in ledger.due(at(0) + timedelta(days=1), limit=1000)}
    assert keys == {f"deployment/{target.wanted.id}" for target in targets if target.wanted}
