"""How many images and steps a job will have, told from what is known of its data before anything runs."""

from __future__ import annotations

from collections.abc import Sequence

from fqt_core.config.parallel import batches_per_epoch
from jobs.datasets import DatasetSource
from jobs.spec import JobSpec


def split(dataset: DatasetSource, classes: Sequence[str], images: int, fraction: float) -> tuple[int, int]:
    """Images that train and images that validate, as the trainer will split them (built-in sets: nearly so).

    ``images`` counts those of ``classes`` in the training part.
    """
    if dataset.validation_images:
        share = len(classes) / len(dataset.classes)
        return images, round(dataset.validation_images * share)
    if dataset.counts is None:
        members = [images / len(classes)] * len(classes)
    else:
        members = [float(dataset.counts[name]) for name in classes]
    aside = held(members, fraction)
    return images - aside, aside


def held(members: Sequence[float], fraction: float) -> int:
    """How many examples validate, of classes with so many ``members`` each."""
    if fraction == 0:
        return 0
    return sum(max(0, min(max(round(count * fraction), 1), round(count) - 1)) for count in members)


def steps_per_epoch(images: int, spec: JobSpec) -> int:
    """Batches of one pass over so many training images."""
    processes = 1 if spec.parallel is None else spec.parallel.processes
    return max(1, batches_per_epoch(images, spec.training.batch_size, processes))
