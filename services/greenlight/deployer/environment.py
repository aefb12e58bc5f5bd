"""The closed environment of a command that a driver starts: variables of Greenlight's own, and of the deployment."""

from __future__ import annotations

from collections.abc import Mapping

from greenlight.deployer.driver import Order

INHERITED = ("PATH", "HOME")
"""Variables of Greenlight's own environment that every command gets; it gets no others."""


def inherited(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of `env` that a command inherits."""
    return {name: env[name] for name in INHERITED if name in env}


def variables(order: Order) -> dict[str, str]:
    """Return the variables that describe the deployment to its command."""
    ref = {} if order.ref is None else {"GREENLIGHT_REF": order.ref}
    return {
        **ref,
        "GREENLIGHT_REPO": order.repo,
        "GREENLIGHT_SHA": order.sha,
        "GREENLIGHT_APPLICATION": order.application,
        "GREENLIGHT_ENVIRONMENT": order.environment,
        "GREENLIGHT_DEPLOYMENT_ID": order.deployment,
        "GREENLIGHT_FENCE": str(order.fence),
        "TRACEPARENT": order.traceparent,
    }
