"""The tracer that OpenTelemetry's standard environment variables ask for."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from greenlight.telemetry.tracing import OFF, Tracer


def tracer_of(env: Mapping[str, str], service: str | None, log: logging.Logger) -> Tracer:
    """The tracer that OpenTelemetry's standard variables ask for; OFF, and nothing is imported, if they ask for none.

    `service`: the one that this process is; None for all of them. Raises ConfigurationError for what cannot be meant so.
    """
    exporter = env.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    somewhere = env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or env.get("OTEL_EXPORTER_OTLP_ENDPOINT") or exporter
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none" or not somewhere:
        return OFF
    from greenlight.telemetry.exporting import exporting

    return exporting(env, service, log)
