"""Prometheus instruments: what this process counts, and what the database tells of the whole service.

Workers have no port to be asked at: what they do is in the database, where any API process reads it. Each of several
API processes tells the same figures of the service; ask one, or take the maximum.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from jobs.figures import Figures

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

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Record one answered request."""
        self._requests.labels(method if method in _METHODS else "other", route, str(status)).observe(seconds)

    def delivery(self, outcome: str, seconds: float) -> None:
        """Record one attempt to deliver a webhook's message."""
        self._deliveries.labels(outcome).observe(seconds)

    def text(self, figures: Figures | None = None) -> bytes:
        """Return this process's figures in Prometheus' text format, and after them those of the service, if given."""
        ours = generate_latest(self.registry)
        return ours if figures is None else ours + generate_latest(_of_the_service(figures))


def _of_the_service(figures: Figures) -> CollectorRegistry:
    """The figures of one look, in a registry that is thrown away: what is not there any more has no series."""
    registry = CollectorRegistry(auto_describe=True)

    def show(name: str, help_text: str, label: str | None, values: Mapping[str, float] | float) -> None:
        gauge = Gauge(name, help_text, (label,) if label is not None else (), registry=registry)
        if isinstance(values, Mapping):
            for key, value in values.items():
                gauge.labels(str(key)).set(value)
        else:
            gauge.set(values)

    steps = {queue: row.step_seconds for queue, row in figures.running.items() if row.step_seconds is not None}
    show("fqt_jobs", "Jobs that are kept, by state.", "state", {k.value: n for k, n in figures.jobs.items()})
    show(
        "fqt_jobs_oldest_seconds",
        "Age of the oldest job in a state that is not final.",
        "state",
        {k.value: seconds for k, seconds in figures.oldest.items()},
    )
    show("fqt_queue_jobs", "Jobs that wait for a worker, by queue.", "queue", figures.queued)
    show("fqt_queue_oldest_seconds", "Age of the oldest job that waits, by queue.", "queue", figures.queued_oldest)
    show("fqt_job_claims", "Attempts that were begun at the jobs that are kept.", None, figures.claims)
    show(
        "fqt_job_failed_attempts",
        "Attempts since the last checkpoint that broke down, of the jobs that are kept.",
        None,
        figures.failed_attempts,
    )
    show("fqt_jobs_failed", "Failed jobs that are kept, by the code of their error.", "code", figures.failures)
    running = {queue: row.jobs for queue, row in figures.running.items()}
    show("fqt_running_jobs", "Jobs that a worker holds, by queue.", "queue", running)
    show(
        "fqt_running_images_per_second",
        "Training images per second of the jobs that run, together, by queue.",
        "queue",
        {queue: row.images_per_second for queue, row in figures.running.items()},
    )
    show("fqt_running_step_seconds", "Mean time of a training step of the jobs that run, by queue.", "queue", steps)
    show("fqt_datasets", "Uploaded data sets by state.", "state", {str(k): n for k, n in figures.datasets.items()})
    show("fqt_stored_bytes", "Bytes of all stored files.", None, figures.stored_bytes)
    show(
        "fqt_webhook_deliveries",
        "Messages of webhooks that are kept, by state.",
        "state",
        {str(k): n for k, n in figures.deliveries.items()},
    )
    show("fqt_webhooks_disabled", "Webhooks that too many failures disabled.", None, figures.webhooks_disabled)
    return registry
