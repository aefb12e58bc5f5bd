"""Results that are read from GitHub's API in the form of webhooks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import pytest

from greenlight.feedback.github.client import Answer, Client
from greenlight.feedback.github.errors import Refused
from greenlight.feedback.github.results import results
from support.policy import START, sha

NOW = START + timedelta(hours=1)


@dataclass
class Api:
    """The answers about a commit that has two checks, each in a suite for a branch called main."""

    heads: (
        dict[int, str | None] | None
    )  # the repository of the run of each suite; None: the right on Actions is missing

    def get(self, path: str, token: str, **query: Any) -> Answer:
        if path.endswith("/check-runs"):
            about = {"name": "test", "status": "completed", "completed_at": "2026-01-01T12:00:00Z"}
            return Answer({"check_runs": [about | {"id": n, "check_suite": {"id": n}} for n in (1, 2)]})
        if path.endswith("/check-suites"):
            return Answer({"check_suites": [{"id": n, "head_branch": "main"} for n in (1, 2)]})
        if self.heads is None:
            raise Refused(403, "Resource not accessible by integration")
        runs = [
            {"check_suite_id": suite, "head_repository": name and {"full_name": name}}
            for suite, name in self.heads.items()
        ]
        return Answer({"workflow_runs": runs})


@pytest.mark.parametrize(
    ("heads", "found"),
    [
        ({1: "Acme/Shop", 2: "evil/shop"}, [1]),
        ({2: None}, [1]),  # a fork that is gone
        ({}, [1, 2]),
        (None, [1, 2]),
    ],
)
def test_no_check_of_a_forks_run_is_read(heads: dict[int, str | None] | None, found: list[int]) -> None:
    """Its suite may have the name of a shipped branch. Without the right on Actions nobody can tell."""
    read = results("acme/shop", sha(1), ["github-check"], cast("Client", Api(heads)), "token", NOW)
    assert [payload["check_run"]["id"] for _, payload in read] == found
