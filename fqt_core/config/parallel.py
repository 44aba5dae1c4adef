"""Options of training in several processes. Torch-free."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

MOST_PROCESSES = 1024
"""Processes of one run, over all its hosts: random counters have room for four times as many."""


class ParallelConfig(BaseModel):
    """How a run is divided among processes: each has a copy of the network and takes its share of every batch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    processes: int = Field(
        ge=2,
        le=MOST_PROCESSES,
        description="Processes that train together (data parallel). `batch_size` stays that of a step, over all of "
        "them; cores, memory and disk of the job are divided among them. On CUDA each one takes a GPU.",
    )
    gradient_bits: int | None = Field(
        default=None,
        ge=1,
        le=8,
        description="Bits per gradient element that processes send each other, with error feedback; null: 32, exact.",
    )
    sync_batch_norm: bool = Field(
        default=False,
        description="Batch normalisation takes mean and variance over the images of all processes. false: each "
        "process over its own images, and the running statistics are those of the first one.",
    )


def least_batch(batch_size: int, processes: int) -> int:
    """Images that a last batch has at least; a smaller one joins the batch before it.

    No process is left without an image, and none has a single one unless full batches have no more.
    """
    return 2 * processes if batch_size >= 2 * processes else processes


def batches_per_epoch(images: int, batch_size: int, processes: int = 1) -> int:
    """Optimiser steps of one pass over so many training images."""
    full, rest = divmod(images, batch_size)
    return full + (rest > 0 and (full == 0 or rest >= least_batch(batch_size, processes)))
