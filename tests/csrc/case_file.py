"""Writes cases of operations, with the reference's results, to a file that ``run_cases`` reads (run_cases.cpp)."""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

import torch
from torch import Tensor

_CODES = {
    torch.uint8: 0,
    torch.int16: 1,
    torch.int32: 2,
    torch.int64: 3,
    torch.float32: 4,
    torch.float64: 5,
    torch.bool: 6,
    torch.int8: 7,
}


def write(file: BinaryIO, operation: str, arguments: tuple[Any, ...], results: list[Tensor]) -> None:
    """Append one case.

    Args:
        file: is open for binary writing.
        operation: the operation's name.
        arguments: as the operation's schema has them, all of them by position.
        results: what it returns, and then all tensors among its arguments, as it leaves them.
    """
    file.write(_text(operation))
    for argument in arguments:
        file.write(_value(argument))
    file.write(struct.pack("<I", len(results)))
    for result in results:
        file.write(_value(result))


def _text(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode()


def _value(value: Any) -> bytes:
    if value is None:
        return b"n"
    if isinstance(value, bool):
        return b"b" + struct.pack("<B", value)
    if isinstance(value, int):
        return b"i" + struct.pack("<q", value)
    if isinstance(value, float):
        return b"f" + struct.pack("<d", value)
    if isinstance(value, str):
        return b"s" + _text(value)
    if isinstance(value, Tensor):
        sizes = struct.pack(f"<BB{value.dim()}q", _CODES[value.dtype], value.dim(), *value.shape)
        return b"t" + sizes + value.contiguous().numpy().tobytes()
    if all(type(item) is int for item in value):
        return b"l" + struct.pack(f"<I{len(value)}q", len(value), *value)
    return b"m" + struct.pack("<I", len(value)) + b"".join(_value(item) for item in value)
