"""What a data set holds and what is wrong with it, as a JSON-able record."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fqt_core.data.faults import Faults
from fqt_core.data.images import flatten, is_grey
from fqt_core.data.limits import DEFAULT_LIMITS, Limits
from fqt_core.data.load import open_source
from fqt_core.data.source import Source
from fqt_core.errors import DataError

_FEW_IMAGES = 5
_IMBALANCE = 10
_LISTED = 5


def profile(source: Path | str, *, limits: Limits = DEFAULT_LIMITS) -> dict[str, Any]:
    """Read all of a data set once, decode every image, and describe it.

    Returns:
        ``format`` (``folders``, ``idx``, ``npz``, ``builtin``; null if unknown), ``classes``
        (``[{"name", "count", "validation_count"}]``, images for training), ``images``, ``validation_images``
        (the data set's own part, 0 if none), ``sizes`` (``{"min" | "median" | "max": {"width", "height"}}`` in
        pixels, null without images), ``channels`` (1 if every image is grey, else 3), ``mean`` and ``std`` (per
        channel over all training pixels, 0 to 1), ``duplicates`` (images whose content occurred before),
        ``warnings`` (sentences), ``faults`` (``[{"where", "message", "remedy"}]``, at most 20; empty: usable),
        ``complete`` (false: reading stopped at the 20th fault, and there may be more).

    Raises:
        FileNotFoundError: neither a built-in name nor an existing path. Bad data never raises: it is in ``faults``.
    """
    faults = Faults()
    opened: Source | None = None
    survey = _Survey()
    try:
        opened = open_source(source, limits, faults)
        for sample in opened.samples({part: np.ones(len(v), np.bool_) for part, v in opened.labels.items()}):
            label = int(opened.labels[sample.part][sample.index])
            survey.add(sample.image, sample.content, label, counts=sample.part == "train")
    except DataError as error:
        faults.absorb(error)
    return {
        **_structure(opened),
        **survey.figures(),
        "warnings": [*(opened.warnings if opened else []), *survey.warnings(), *_balance(opened)],
        "faults": [{"where": f.where, "message": f.message, "remedy": f.remedy} for f in faults.found],
        "complete": faults.complete,
    }


class _Survey:
    """Sizes, channel statistics (exact: from histograms) and duplicates of the images seen."""

    def __init__(self) -> None:
        self._sizes: list[tuple[int, int]] = []
        self._grey = np.zeros(256, np.int64)
        self._colour = np.zeros((3, 256), np.int64)
        self._all_grey = True
        self._labels_of: dict[bytes, int] = {}
        self._duplicates = 0
        self._contradictions = 0

    def add(self, image: Image.Image, content: bytes, label: int, *, counts: bool) -> None:
        """Take one image in; ``counts`` says whether it is for training."""
        self._sizes.append(image.size)
        digest = hashlib.blake2b(content + repr(image.size).encode(), digest_size=16).digest()
        if digest in self._labels_of:
            self._duplicates += 1
            self._contradictions += self._labels_of[digest] != label
        else:
            self._labels_of[digest] = label
        if not counts:
            return
        self._all_grey = self._all_grey and is_grey(image)
        if is_grey(image):
            self._grey += np.array(flatten(image, 1).histogram(), np.int64)
        else:
            self._colour += np.array(flatten(image, 3).histogram(), np.int64).reshape(3, 256)

    def figures(self) -> dict[str, Any]:
        """The profile's rows about images."""
        histogram = self._grey[None] if self._all_grey else self._colour + self._grey
        moments = [_moments(row) for row in histogram]
        sizes = np.array(self._sizes)
        return {
            "sizes": {
                name: dict(zip(("width", "height"), np.rint(rule(sizes, axis=0)).astype(int).tolist(), strict=True))
                for name, rule in (("min", np.min), ("median", np.median), ("max", np.max))
            }
            if self._sizes
            else None,
            "channels": 1 if self._all_grey else 3,
            "mean": [mean for mean, _ in moments],
            "std": [std for _, std in moments],
            "duplicates": self._duplicates,
        }

    def warnings(self) -> list[str]:
        """Sentences about duplicates."""
        found = []
        if self._duplicates:
            found.append(f"{self._duplicates} image(s) occur more than once")
        if self._contradictions:
            found.append(f"{self._contradictions} of them in more than one class")
        return found


def _moments(histogram: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[float, float]:
    count = int(histogram.sum())
    if not count:
        return 0.0, 0.0
    values = [int(n) for n in histogram]
    total = sum(n * v for v, n in enumerate(values))
    squares = sum(n * v * v for v, n in enumerate(values))
    variance = (count * squares - total * total) / (count * count)
    return round(total / count / 255, 6), round(variance**0.5 / 255, 6)


def _structure(opened: Source | None) -> dict[str, Any]:
    if opened is None:
        return {"format": None, "classes": [], "images": 0, "validation_images": 0}
    number = len(opened.classes)
    train = np.bincount(opened.labels.get("train", np.zeros(0, np.int64)), minlength=number)
    own = np.bincount(opened.labels.get("validation", np.zeros(0, np.int64)), minlength=number)
    rows = zip(opened.classes, train.tolist(), own.tolist(), strict=True)
    return {
        "format": opened.format,
        "classes": [{"name": name, "count": count, "validation_count": held} for name, count, held in rows],
        "images": int(train.sum()),
        "validation_images": int(own.sum()),
    }


def _balance(opened: Source | None) -> list[str]:
    counts = {row["name"]: row["count"] for row in _structure(opened)["classes"] if row["count"]}
    if not counts:
        return []
    found = []
    few = [name for name, count in counts.items() if count < _FEW_IMAGES]
    if few:
        listed = ", ".join(few[:_LISTED]) + (", …" if len(few) > _LISTED else "")
        found.append(f"{len(few)} class(es) have fewer than {_FEW_IMAGES} images: {listed}")
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if counts[most] > _IMBALANCE * counts[least]:
        found.append(
            f"classes are out of balance: {most!r} has {counts[most]:,} images, {least!r} has {counts[least]:,}"
        )
    return found
