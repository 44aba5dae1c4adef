"""Traces by OpenTelemetry: the framework makes the spans of requests; here is what is ours.

On when the standard variables name a receiver (``OTEL_EXPORTER_OTLP_ENDPOINT``, …); otherwise nothing is recorded.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from fastapi.telemetry import TelemetryConfig
from opentelemetry import propagate, trace

SERVICE_NAME = "fqt-api"
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})


def config() -> TelemetryConfig:
    """Return how the framework's own telemetry is set up: exporters by the environment, probes left out."""
    return TelemetryConfig(auto_configure=True, exclude=_is_probe)


def traceparent() -> str | None:
    """Return the trace that the present request belongs to, as W3C writes it; ``None`` if none is recorded."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent")


def trace_id() -> str | None:
    """Return the id of the present trace in hexadecimal digits, for logs."""
    context = trace.get_current_span().get_span_context()
    return format(context.trace_id, "032x") if context.is_valid else None


def _is_probe(scope: MutableMapping[str, Any]) -> bool:
    return scope.get("path") in _PROBES
