"""Health of a process: whether it is alive, and whether it can serve, for a kubelet, a load balancer or an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from greenlight.lib.errors import PROBLEM, ConfigurationError, Misconfigured, Unavailable, problem_json

if TYPE_CHECKING:
    from flask import Flask

    from greenlight.service.deps import Deps

HEALTHZ, READYZ = "/healthz", "/readyz"

DOWN = "a dependency is down"
"""Reason of a 503 that passes by itself once the dependency is back."""

MISCONFIGURED = "misconfigured"
"""Reason of a 503 that does not: a person has to mend what its detail names."""


class Answer(NamedTuple):
    """An answer over HTTP, in the order that Flask takes it in."""

    body: str
    status: int
    headers: dict[str, str]


def alive() -> Answer:
    """Answer that the process is alive: all that the internet needs to know."""
    return Answer("ok\n", 200, {"Content-Type": "text/plain; charset=utf-8"})


def ready(deps: Deps) -> Answer:
    """Answer 200 if everything that the service needs can be used.

    Otherwise answer 503, whose `reason` tells whether waiting helps. Whoever asks again and again has an edit of the pipeline
    noticed, also while no event comes.
    """
    deps.pipeline()
    try:
        deps.ledger.ready()
    except (ConfigurationError, Misconfigured) as problem:
        return _not_ready(MISCONFIGURED, problem, {})
    except Unavailable as problem:
        return _not_ready(DOWN, problem, {"Retry-After": "1"})
    return Answer("ready\n", 200, {"Content-Type": "text/plain; charset=utf-8"})


def mount_alive(app: Flask) -> None:
    """Add `/healthz` to a Flask app."""
    app.add_url_rule(HEALTHZ, "healthz", alive)


def mount_health(app: Flask, deps: Deps) -> None:
    """Add `/healthz` and `/readyz` to a Flask app."""
    mount_alive(app)
    app.add_url_rule(READYZ, "readyz", lambda: ready(deps))


def _not_ready(reason: str, problem: Exception, headers: dict[str, str]) -> Answer:
    return Answer(problem_json(503, str(problem), reason=reason), 503, {"Content-Type": PROBLEM, **headers})
