"""Spans of attempts, within the trace of the request that made the job.

On when the standard variables of OpenTelemetry name a receiver; otherwise nothing is recorded. The training process
itself sends nothing: it has no network.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind

from jobs.records import Job

_RECEIVERS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def start() -> TracerProvider | None:
    """Send spans to the receiver of the environment; ``None`` if there is none. Shut the provider down at the end."""
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if disabled or not any(os.environ.get(name) for name in _RECEIVERS):
        return None
    name = os.environ.get("OTEL_SERVICE_NAME", "fqt-worker")
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider


@contextmanager
def attempt(job: Job) -> Iterator[Span]:
    """The span of one attempt at a job, whose parent is the request that made it."""
    carrier = {"traceparent": job.traceparent} if job.traceparent is not None else {}
    attributes: dict[str, str | int] = {
        "fqt.job.id": job.id,
        "fqt.job.attempt": job.lease_epoch,
        "fqt.job.queue": job.queue,
        "fqt.method": job.spec.method.name,
        "fqt.architecture": job.spec.learner,
    }
    if job.request_id is not None:
        attributes["fqt.request.id"] = job.request_id
    tracer = trace.get_tracer("fqt.worker")
    with tracer.start_as_current_span(
        "fqt.job.attempt", propagate.extract(carrier), kind=SpanKind.CONSUMER, attributes=attributes
    ) as span:
        yield span


def trace_id(span: Span) -> dict[str, str]:
    """What logs are bound to, so that they and the trace are found by each other; nothing without a trace."""
    context = span.get_span_context()
    return {"trace_id": format(context.trace_id, "032x")} if context.is_valid else {}
