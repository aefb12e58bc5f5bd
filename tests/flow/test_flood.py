"""Many events of one repository at once: they cost what they are, and do not hold up another repository's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from greenlight.lib import signing
from greenlight.promoter import domain
from support.flow import PIPELINE, Shop, push_payload, sha_of

OTHER = """
  - name: site
    repo: acme/site
    branches: [main]
    gates:
      scan: {webhook: scan}
    environments:
      - name: live
        require: [scan]
        deploy: {command: {run: ["true"]}}
"""


def push_to_site(shop: Shop, word: str) -> None:
    """GitHub tells of a push to the other repository."""
    body = json.dumps(push_payload(word)).replace("Acme/Shop", "Acme/Site").encode()
    headers = {"X-GitHub-Event": "push", "X-Hub-Signature-256": signing.github(shop.secret("github"), body)}
    shop._webhook("/webhooks/github", body, headers)


def test_a_burst_of_pushes_is_decided_push_by_push(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are known before the first is decided; none is late for that, and none has the others decided again."""
    shop, considered, count = Shop(tmp_path), [], 60
    consider = domain.consider

    def counted(*words: Any, **options: Any) -> Any:
        considered.append(words)
        return consider(*words, **options)

    monkeypatch.setattr(domain, "consider", counted)
    with shop.without_chain():
        for n in range(count):
            shop.push(f"c{n}", before=f"c{n - 1}" if n else "nothing")
    shop.start()
    shop.settle()
    assert shop.environment(f"c{count - 1}", "staging")["decision"] == "waiting"
    environments = 2
    assert len(considered) <= 3 * environments * count
    shop.stop()


def test_one_repositorys_backlog_does_not_hold_up_anothers_push(tmp_path: Path) -> None:
    """What comes last of all, and of another repository, is recorded among the first."""
    shop = Shop(tmp_path, pipeline=PIPELINE + OTHER)
    with shop.without_chain():
        for n in range(300):
            shop.push(f"c{n}", before=f"c{n - 1}" if n else "nothing")
        push_to_site(shop, "one")
    shop.start()
    shop.settle()
    recorded = [event.json()["sha"] for event in shop.watch.events if event.type == "commit.recorded"]
    assert len(recorded) == 301
    assert recorded.index(sha_of("one")) < 30, "it waits for a few that are on their way, not for all"
    shop.stop()
