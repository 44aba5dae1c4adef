"""What a data set holds and what is wrong with it, as a JSON-able record."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fqt_core.data.faults import Faults
from fqt_core.data.images import flatten, is_grey
from fqt_core.data.limits import DEFAULT_LIMITS, Limits
from fqt_core.data.load import open_source
from fqt_core.data.source import Sample, Source
from fqt_core.data.thumbnails import ContactSheet
from fqt_core.errors import DataError

_FEW_IMAGES = 5
_IMBALANCE = 10
_LISTED = 5
_SIZES_LISTED = 5
_CONFLICTS_LISTED = 10
_STRIP_PIXELS = 1 << 20


def profile(source: Path | str, *, limits: Limits = DEFAULT_LIMITS, thumbnails: Path | None = None) -> dict[str, Any]:
    """Read all of a data set once, decode every image, and describe it.

    Args:
        source: as of :func:`fqt_core.data.load_dataset`.
        limits: bounds on what is read.
        thumbnails: where to write a contact sheet (:mod:`fqt_core.data.thumbnails`) if the data set is usable.

    Returns:
        ``format`` (``folders``, ``idx``, ``npz``, ``builtin``; null if unknown), ``classes``
        (``[{"name", "count", "validation_count"}]``, images for training), ``images``, ``validation_images``
        (the data set's own part, 0 if none), ``sizes`` (``{"min" | "median" | "max": {"width", "height"}}`` in
        pixels, null without images), ``common_sizes`` (``[{"width", "height", "count"}]``, at most 5, the most frequent
        first), ``channels`` (1 if every image is grey, else 3), ``mean`` and ``std`` (per channel over all training
        pixels, 0 to 1), ``imbalance`` (images of the largest class to those of the smallest, null without images),
        ``duplicates`` (images whose decoded pixels occurred before), ``mislabelled`` (those of them that occurred in
        another class), ``leaked`` (those that are both in the training and the validation part), ``conflicts``
        (``[{"images": [where, where], "classes": [name, name]}]``, at most 10 of ``mislabelled``), ``thumbnails``
        (``{"rows", "columns", "side"}``, null if none were written), ``warnings`` (sentences), ``faults``
        (``[{"where", "message", "remedy"}]``, at most 20; empty: usable), ``complete`` (false: reading stopped at the
        20th fault, and there may be more).

    Raises:
        FileNotFoundError: neither a built-in name nor an existing path. Bad data never raises: it is in ``faults``.
    """
    faults = Faults()
    opened: Source | None = None
    survey = _Survey()
    shown = None
    try:
        opened = open_source(source, limits, faults)
        sheet = ContactSheet(opened) if thumbnails is not None else None
        for sample in opened.samples({part: np.ones(len(v), np.bool_) for part, v in opened.labels.items()}):
            pixels = flatten(sample.image, 3)
            survey.add(sample, pixels, int(opened.labels[sample.part][sample.index]))
            if sheet is not None and sample.part == "train":
                sheet.add(sample.index, pixels)
        if sheet is not None and thumbnails is not None and not faults.found:
            shown = sheet.save(thumbnails)
    except DataError as error:
        faults.absorb(error)
    classes = opened.classes if opened else []
    return {
        **_structure(opened),
        **survey.figures(classes),
        "imbalance": _imbalance(opened),
        "thumbnails": shown,
        "warnings": [*(opened.warnings if opened else []), *survey.warnings(classes), *_balance(opened)],
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
        self._first: dict[bytes, tuple[int, str, str]] = {}  # label, part, where
        self._duplicates = 0
        self._leaked = 0
        self._mislabelled = 0
        self._conflicts: list[tuple[str, int, str, int]] = []

    def add(self, sample: Sample, pixels: Image.Image, label: int) -> None:
        """Take one image in; ``pixels`` is what training sees of it before it is resized, as mode ``RGB``."""
        self._sizes.append(sample.image.size)
        self._compare(sample, pixels, label)
        if sample.part != "train":
            return
        histogram = np.array(pixels.histogram(), np.int64).reshape(3, 256)
        if is_grey(sample.image):
            self._grey += histogram[0]
        else:
            self._all_grey = False
            self._colour += histogram

    def _compare(self, sample: Sample, pixels: Image.Image, label: int) -> None:
        first, part, where = self._first.setdefault(_digest(pixels), (label, sample.part, sample.where))
        if (part, where) == (sample.part, sample.where):
            return
        self._duplicates += 1
        self._leaked += part != sample.part
        if first != label:
            self._mislabelled += 1
            if len(self._conflicts) < _CONFLICTS_LISTED:
                self._conflicts.append((where, first, sample.where, label))

    def figures(self, classes: Sequence[str]) -> dict[str, Any]:
        """The profile's rows about images."""
        histogram = self._grey[None] if self._all_grey else self._colour + self._grey
        moments = [_moments(row) for row in histogram]
        sizes = np.array(self._sizes)
        common = Counter(self._sizes).most_common()
        common.sort(key=lambda entry: (-entry[1], entry[0]))  # whatever order the images came in
        return {
            "sizes": {
                name: dict(zip(("width", "height"), np.rint(rule(sizes, axis=0)).astype(int).tolist(), strict=True))
                for name, rule in (("min", np.min), ("median", np.median), ("max", np.max))
            }
            if self._sizes
            else None,
            "common_sizes": [
                {"width": width, "height": height, "count": count} for (width, height), count in common[:_SIZES_LISTED]
            ],
            "channels": 1 if self._all_grey else 3,
            "mean": [mean for mean, _ in moments],
            "std": [std for _, std in moments],
            "duplicates": self._duplicates,
            "mislabelled": self._mislabelled,
            "leaked": self._leaked,
            "conflicts": [
                {"images": [one, other], "classes": [classes[here], classes[there]]}
                for one, here, other, there in self._conflicts
            ],
        }

    def warnings(self, classes: Sequence[str]) -> list[str]:
        """Sentences about duplicates."""
        found = []
        if self._duplicates:
            found.append(f"{self._duplicates} image(s) occur more than once")
        if self._leaked:
            found.append(f"{self._leaked} image(s) are in the training and in the validation part: accuracy flatters")
        if self._mislabelled:
            one, here, other, there = self._conflicts[0]
            found.append(
                f"{self._mislabelled} image(s) are in more than one class, so a label is wrong; for example "
                f"{one} ({classes[here]}) and {other} ({classes[there]})"
            )
        return found


def _digest(pixels: Image.Image) -> bytes:
    """A digest of size and pixels, taken in strips: a copy of a large image would take as much memory as the image."""
    width, height = pixels.size
    digest = hashlib.blake2b(f"{width}x{height}".encode(), digest_size=16)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = pixels.crop((0, top, width, min(height, top + rows))) if rows < height else pixels
        digest.update(strip.tobytes())
    return digest.digest()


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


def _imbalance(opened: Source | None) -> float | None:
    counts = [row["count"] for row in _structure(opened)["classes"] if row["count"]]
    return round(max(counts) / min(counts), 3) if counts else None


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
