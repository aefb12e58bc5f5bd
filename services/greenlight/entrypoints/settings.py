"""Settings of a service: one frozen object, read once from the environment; all errors are reported together."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from greenlight.lib.durations import duration
from greenlight.lib.errors import ConfigurationError

_LOGIN = re.compile("GREENLIGHT_(BOARD_URL|ANONYMOUS_READS|SESSION_|OIDC_|GITHUB_CLIENT|GITHUB_URL|PROXY_)")

SPANS = timedelta(days=7)
"""For how long spans are kept, unless GREENLIGHT_SPANS says otherwise."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of `greenlight serve SERVICE`."""

    config: Path
    """GREENLIGHT_CONFIG: the folder with pipeline.yaml and people.yaml. Default `config`."""

    data: Path
    """GREENLIGHT_DATA: the folder of the SQLite ledger, which one process may own. Default `.greenlight`."""

    secrets: Path
    """GREENLIGHT_SECRETS: the folder with a file per sender. Default DATA/secrets."""

    sink: str | None
    """K_SINK: where events go, set by a SinkBinding. None only where the broker is in the same process."""

    port: int
    """PORT: what Knative Serving tells a container to listen on. Default 8080."""

    table: str | None = None
    """GREENLIGHT_LEDGER: `sqlite`, the default, keeps the ledger in DATA; `dynamodb:TABLE` keeps it in that table."""

    bodies: str | None = None
    """GREENLIGHT_BODIES: where large bodies are: a folder, or with DynamoDB `s3://BUCKET/PREFIX`. Default: with the ledger."""

    authorities: str | None = None
    """K_CA_CERTS: certificates (PEM) to trust the Broker by; set by a SinkBinding where the Broker has ones of its own."""

    metrics: int | None = None
    """GREENLIGHT_METRICS_PORT: where Prometheus is answered. Default: nowhere, except that the board has /metrics."""

    login: Mapping[str, str] = field(default_factory=dict)
    """GREENLIGHT_BOARD_URL and others, as they are written: the board alone reads them (login_settings.py)."""

    spans: timedelta | None = SPANS
    """GREENLIGHT_SPANS: for how long spans are kept beside the ledger, as 7d, the default; `off`: None, not at all."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Read the settings; ConfigurationError names everything that is wrong, a line each."""
        problems: list[str] = []
        metrics = env.get("GREENLIGHT_METRICS_PORT")
        data = Path(env.get("GREENLIGHT_DATA", ".greenlight"))
        settings = cls(
            config=Path(env.get("GREENLIGHT_CONFIG", "config")),
            data=data,
            secrets=Path(env["GREENLIGHT_SECRETS"]) if "GREENLIGHT_SECRETS" in env else data / "secrets",
            sink=_sink(env.get("K_SINK"), problems),
            authorities=_authorities(env.get("K_CA_CERTS"), problems),
            port=_port("PORT", env.get("PORT", "8080"), problems),
            metrics=_port("GREENLIGHT_METRICS_PORT", metrics, problems) if metrics else None,
            table=_table(env.get("GREENLIGHT_LEDGER", "sqlite"), problems),
            spans=_spans(env.get("GREENLIGHT_SPANS"), problems),
            bodies=_bodies(env.get("GREENLIGHT_BODIES"), env.get("GREENLIGHT_LEDGER", "sqlite"), problems),
            login={name: value for name, value in env.items() if _LOGIN.match(name)},
        )
        if problems:
            raise ConfigurationError("\n".join(problems))
        return settings


def spans_of(env: Mapping[str, str]) -> timedelta | None:
    """Return for how long `greenlight up` keeps spans; None: not at all. Raises ConfigurationError."""
    problems: list[str] = []
    found = _spans(env.get("GREENLIGHT_SPANS"), problems)
    if problems:
        raise ConfigurationError("\n".join(problems))
    return found


def _spans(text: str | None, problems: list[str]) -> timedelta | None:
    if text is None or text == "off":
        return None if text else SPANS
    try:
        return duration(text)
    except ValueError:
        problems.append(f"GREENLIGHT_SPANS is {text!r}; it must be off, or for how long spans are kept, such as 7d")
        return None


def _sink(text: str | None, problems: list[str]) -> str | None:
    if text is None:
        return None
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        problems.append(f"K_SINK is {text!r}; it must be the http(s) URL of the Broker, which a SinkBinding sets")
    return text


def _authorities(text: str | None, problems: list[str]) -> str | None:
    if not text:
        return None
    try:
        ssl.create_default_context(cadata=text)
    except ssl.SSLError as problem:
        problems.append(f"K_CA_CERTS holds no certificates, which a SinkBinding sets: {problem}")
    return text


def _table(text: str, problems: list[str]) -> str | None:
    """Return the table that a setting names; None for SQLite."""
    if text == "sqlite":
        return None
    found = re.fullmatch(r"dynamodb:([a-zA-Z0-9_.-]{3,255})", text)
    if found is None:
        problems.append(f"GREENLIGHT_LEDGER is {text!r}; it must be sqlite or dynamodb:TABLE")
        return None
    return found[1]


def _bodies(text: str | None, ledger: str, problems: list[str]) -> str | None:
    if text is None or "://" not in text:
        return text
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9/_.-]*)?", text):
        problems.append(f"GREENLIGHT_BODIES is {text!r}; it must be a folder or s3://BUCKET/PREFIX")
    elif not ledger.startswith("dynamodb:"):
        problems.append(f"GREENLIGHT_BODIES is {text!r}; a bucket goes with GREENLIGHT_LEDGER=dynamodb:TABLE only")
    return text


def _port(name: str, text: str, problems: list[str]) -> int:
    if text.isdecimal() and 0 < int(text) < 65536:
        return int(text)
    problems.append(f"{name} is {text!r}; it must be a number from 1 to 65535")
    return 0
