"""The tracer that OpenTelemetry's standard environment variables ask for."""

from __future__ import annotations

import logging
import os

from greenlight.telemetry.tracing import OFF, Tracer


def tracer_of(service: str | None, log: logging.Logger) -> Tracer:
    """Return the tracer that OpenTelemetry's variables ask for; OFF, and nothing is imported, if they ask for none.

    `service`: the one that this process is; None for all of them. Raises ConfigurationError with everything that is wrong, a
    line each. The variables are those of the process, because OpenTelemetry's packages read them there.
    """
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    endpoint = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if disabled or exporter == "none" or not (endpoint or exporter):
        return OFF
    from greenlight.telemetry.exporting import exporting

    return exporting(service, log)
