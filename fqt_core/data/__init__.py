"""Data sets: reading what users upload (within limits), profiling it, splitting it. Imports numpy and Pillow, no torch
(batches, which are tensors, are made in :mod:`fqt_core.data.batches`)."""

from fqt_core.data.dataset import ImageDataset
from fqt_core.data.images import decode_image
from fqt_core.data.limits import Limits
from fqt_core.data.load import load_dataset
from fqt_core.data.mounted import Look, load_pinned, look_through
from fqt_core.data.profile import profile
from fqt_core.data.split import Split, split_dataset

__all__ = [
    "ImageDataset",
    "Limits",
    "Look",
    "Split",
    "decode_image",
    "load_dataset",
    "load_pinned",
    "look_through",
    "profile",
    "split_dataset",
]
