"""Checkpoint files: one safetensors file with all tensors and, in its metadata, JSON. Nothing is pickled.

    tensors    model/<name>            weights and buffers
               best/<name>             those of the best epoch so far
               optimizer/<name>/<key>  the optimiser's state
               signs/<layer>           weight signs at the last statistics report, packed
    metadata   format, version
               identity                configuration, method, data: what the run is; has to match on resume
               state                   RunState: where it stands
               environment             torch version, threads, device: bit-exactness holds if they are the same
               digest                  SHA-256 over all of the above

A file is written beside its final name, synced, and renamed: a crash leaves the old one or the new one, never half.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fqt_core.errors import CheckpointError
from fqt_core.training.state import RunState

FORMAT = "fqt-checkpoint"
VERSION = "1"
_CHUNK = 1024 * 1024
_JSON_KEYS = ("identity", "state", "environment")


class WrittenFile(NamedTuple):
    """A file that is on disk and synced."""

    path: Path
    sha256: str
    size: int


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds. ``tensors`` maps section (``model``, ``best``, ``optimizer``, ``signs``) to tensors."""

    identity: dict[str, Any]
    state: RunState
    environment: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> WrittenFile:
    """Write atomically; the file is on disk when this returns.

    Raises:
        OSError: the disk is full or not writable. No partial file is left.
    """
    flat = _independent({f"{s}/{name}": t for s, section in checkpoint.tensors.items() for name, t in section.items()})
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "identity": json.dumps(checkpoint.identity, sort_keys=True),
        "state": json.dumps(checkpoint.state.model_dump(), sort_keys=True),
        "environment": json.dumps(checkpoint.environment, sort_keys=True),
    }
    metadata["digest"] = _digest(metadata, flat)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(flat, temporary, metadata)
        sha256, size = _sync_and_hash(temporary)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_directory(path.parent)
    return WrittenFile(path, sha256, size)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and verify a checkpoint.

    Raises:
        CheckpointError: missing, damaged, or no checkpoint of this version.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata: dict[str, str] = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise CheckpointError(f"{path.name} is a safetensors file, but not a training checkpoint")
            if metadata.get("version") != VERSION:
                raise CheckpointError(
                    f"{path.name} is a checkpoint of version {metadata.get('version')}; this program reads {VERSION}"
                )
            flat: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} cannot be read as a checkpoint: {error}") from error
    digest = metadata.pop("digest", None)
    if digest != _digest(metadata, flat):
        raise CheckpointError(f"{path.name} is damaged: its digest does not match its content")
    try:
        identity, state, environment = (json.loads(metadata[key]) for key in _JSON_KEYS)
        run_state = RunState.model_validate(state)
    except (KeyError, ValueError, RecursionError, ValidationError) as error:
        raise CheckpointError(f"{path.name} holds no valid run state: {error}") from error
    if not isinstance(identity, dict) or not isinstance(environment, dict):
        raise CheckpointError(f"{path.name} holds no valid run state")
    tensors: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}, "signs": {}}
    for full_name, tensor in flat.items():
        section, _, name = full_name.partition("/")
        if section not in tensors:
            raise CheckpointError(f"{path.name} holds an unknown tensor {full_name!r}")
        tensors[section][name] = tensor
    return Checkpoint(identity, run_state, environment, tensors)


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


def _independent(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """CPU tensors that share no memory: safetensors refuses tied weights."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        if plain.numel() and plain.untyped_storage().data_ptr() in seen:
            plain = plain.clone()
        seen.add(plain.untyped_storage().data_ptr())
        result[name] = plain
    return result


def _digest(metadata: dict[str, str], tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _sync_and_hash(path: Path) -> tuple[str, int]:
    digest = hashlib.sha256()
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())
        while piece := stream.read(_CHUNK):
            digest.update(piece)
        return digest.hexdigest(), stream.tell()


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
