"""How many images and steps a job will have, told from what is known of its data before anything runs."""

from __future__ import annotations

from collections.abc import Sequence

from fqt_core.config import Fqt
from fqt_core.config.method_base import MethodConfig
from fqt_core.config.parallel import batches_per_epoch
from jobs.datasets import DatasetSource
from jobs.errors import SpecFault
from jobs.spec import JobSpec

_LEAST_BATCH = 8
"""Fewer images are no batch: what batch normalisation takes from them is noise."""

_FEW_BITS = 2
"""Gradients with fewer bits per element on average learn half as much in a step."""


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


def least_steps(method: MethodConfig, *, from_weights: bool) -> int:
    """Optimiser steps below which a job ends well under what it could reach (measured: ``docs/training.md``).

    A sign turns once its latent has crossed zero, which takes many small steps, and the more so the fewer gradients
    are kept; weights that were trained before have most of their signs.
    """
    steps = 50 if method.binarises else 25
    if method.average_bits < _FEW_BITS:
        steps = 100
    return steps // 2 if from_weights else steps


def too_few_steps(spec: JobSpec, images: int) -> list[SpecFault]:
    """What speaks against so few steps over so many training images, and what to do; the job is valid all the same."""
    per_epoch, epochs = steps_per_epoch(images, spec), spec.training.epochs
    least = least_steps(spec.method, from_weights=spec.initial_weights is not None)
    if per_epoch * epochs >= least:
        return []
    remedies = [f"more epochs ({-(-least // per_epoch)})"]
    if (smaller := _smaller_batch(spec, images, least)) is not None:
        remedies.append(f"a smaller batch_size ({smaller})")
    if isinstance(spec.method, Fqt) and spec.method.average_bits < _FEW_BITS:
        remedies.append("the preset `balanced`, which needs half as many")
    message = (
        f"few optimiser steps for {spec.method.name}: {per_epoch * epochs} ({per_epoch} in an epoch), where about "
        f"{least} are wanted; use {_or(remedies)}"
    )
    return [SpecFault("training.epochs", message)]


def _or(parts: Sequence[str]) -> str:
    return " or ".join([", ".join(parts[:-1]), parts[-1]] if parts[1:] else parts)


def _smaller_batch(spec: JobSpec, images: int, least: int) -> int | None:
    """The largest power of two below the job's batch that gives so many steps; ``None``: there is none."""
    size = 1 << (spec.training.batch_size - 1).bit_length()
    while (size := size // 2) >= _LEAST_BATCH:
        smaller = spec.model_copy(update={"training": spec.training.model_copy(update={"batch_size": size})})
        if steps_per_epoch(images, smaller) * spec.training.epochs >= least:
            return size
    return None
