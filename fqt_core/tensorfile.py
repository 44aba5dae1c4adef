"""Reads and writes safetensors files whose metadata is one JSON object. Nothing is ever unpickled.

The metadata has one key, :data:`METADATA_KEY`: safetensors writes several keys in a random order, and the same model
has to give the same bytes. Files are written beside their final name, synced and renamed, so that a crash leaves the
old file or the new one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from fqt_core.errors import CheckpointError
from fqt_core.files import write_atomically
from fqt_core.tensorheader import METADATA, read_header

METADATA_KEY = "fqt"


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read all tensors of a safetensors file, and the JSON object of its metadata (empty if there is none).

    Raises:
        CheckpointError: the file is missing, is no safetensors file, or is damaged; the message says how.
    """
    metadata = read_metadata(path)
    try:
        return safetensors.torch.load_file(path), metadata
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: damaged safetensors file: {error}") from error


def read_metadata(path: Path) -> dict[str, Any]:
    """Read the JSON object of the file's metadata alone, within bounds.

    Raises:
        CheckpointError: see :func:`read_tensors`.
    """
    header = read_header(path)
    entry = header.get(METADATA, {})
    text = entry.get(METADATA_KEY, "{}") if isinstance(entry, dict) else "{}"
    try:
        metadata = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: its metadata {METADATA_KEY!r} is no JSON: {error}") from error
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{path}: its metadata {METADATA_KEY!r} is no JSON object")
    return metadata


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> int:
    """Write tensors and metadata atomically: the same input gives the same bytes.

    Returns:
        The size of the file in bytes.

    Raises:
        OSError: the file cannot be written; nothing is left behind.
    """
    data = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(tensors.items())}
    content = safetensors.torch.save(data, {METADATA_KEY: json.dumps(metadata, sort_keys=True, allow_nan=False)})
    write_atomically(path, content)
    return len(content)
