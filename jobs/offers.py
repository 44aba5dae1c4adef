"""What the workers that run now offer, and why none of them could run a job: told before it waits or fails.

Each worker announces what it offers under a key of the broker, again and again; the key expires soon after a worker
that died. Whoever asks reads what was announced, so that a worker that is busy is not taken for one that is away.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from jobs.errors import SpecFault
from jobs.queues import ANY_QUEUE, queue_of
from jobs.spec import JobSpec

ANNOUNCEMENTS = "fqt:offer:*"
ANNOUNCED_SECONDS = 30
"""How long an announcement is kept unless it is made again."""


@dataclass(frozen=True)
class Offer:
    """What one worker says of itself: the queues that it serves, and the memory in bytes that it gives to a job.

    ``gpu``: the name of the GPU that its jobs may use; ``None``: there is none that can be used.
    """

    queues: tuple[str, ...]
    memory_bytes: int
    gpu: str | None = None

    def to_json(self) -> str:
        """The text that is announced."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Offer:
        """Read :meth:`to_json`'s text. What it says beyond that is of a newer version, and passed over."""
        told = json.loads(text)
        return cls(tuple(told["queues"]), told["memory_bytes"], told["gpu"])


def announcement_name(worker: str) -> str:
    """The key that a worker announces its offer under."""
    return ANNOUNCEMENTS.replace("*", worker)


def without_gpu(offers: Sequence[Offer] | None) -> bool:
    """Whether workers are there and none of them has a GPU. Where nobody is known, nothing is."""
    return bool(offers) and not any(offer.gpu for offer in offers or ())


def shortcomings(spec: JobSpec, memory_bytes: int, offers: Sequence[Offer] | None) -> list[SpecFault]:
    """What would keep the job from running now. The job is valid all the same: workers come and go.

    Args:
        spec: a valid spec.
        memory_bytes: what the job is planned to take.
        offers: of the workers that answered; ``None``: nobody could be asked, and nothing is said.
    """
    if offers is None:
        return []
    if not offers:
        message = "no worker answered just now; the job waits until one runs (`fqt worker`)"
        return [SpecFault("device", message)]
    queue = queue_of(spec)
    fit = [offer for offer in offers if queue in {ANY_QUEUE, *offer.queues}]
    if not fit:
        served = sorted({name for offer in offers for name in offer.queues} - {ANY_QUEUE})
        message = (
            f"no worker that runs now serves {queue!r}, so the job waits until one does; use one of those that "
            f"are served, or start a worker with FQT_QUEUES={queue}"
        )
        if spec.queue is not None:
            return [SpecFault("queue", message, served)]
        return [SpecFault("device", message, [*served, "auto"])]
    largest = max(offer.memory_bytes for offer in fit)
    # A GPU has memory of its own, of which nothing is known here.
    if memory_bytes <= largest or any("cuda" in offer.queues for offer in fit):
        return []
    planned = (
        f"about {memory_bytes / 1e9:.1f} GB of memory are planned, and no worker gives a job more than "
        f"{largest / 1e9:.1f} GB; use a "
    )
    field, smaller = "training.batch_size", "smaller batch_size, width or image_size, a larger training.accumulate"
    if spec.task == "tabular":
        field, smaller = "dataset", "smaller table"
    return [SpecFault(field, f"{planned}{smaller}, or raise FQT_CHILD_MEMORY_BYTES")]
