"""The header of a safetensors file, read within bounds and checked before any tensor is. Imports no torch.

The file: 8 bytes with the length of the header, the header (JSON: each tensor's dtype, shape and place in the data,
and ``__metadata__``, text by name), the data. Source: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from fqt_core.errors import CheckpointError

MAX_HEADER_BYTES = 16 * 1024 * 1024
"""Longest header that is read. Ten thousand class names of 200 characters take a third of it."""

MAX_TENSORS = 10_000
MAX_ENTRIES = 250_000
"""Commas in a header. Each stands for a value that takes a hundred bytes once it is read."""

MAX_DIMENSIONS = 8
METADATA = "__metadata__"
LENGTH_BYTES = 8

BYTES_OF = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "I32": 4, "I64": 8, "F16": 2, "BF16": 2, "F32": 4, "F64": 8}
PICKLED = (b"PK\x03\x04", b"\x80")
"""How torch.save begins, in its newer and older format."""


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a header: bytes ``begin`` to ``end`` of the data."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def values(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def header_length(start: bytes) -> int:
    """The length of the header, from the first 8 bytes of a file.

    Raises:
        CheckpointError: no safetensors file begins like this.
    """
    if len(start) < LENGTH_BYTES:
        raise CheckpointError(f"only {len(start)} bytes: no safetensors file")
    (length,) = struct.unpack("<Q", start[:LENGTH_BYTES])
    if length > MAX_HEADER_BYTES and start.startswith(PICKLED):
        raise CheckpointError(
            "a pickled torch file, which is never read here because it can run code; "
            "convert it to safetensors where you trust it"
        )
    if length > MAX_HEADER_BYTES:
        raise CheckpointError(f"its header claims {length} bytes; at most {MAX_HEADER_BYTES} are read")
    return int(length)


def read_header(path: Path, *, most_entries: int | None = None) -> dict[str, Any]:
    """Read the JSON object of the header, unchecked but for its bounds.

    Raises:
        CheckpointError: the file is missing, or is no safetensors file; the message says how.
    """
    try:
        header = _parse(_content(path), most_entries)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its header is no JSON: {error}") from error
    return header


def check_header(path: Path) -> list[TensorEntry]:
    """Check everything that a header says against itself and the size of the file; return its tensors in file order.

    Raises:
        CheckpointError: what is wrong, with the tensor's name.
    """
    header = read_header(path, most_entries=MAX_ENTRIES)
    try:
        return _checked(header, _data_bytes(path))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _content(path: Path) -> bytes:
    """The bytes of the header."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(LENGTH_BYTES)
        claimed = int.from_bytes(start, "little")
        if len(start) == LENGTH_BYTES and claimed > size - LENGTH_BYTES and not start.startswith(PICKLED):
            raise CheckpointError(
                f"cut off, or no safetensors file: its header claims {claimed} bytes, the file has {size}"
            )
        return file.read(header_length(start))


def _data_bytes(path: Path) -> int:
    """How many bytes follow the header."""
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_size - LENGTH_BYTES - header_length(file.read(LENGTH_BYTES))


def _parse(content: bytes, most_entries: int | None) -> dict[str, Any]:
    if most_entries is not None and content.count(b",") > most_entries:
        raise CheckpointError(f"its header has more than {most_entries} entries")
    if most_entries is not None and (count := content.count(b'"dtype"')) > MAX_TENSORS:  # before they take memory
        raise CheckpointError(f"it holds {count} tensors; at most {MAX_TENSORS} are read")
    header = json.loads(content, object_pairs_hook=_no_doubles, parse_constant=_no_constant)
    if not isinstance(header, dict):
        raise CheckpointError("its header is no JSON object")
    return header


def _checked(header: dict[str, Any], data_bytes: int) -> list[TensorEntry]:
    _check_metadata(header.pop(METADATA, {}))
    if not header:
        raise CheckpointError("it holds no tensors")
    if len(header) > MAX_TENSORS:
        raise CheckpointError(f"it holds {len(header)} tensors; at most {MAX_TENSORS} are read")
    entries = sorted((_entry(name, value) for name, value in header.items()), key=lambda row: (row.begin, row.end))
    _check_places(entries, data_bytes)
    return entries


def _check_metadata(metadata: Any) -> None:
    if not isinstance(metadata, Mapping) or not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError(f"{METADATA} must be an object whose values are strings")


def _entry(name: str, value: Any) -> TensorEntry:
    where = f"tensor {name[:100]!r}"
    if not name or not isinstance(value, Mapping) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{where}: needs dtype, shape and data_offsets, and nothing else")
    dtype, shape, place = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BYTES_OF:
        raise CheckpointError(f"{where}: dtype {str(dtype)[:40]!r} is unknown; known are {', '.join(BYTES_OF)}")
    if not _counts(shape) or len(shape) > MAX_DIMENSIONS:
        raise CheckpointError(f"{where}: shape must be a list of at most {MAX_DIMENSIONS} whole numbers from 0 on")
    if not _counts(place) or len(place) != 2 or place[0] > place[1]:
        raise CheckpointError(f"{where}: data_offsets must be two whole numbers, the first not the larger")
    entry = TensorEntry(name, dtype, tuple(shape), *place)
    needed = entry.values * BYTES_OF[dtype]
    if needed != entry.end - entry.begin:
        raise CheckpointError(
            f"{where}: {dtype} of shape {list(shape)} takes {needed} bytes, its offsets span {entry.end - entry.begin}"
        )
    return entry


def _counts(value: Any) -> bool:
    """Whether a value is a list of whole numbers that a file can hold."""
    return isinstance(value, list) and all(type(number) is int and 0 <= number < 2**63 for number in value)


def _check_places(entries: list[TensorEntry], data: int) -> None:
    end = 0
    for entry in entries:
        if entry.begin != end:
            kind = "overlaps the one before" if entry.begin < end else f"leaves a gap of {entry.begin - end} bytes"
            raise CheckpointError(f"tensor {entry.name[:100]!r}: begins at byte {entry.begin} and {kind}")
        end = entry.end
    if end != data:
        raise CheckpointError(f"its tensors end at byte {end} of the data, which has {data} bytes")


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise CheckpointError(f"its header names {twice[:100]!r} twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise CheckpointError(f"its header holds {name}, which is not JSON")
