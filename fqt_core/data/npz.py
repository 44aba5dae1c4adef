"""NPZ files (``numpy.savez``): images and labels by their key names. Objects (pickle) are never loaded.

Keys: ``images`` + ``labels``; or ``x_train`` + ``y_train``, with ``x_val`` + ``y_val`` or ``x_test`` + ``y_test``; or
``train_images`` + ``train_labels``, with ``val_…`` or ``test_…`` (MedMNIST). ``classes`` (strings) names the labels.
Images are uint8 ``(n, h, w)``, ``(n, h, w, c)`` or ``(n, c, h, w)`` with c = 1, 3 or 4; floats in [0, 1] are accepted.
"""

from __future__ import annotations

import io
import math
import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from fqt_core.data.container import Container
from fqt_core.data.faults import Faults, fatal
from fqt_core.data.names import printable
from fqt_core.data.reading import Reader, allocate, damage_reported, read_into
from fqt_core.data.source import ArrayPart, ArraySource, Part

MAGIC = b"\x93NUMPY"
_TRAIN = (("images", "labels"), ("x_train", "y_train"), ("train_images", "train_labels"))
_VALIDATION = (
    ("x_val", "y_val"),
    ("val_images", "val_labels"),
    ("x_test", "y_test"),
    ("test_images", "test_labels"),
)
_HEAD = 64 * 1024


@dataclass
class _Rest:
    """What of the head is left after the header, then the stream."""

    head: bytes
    stream: Reader

    def read(self, size: int, /) -> bytes:
        if self.head:
            piece, self.head = self.head[:size], self.head[size:]
            return piece
        return self.stream.read(size)


def read_npy(reader: Reader, possible: int, where: str) -> npt.NDArray[np.generic]:
    """Read one ``.npy`` stream without trusting its header.

    Args:
        reader: at the first byte.
        possible: the most bytes that the stream can give; a header that claims more is refused before allocating.
        where: the member's name.

    Raises:
        DataError: not an array of numbers or strings, objects, or a claim that does not hold.
    """
    head = b""
    while len(head) < _HEAD and (piece := reader.read(_HEAD - len(head))):
        head += piece
    buffer = io.BytesIO(head)
    with damage_reported(where):
        version = npy.read_magic(buffer)
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read_header is None:
            raise ValueError(f"version {version} of the format is not read")
        shape, fortran, dtype = read_header(buffer)
    if dtype.hasobject or dtype.kind not in "biufU" or not dtype.itemsize:
        raise fatal(f"values of type {dtype.str!r} are not read", where=where, remedy="save numbers, without pickle")
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size > possible:
        raise fatal(
            f"its header claims shape {shape} of {dtype.str!r} = {size:,} bytes, more than the file can hold",
            where=where,
            remedy="the file is damaged; save it again",
        )
    rest = _Rest(head[buffer.tell() :], reader)
    raw = allocate((size,), where)
    read_into(rest, raw.data, where)
    if rest.read(1):
        raise fatal("more data than its header claims", where=where, remedy="the file is damaged; save it again")
    with damage_reported(where):  # shapes of too many dimensions, or too large ones beside a zero
        array = raw.view(dtype).reshape(shape, order="F" if fortran else "C")
    if dtype.kind == "U" and raw.size and raw.view(np.dtype("u4").newbyteorder(dtype.byteorder)).max() > sys.maxunicode:
        raise fatal("strings of what is no Unicode", where=where, remedy="the file is damaged; save it again")
    return array.astype(dtype.newbyteorder("="), copy=False)


