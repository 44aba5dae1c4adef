"""One optimiser step, with everything checked that can be told to the user by name."""

from __future__ import annotations

import math
from collections.abc import Collection
from contextlib import nullcontext
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fqt_core.data.counters import Purpose
from fqt_core.errors import ConfigurationError, DeviceMemoryError, NonFiniteGradientError, NonFiniteLossError
from fqt_core.layers import BinaryLayer
from fqt_core.ops import waiting
from fqt_core.ops.threads import threads_of_step
from fqt_core.training.adam import compact_gradients
from fqt_core.training.diagnosis import first_non_finite, first_non_finite_gradient, gradient_sum
from fqt_core.training.memory import told
from fqt_core.training.objective import Objective
from fqt_core.training.replica import Replica
from fqt_core.training.schedule import own_rate_numbers, own_rates
from fqt_core.training.seeding import seeded

CROSS_ENTROPY = Objective()
_ALONE = Replica()
_MICRO_BATCH_BITS = 12  # of the stream of random counters; what is above them is the replica
_STEP_BITS = 40  # of the number that seeds torch's generators


class StepResult(NamedTuple):
    """The batch's mean loss, how many of its images were right before the update, and the micro-batches it took."""

    loss: float
    correct: int
    parts: int


def training_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: tuple[Tensor, Tensor],
    *,
    seed: int,
    step: int,
    classes: int,
    layers: Collection[BinaryLayer],
    objective: Objective = CROSS_ENTROPY,
    parts: int = 1,
    replica: Replica = _ALONE,
    forward: nn.Module | None = None,
    images_of_all: int | None = None,
) -> StepResult:
    """Forward, backward, update; then the latents of ``layers`` are clamped.

    All randomness is a function of ``seed`` and ``step``: the quantisers' through ``model.fqt_state``, whose stream
    counts micro-batches and replicas; that of torch's own layers (dropout) by seeding its generators for the time of
    the step.

    Where the memory of a GPU does not hold forward and backward of a micro-batch, the batch is gone through again in
    twice as many, from where it began: the step is the one that it would have been with so many ``parts``. Replicas do
    not, for they exchange gradients meanwhile.

    Args:
        model: gives logits float ``(n, classes)`` for images float ``(n, c, h, w)``.
        optimizer: its learning rates are set already, but for what parameters with an own one have theirs multiplied
            by, which goes by what their layers keep when the step begins.
        batch: images, and labels int64 ``(n,)``, on the model's device; of this replica.
        seed, step: what random numbers are a function of.
        classes: how many there are.
        layers: the network's binarised layers.
        objective: the loss.
        parts: micro-batches that the batch is gone through in; gradients are summed.
        replica: which of those that train together this is.
        forward: what :meth:`Replica.attach` made of the model.
        images_of_all: in the batch, over all replicas; ``None``: those of ``batch``.

    Raises:
        NonFiniteLossError: naming the first layer whose output is not finite.
        NonFiniteGradientError: naming the layer; the weights are as they were before.
        ConfigurationError: the logits do not fit the classes, or the network cannot be trained on a single image.
        DeviceMemoryError: not even the smallest micro-batch fits, or there are several replicas.
    """
    # The processor's memory runs out in other ways, so there nothing need be kept.
    before = None if waiting.at_once(batch[0]) else [buffer.clone() for buffer in model.buffers()]
    numbers = own_rate_numbers(optimizer)
    while True:
        try:
            losses, hits = _gradients(
                model,
                optimizer,
                batch,
                seed=seed,
                step=step,
                classes=classes,
                objective=objective,
                parts=parts,
                replica=replica,
                forward=forward or model,
                everybodys=len(batch[1]) if images_of_all is None else images_of_all,
            )
            break
        except torch.OutOfMemoryError as error:
            if before is None:
                raise
            reason = told(error)
        # Out here the error, and with it what its frames held, is gone.
        if replica.size > 1:  # the others may be waiting for this one's gradients already
            raise DeviceMemoryError(-(-len(batch[1]) // parts), reason)
        parts = _smaller(len(batch[1]), parts, reason)
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        with torch.no_grad():
            for buffer, value in zip(model.buffers(), before, strict=True):
                buffer.copy_(value)
    replica.share()
    # The one place where a step waits for a GPU, for all numbers together.
    found = waiting.fetch([*losses, *hits, gradient_sum(optimizer, layers), *numbers])
    facts, numbers_found = found[: 2 * parts + 1], found[2 * parts + 1 :]
    for share, part in zip(facts, micro_batches(len(batch[0]), parts), strict=False):
        _check_loss(share, model, batch[0][part], step, replica)
    if not math.isfinite(facts[-1]) and (culprit := first_non_finite_gradient(model)) is not None:
        raise NonFiniteGradientError(culprit, step)
    with own_rates(optimizer, numbers_found):
        optimizer.step()
    for layer in layers:
        layer.clamp_latents_()
    loss, correct = replica.total(sum(facts[:parts], 0.0) / replica.size, sum(facts[parts:-1]))
    return StepResult(loss, round(correct), parts)


def _gradients(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: tuple[Tensor, Tensor],
    *,
    seed: int,
    step: int,
    classes: int,
    objective: Objective,
    parts: int,
    replica: Replica,
    forward: nn.Module,
    everybodys: int,
) -> tuple[list[Tensor], list[Tensor]]:
    """Forward and backward of all micro-batches: of each its share of the loss, and how many of its images were right.

    Nothing in here waits for a GPU.
    """
    images, labels = batch
    counters = getattr(model, "fqt_state", None)
    if counters is not None:
        counters.seed, counters.step = seed, step
    optimizer.zero_grad(set_to_none=True)
    losses: list[Tensor] = []
    hits: list[Tensor] = []
    with seeded(seed, Purpose.STEP, step | replica.rank << _STEP_BITS, images.device), threads_of_step():
        for number, part in enumerate(micro_batches(len(images), parts)):
            if counters is not None:
                counters.stream = number | replica.rank << _MICRO_BATCH_BITS
            with replica.accumulating(last=number + 1 == parts):
                logits = _logits(forward, images[part], classes)
                # Of the batch's mean, this part's images make up their share; replicas' gradients are averaged.
                share = len(logits) * replica.size / everybodys
                loss = objective(logits, images[part], labels[part])
                loss = loss if share == 1 else loss * share
                losses.append(loss.detach())
                hits.append((logits.detach().argmax(1) == labels[part]).sum())
                if waiting.at_once(loss):
                    _check_loss(float(losses[-1]), model, images[part], step, replica)
                with compact_gradients(optimizer) if replica.compact else nullcontext():
                    loss.backward()  # type: ignore[no-untyped-call]
    return losses, hits


def _check_loss(loss: float, model: nn.Module, images: Tensor, step: int, replica: Replica) -> None:
    if not math.isfinite(loss):
        with replica.alone():
            culprit = first_non_finite(model, images)
        raise NonFiniteLossError(culprit, step)


def most_parts(images: int) -> int:
    """The most micro-batches that none of a batch's images is alone in, over which there may be no variance."""
    return max(1, images // 2)


def _smaller(images: int, parts: int, reason: str) -> int:
    """Twice as many micro-batches, or as many as there may be.

    Raises:
        DeviceMemoryError: there are as many already.
    """
    most = most_parts(images)
    if parts >= most:
        raise DeviceMemoryError(-(-images // parts), reason)
    return min(2 * parts, most)


def micro_batches(images: int, count: int) -> list[slice]:
    """Split a batch into ``count`` parts whose sizes differ by one at most."""
    bounds = [number * images // count for number in range(count + 1)]
    return [slice(start, end) for start, end in pairwise(bounds)]


def _logits(model: nn.Module, images: Tensor, classes: int) -> Tensor:
    try:
        logits: Tensor = model(images)
    except ValueError as error:
        if len(images) > 1:
            raise
        raise ConfigurationError(
            f"training.batch_size: the network cannot be trained on one image at a time ({error})"
        ) from error
    if logits.dim() != 2 or logits.shape[1] != classes:
        raise ConfigurationError(
            f"the network's output has shape {tuple(logits.shape)}, but the data set has {classes} classes"
        )
    return logits
