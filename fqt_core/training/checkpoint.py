"""Checkpoint files: one safetensors file with all tensors and, in its metadata, JSON. Nothing is pickled.

    tensors    model/<name>            weights and buffers
               best/<name>             those of the best epoch so far
               average/<name>          the running average of the parameters, if one is kept
               optimizer/<name>/<key>  the optimiser's state
               signs/<layer>           weight signs at the last statistics report, packed
               replicas/<rank>/<name>  what quantised exchange of gradients left over in each process
    metadata   format, version
               identity                configuration, method, data: what the run is; has to match on resume
               state                   RunState: where it stands
               environment             torch version, threads, device: bit-exactness holds if they are the same
               digest                  SHA-256 over all of the above

A file is written beside its final name, synced, and renamed: a crash leaves the old one or the new one, never half.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from torch import Tensor

from fqt_core.errors import CheckpointError
from fqt_core.files import file_sha256
from fqt_core.tensorfile import read_tensors, write_tensors
from fqt_core.training.state import RunState

FORMAT = "fqt-checkpoint"
VERSION = 1
SECTIONS = ("model", "best", "average", "optimizer", "signs", "replicas")


class WrittenFile(NamedTuple):
    """A file that is on disk and synced."""

    path: Path
    sha256: str
    size: int


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds. ``tensors`` maps each of :data:`SECTIONS` to named tensors."""

    identity: dict[str, Any]
    state: RunState
    environment: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> WrittenFile:
    """Write atomically; the file is on disk when this returns.

    Raises:
        OSError: the disk is full or not writable. No partial file is left.
    """
    flat = {f"{section}/{name}": t for section, part in checkpoint.tensors.items() for name, t in part.items()}
    metadata: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "identity": checkpoint.identity,
        "state": checkpoint.state.model_dump(),
        "environment": checkpoint.environment,
    }
    metadata["digest"] = _digest(metadata, flat)
    path.parent.mkdir(parents=True, exist_ok=True)
    size = write_tensors(path, flat, metadata)
    return WrittenFile(path, file_sha256(path), size)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and verify a checkpoint.

    Raises:
        CheckpointError: missing, damaged, or no checkpoint of this version.
    """
    flat, metadata = read_tensors(path)
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path.name} is a safetensors file, but not a training checkpoint")
    if metadata.get("version") != VERSION:
        raise CheckpointError(
            f"{path.name} is a checkpoint of version {metadata.get('version')}; this program reads version {VERSION}"
        )
    digest = metadata.pop("digest", None)
    if digest != _digest(metadata, flat):
        raise CheckpointError(f"{path.name} is damaged: its digest does not match its content")
    identity, environment = metadata.get("identity"), metadata.get("environment")
    try:
        state = RunState.model_validate(metadata.get("state"))
    except ValidationError as error:
        raise CheckpointError(f"{path.name} holds no valid run state: {error}") from error
    if not isinstance(identity, dict) or not isinstance(environment, dict):
        raise CheckpointError(f"{path.name} does not say which run it belongs to")
    tensors: dict[str, dict[str, Tensor]] = {section: {} for section in SECTIONS}
    for full_name, tensor in flat.items():
        section, _, name = full_name.partition("/")
        if section not in tensors:
            raise CheckpointError(f"{path.name} holds an unknown tensor {full_name!r}")
        tensors[section][name] = tensor
    return Checkpoint(identity, state, environment, tensors)


def differences(found: Any, expected: Any, where: str = "") -> list[str]:
    """What differs between two JSON values, one line each: ``training.epochs: 5 in the checkpoint, 10 now``."""
    if isinstance(found, dict) and isinstance(expected, dict):
        lines = []
        for key in sorted(found.keys() | expected.keys()):
            inner = f"{where}.{key}" if where else key
            lines += differences(found.get(key), expected.get(key), inner)
        return lines
    if found == expected:
        return []
    return [f"{where}: {_short(found)} in the checkpoint, {_short(expected)} now"]


def check_tensors(found: dict[str, Tensor], expected: dict[str, Tensor], what: str) -> None:
    """Compare names, shapes and types.

    Raises:
        CheckpointError: listing up to five differences.
    """
    lines = [f"{name} is missing" for name in expected.keys() - found.keys()]
    lines += [f"{name} is not in this network" for name in found.keys() - expected.keys()]
    for name in found.keys() & expected.keys():
        have, want = found[name], expected[name]
        if have.shape != want.shape or have.dtype != want.dtype:
            lines.append(f"{name} is {have.dtype} {tuple(have.shape)} there, {want.dtype} {tuple(want.shape)} here")
    if lines:
        more = f" (and {len(lines) - 5} more)" if len(lines) > 5 else ""
        raise CheckpointError(f"the checkpoint's {what} do not fit this network: {'; '.join(sorted(lines)[:5])}{more}")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _digest(metadata: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
