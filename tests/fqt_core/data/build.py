"""Builds small data sets, good and bad, in every accepted container."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def picture(value: int = 0, size: tuple[int, int] = (8, 8), mode: str = "RGB", kind: str = "PNG") -> bytes:
    """An image file whose pixels depend on ``value``."""
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], len(mode))
    words = np.random.Philox(value).random_raw(int(np.prod(shape)))  # this stream is the same in every numpy
    image = Image.fromarray((words >> np.uint64(56)).astype(np.uint8).reshape(shape))
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def class_folders(classes: tuple[str, ...] = ("cats", "dogs"), count: int = 3, prefix: str = "") -> dict[str, bytes]:
    """Members ``<class>/<i>.png``, all different."""
    return {
        f"{prefix}{name}/{index}.png": picture(100 * number + index)
        for number, name in enumerate(classes)
        for index in range(count)
    }


def write_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            archive.addfile(regular(name, len(content)), io.BytesIO(content))
    return path


def regular(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    return info


def write_folder(path: Path, members: dict[str, bytes]) -> Path:
    for name, content in members.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return path


def idx(array: np.ndarray, kind: int = 8, claim: tuple[int, ...] | None = None) -> bytes:
    """An IDX file; ``claim`` puts another shape into the header."""
    shape = claim or array.shape
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + array.astype(np.uint8).tobytes()


def idx_members(count: int = 6, suffix: str = "", held_out: int = 0) -> dict[str, bytes]:
    """The MNIST family's file names, with two classes."""
    members = {}
    for part, number in (("train", count), ("t10k", held_out)):
        if number:
            images = np.arange(number * 16).reshape(number, 4, 4) % 256
            members[f"{part}-images-idx3-ubyte"] = idx(images)
            members[f"{part}-labels-idx1-ubyte"] = idx(np.arange(number) % 2)
    if suffix == ".gz":
        return {f"{name}.gz": gzip.compress(content) for name, content in members.items()}
    return members


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array)
    return buffer.getvalue()


def npy_claiming(shape: tuple[int, ...], dtype: str, content: bytes = b"") -> bytes:
    """A ``.npy`` whose header says ``shape`` and ``dtype``, whatever follows."""
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def write_npz(path: Path, **arrays: np.ndarray) -> Path:
    with path.open("wb") as stream:  # given a name, numpy appends a suffix
        np.savez_compressed(stream, **arrays)
    return path
