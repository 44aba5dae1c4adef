"""Signs and windows as bits."""

from __future__ import annotations

from collections.abc import Iterator

from fqt_core import ops
from fqt_core.verification.cases.layer import Case, CaseTable, Layer
from fqt_core.verification.cases.values import images, nbytes, word_bytes


def _pack_sign(layer: Layer) -> Iterator[Case]:
    x = images(layer)
    yield Case("", (x,), bytes=nbytes(x) + word_bytes(x))
    if layer.edge:
        yield Case("without pixels", (x[:, :, 0, 0],), bytes=nbytes(x[:, :, 0, 0]) + word_bytes(x[:, :, 0, 0]))


def _pack_sign_window(layer: Layer) -> Iterator[Case]:
    x = images(layer)
    yield Case("", (x,), bytes=nbytes(x) + 2 * word_bytes(x))


def _unpack_sign(layer: Layer) -> Iterator[Case]:
    x = images(layer)
    yield Case("", (ops.pack_sign(x), layer.channels), bytes=nbytes(x) + word_bytes(x))


def _apply_window(layer: Layer) -> Iterator[Case]:
    x = images(layer)
    yield Case("", (x, ops.pack_sign(x)), bytes=2 * nbytes(x) + word_bytes(x))


CASES: CaseTable = {
    "pack_sign": _pack_sign,
    "pack_sign_window": _pack_sign_window,
    "unpack_sign": _unpack_sign,
    "apply_window": _apply_window,
}
