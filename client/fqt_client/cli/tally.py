"""What a job's events add up to: where it is, how well it does, and how its loss went."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from fqt_client.models import Event, Job, examples_of

LOSSES_KEPT = 512


@dataclass
class Tally:
    """The present figures of one job; fed with a job object and then its events in order."""

    state: str = "queued"
    step: int = 0
    total_steps: int | None = None
    epoch: float = 0.0
    epochs: int | None = None
    loss: float | None = None
    validation_accuracy: float | None = None
    best_accuracy: float | None = None
    images_per_second: float | None = None
    examples: str = "images"
    gradient_cosines: tuple[float, float] | None = None
    first: tuple[int, datetime] | None = None
    latest: tuple[int, datetime] | None = None
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=LOSSES_KEPT))

    @property
    def seconds_left(self) -> float | None:
        """Time that the steps to come take at the pace of those since watching began; None before it is known."""
        if self.first is None or self.latest is None or not self.total_steps or self.latest[0] <= self.first[0]:
            return None
        pace = (self.latest[1] - self.first[1]).total_seconds() / (self.latest[0] - self.first[0])
        return pace * (self.total_steps - self.latest[0])

    def read_job(self, job: Job) -> None:
        """Take over what only the job object knows."""
        self.examples = examples_of(job.spec)
        # Each boosting iteration is a step and an epoch: one number tells it.
        self.epochs = job.spec.get("training", {}).get("epochs", self.epochs) if self.examples == "images" else None
        if job.progress is not None:
            self.total_steps = job.progress.total_steps or self.total_steps

    def read_event(self, event: Event) -> None:
        """Take one event in."""
        data = event.data
        if event.type == "state":
            self.state = str(data.get("to") or self.state)
            self.first = self.latest = None  # a pause is no part of the pace
        elif event.type == "log" and isinstance(data.get("started"), Mapping):
            self.total_steps = data["started"].get("total_steps", self.total_steps)
            if self.examples == "images":
                self.epochs = data["started"].get("epochs", self.epochs)
        elif event.type == "metric" and data.get("kind") == "step":
            self.step = data.get("step", self.step)
            self.epoch = data.get("epoch", self.epoch)
            self.images_per_second = data.get("images_per_second", self.images_per_second)
            if event.created_at is not None:
                self.latest = self.step, event.created_at
                self.first = self.first or self.latest
            if (loss := data.get("loss")) is not None:
                # Single batches jump about: what is shown is a running mean over about ten of them.
                self.loss = loss if self.loss is None else 0.9 * self.loss + 0.1 * loss
                self.losses.append(self.loss)
        elif event.type == "metric" and data.get("kind") == "epoch":
            self.step = data.get("step", self.step)
            self.epoch = data.get("epoch", self.epoch)
            accuracy = data.get("validation_accuracy")
            if accuracy is not None:
                self.validation_accuracy = accuracy
                self.best_accuracy = max(accuracy, self.best_accuracy or 0.0)
        elif event.type == "metric" and data.get("kind") == "telemetry":
            layers = data.get("layers", {}).values()
            cosines = [c for figures in layers if (c := figures.get("accumulated_dw_cosine")) is not None]
            self.gradient_cosines = (min(cosines), max(cosines)) if cosines else None
