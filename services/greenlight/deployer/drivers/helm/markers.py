"""The values of a release: those of the pipeline file, with their markers filled in."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import rfc8785

from greenlight.deployer.driver import Order
from greenlight.deployer.drivers.helm.charts import Chart
from greenlight.policy.refs import tag_of

SHORT = 7
"""Digits of `${short_sha}`, as many as the board and the command line show."""

_MARKUP = re.compile(r"\$\{(sha|short_sha|repo|environment|tag|artifacts\.([a-z0-9_-]+))\}")


def filled(value: Any, order: Order) -> Any:
    """Return values with their markers replaced, each once: what is put in is text, whatever it looks like.

    An artifact without a digest, and a tag, were waited for before.
    """
    if isinstance(value, str):
        known = {
            "sha": order.sha,
            "short_sha": order.sha[:SHORT],
            "repo": order.repo,
            "environment": order.environment,
            "tag": tag_of(order.ref) or "",
        }
        return _MARKUP.sub(lambda found: known[found[1]] if found[1] in known else order.artifacts[found[2]], value)
    if isinstance(value, Mapping):
        return {name: filled(item, order) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [filled(item, order) for item in value]
    return value


def identity(chart: Chart, values: Any) -> str:
    """Return the digest of the chart and the values, as a label's value."""
    return hashlib.sha256(rfc8785.dumps({"chart": chart.digest, "values": values})).hexdigest()[:32]