def npz_source(container: Container) -> ArraySource:
    """Read the arrays of an NPZ.

    Raises:
        DataError: keys that are not known, or arrays that are no images and labels.
    """
    keys = {entry.name.removesuffix(".npy"): entry for entry in container.entries if not entry.is_directory}
    chosen: dict[Part, tuple[str, str]] = {}
    options: tuple[tuple[Part, tuple[tuple[str, str], ...]], ...] = (("train", _TRAIN), ("validation", _VALIDATION))
    for part, pairs in options:
        pair = next((p for p in pairs if p[0] in keys and p[1] in keys), None)
        if pair is not None:
            chosen[part] = pair
    if "train" not in chosen:
        raise fatal(
            f"no images and labels among its arrays ({', '.join(sorted(printable(key) for key in keys)[:20])})",
            remedy="name them images and labels, or x_train and y_train (with x_test and y_test)",
        )
    wanted = {key for pair in chosen.values() for key in pair} | ({"classes"} & keys.keys())
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    ceiling = container.budget().ceiling
    for entry, reader in container.stream({keys[key].name for key in wanted}):
        possible = min(entry.possible_bytes, ceiling)
        arrays[entry.name.removesuffix(".npy")] = read_npy(reader, possible, printable(entry.name))
    faults = container.faults
    parts: dict[Part, ArrayPart] = {}
    for part, (image_key, label_key) in chosen.items():
        images = _images(arrays[image_key], image_key, faults)
        labels = _labels(arrays[label_key], label_key, faults)
        if images is not None and labels is not None:
            parts[part] = ArrayPart(images, labels, image_key)
    faults.raise_if_any()
    names = _names(arrays["classes"]) if "classes" in arrays else None
    return ArraySource("npz", parts, container.limits, faults, names)


def _images(array: npt.NDArray[np.generic], key: str, faults: Faults) -> npt.NDArray[np.uint8] | None:
    pixels = _to_uint8(array, key, faults)
    if pixels is None:
        return None
    if pixels.ndim == 4:
        if pixels.shape[3] not in {1, 3, 4} and pixels.shape[1] in {1, 3, 4}:
            pixels = pixels.transpose(0, 2, 3, 1)
        if pixels.shape[3] == 1:
            pixels = pixels[..., 0]
    if not (pixels.ndim == 3 or (pixels.ndim == 4 and pixels.shape[3] in {3, 4})) or 0 in pixels.shape[1:]:
        faults.add(key, f"shape {array.shape} is not (n, h, w), (n, h, w, c) or (n, c, h, w)", "reshape the images")
        return None
    return pixels


def _to_uint8(array: npt.NDArray[np.generic], key: str, faults: Faults) -> npt.NDArray[np.uint8] | None:
    if array.dtype == np.uint8:
        return array.astype(np.uint8, copy=False)
    remedy = "save the images as uint8, 0 to 255"
    if array.dtype.kind not in "iuf":
        faults.add(key, f"images of type {array.dtype.str!r}", remedy)
        return None
    if array.size == 0:
        return array.astype(np.uint8)
    low, high = float(np.min(array)), float(np.max(array))
    top = 1.0 if array.dtype.kind == "f" else 255.0
    if not (low >= 0 and high <= top):  # also false for NaN
        faults.add(key, f"values from {low:g} to {high:g}; expected 0 to {top:g} for {array.dtype}", remedy)
        return None
    out = np.empty(array.shape, dtype=np.uint8)
    for index, image in enumerate(array):
        out[index] = np.rint(image * 255.0) if array.dtype.kind == "f" else image
    return out


def _labels(array: npt.NDArray[np.generic], key: str, faults: Faults) -> npt.NDArray[np.generic] | None:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        faults.add(key, f"labels of shape {array.shape}; expected one per image", "turn one-hot labels into indices")
        return None
    if array.dtype.kind not in "iubU":
        faults.add(key, f"labels of type {array.dtype.str!r}", "save the labels as integers or strings")
        return None
    return array.astype(np.int64) if array.dtype.kind == "b" else array


def _names(array: npt.NDArray[np.generic]) -> list[str]:
    names = [str(name) for name in array.reshape(-1).tolist()]
    if array.dtype.kind != "U" or array.ndim != 1 or len(set(names)) != len(names):
        raise fatal("not a list of distinct strings", where="classes", remedy="name each label once")
    return names
