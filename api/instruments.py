"""Prometheus instruments of one API process, in a registry of their own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class Instruments:
    """What is counted and measured. Labels take few values: routes by their template, never by their path."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._requests = Histogram(
            "fqt_http_request_seconds",
            "Time from a request's first byte to its answer's last.",
            ("method", "route", "status"),
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
            registry=self.registry,
        )
        self.streams = Gauge("fqt_event_streams", "Event streams that are open.", registry=self.registry)
        self.doorbells = Counter(
            "fqt_doorbells", "Messages to workers, by task and outcome.", ("task", "outcome"), registry=self.registry
        )
        self._deliveries = Histogram(
            "fqt_webhook_seconds",
            "Time of one attempt to deliver a webhook's message, by outcome.",
            ("outcome",),
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15),
            registry=self.registry,
        )
        self.unauthenticated = Counter(
            "fqt_unauthenticated_requests",
            "Requests that were refused for want of a valid key.",
            registry=self.registry,
        )
        self.limited = Counter(
            "fqt_rate_limited_requests",
            "Requests that were one too many, by limit.",
            ("limit",),
            registry=self.registry,
        )
        self.audit_lost = Counter(
            "fqt_audit_entries_lost", "Entries of the audit log that could not be kept.", registry=self.registry
        )
        self.jobs = Gauge("fqt_jobs", "Jobs by state.", ("state",), registry=self.registry)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Record one answered request."""
        self._requests.labels(method if method in _METHODS else "other", route, str(status)).observe(seconds)

    def delivery(self, outcome: str, seconds: float) -> None:
        """Record one attempt to deliver a webhook's message."""
        self._deliveries.labels(outcome).observe(seconds)

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self.registry)
