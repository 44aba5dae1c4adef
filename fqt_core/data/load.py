"""Opens a data set of any accepted kind, and decodes it to arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fqt_core.config.builtin import BUILTIN_DATASETS
from fqt_core.data.builtin import builtin_source
from fqt_core.data.container import Container, open_container
from fqt_core.data.dataset import ImageDataset
from fqt_core.data.faults import WHOLE_FILE, Faults, fatal
from fqt_core.data.folders import FolderSource
from fqt_core.data.idx import idx_source, is_idx, plain_reader, read_exactly, refuse_lone_file
from fqt_core.data.images import to_array
from fqt_core.data.limits import DEFAULT_LIMITS, Limits
from fqt_core.data.npz import MAGIC, npz_source
from fqt_core.data.reading import allocate
from fqt_core.data.source import Part, Source
from fqt_core.errors import DataError

_PEEKED_MEMBERS = 8


def open_source(source: Path | str, limits: Limits, faults: Faults) -> Source:
    """Find out by content what ``source`` is, and check its structure (images are not decoded yet).

    Raises:
        DataError: nothing that is read here, or unusable as a whole.
        FileNotFoundError: neither a built-in name nor an existing path.
    """
    if str(source) in BUILTIN_DATASETS:
        return builtin_source(str(source), limits, faults)
    if Path(source).is_file():
        refuse_lone_file(Path(source))
    container = open_container(Path(source), limits, faults)
    kind = _kind(container)
    if kind == "npz":
        return npz_source(container)
    return idx_source(container) if kind == "idx" else FolderSource(container)


def _kind(container: Container) -> str:
    """Look at the first bytes of the first few members."""
    files = [entry.name for entry in container.entries if not entry.is_directory]
    if not files and not container.faults.found:
        raise fatal("there are no files in it", remedy="upload images in one folder per class")
    budget = container.budget()
    for entry, packed in container.stream(set(files[:_PEEKED_MEMBERS])):
        reader, _ = plain_reader(entry, packed, budget)
        head = read_exactly(reader, len(MAGIC))
        if head == MAGIC:
            return "npz"
        if is_idx(head):
            return "idx"
    return "folders"


def load_dataset(
    source: Path | str,
    *,
    classes: Sequence[str] | None = None,
    channels: int = 3,
    image_size: int = 32,
    limits: Limits = DEFAULT_LIMITS,
) -> ImageDataset:
    """Load a data set and decode all its images.

    Args:
        source: a zip, tar or tar.gz of class folders or IDX files, an NPZ, a folder, or a built-in name
            (``digits``, ``fashion-mnist``). The kind is found by content; names and extensions do not matter.
        classes: only these classes, labelled 0, 1, … in this order; ``None``: all, sorted by name.
        channels: 1 converts to grey, 3 to RGB.
        image_size: side in pixels of the square that every image is resized to (the defaults are the
            architectures').
        limits: bounds on what is read.

    Raises:
        DataError: with every fault that was found (up to 20) in ``.faults``: what, where, and the remedy.
        FileNotFoundError: neither a built-in name nor an existing path.
    """
    if channels not in {1, 3} or image_size < 1:
        raise ValueError("channels must be 1 or 3, and image_size at least 1")
    faults = Faults()
    try:
        opened = open_source(source, limits, faults)
        faults.raise_if_any()
        names = list(classes) if classes is not None else opened.classes
        return _decode(opened, _relabelling(opened.classes, names), names, channels, image_size)
    except DataError as error:
        faults.absorb(error)
        raise faults.error() from error


def _relabelling(known: list[str], wanted: list[str]) -> npt.NDArray[np.int64]:
    """New label of each known class; -1 where it is not wanted."""
    unknown = [name for name in wanted if name not in known]
    if unknown:
        listed = ", ".join(map(repr, known[:20])) + (", …" if len(known) > 20 else "")
        raise fatal(f"no such class: {', '.join(map(repr, unknown))}", remedy=f"the classes are {listed}")
    if len(set(wanted)) != len(wanted) or len(wanted) < 2:
        raise fatal("classes: at least two, each named once", remedy="mend the list of classes")
    new = np.full(len(known), -1, dtype=np.int64)
    new[[known.index(name) for name in wanted]] = np.arange(len(wanted))
    return new


def _decode(
    source: Source, new_labels: npt.NDArray[np.int64], classes: list[str], channels: int, image_size: int
) -> ImageDataset:
    labels = {part: new_labels[old] for part, old in source.labels.items()}
    wanted = {part: values >= 0 for part, values in labels.items()}
    places = {part: np.cumsum(flags) - 1 for part, flags in wanted.items()}
    needed = sum(int(flags.sum()) for flags in wanted.values()) * channels * image_size * image_size
    if needed > source.limits.decoded_bytes:
        raise fatal(
            f"the images take {needed:,} bytes at {image_size} x {image_size} pixels; "
            f"the limit is {source.limits.decoded_bytes:,}",
            remedy="choose a smaller image_size, grey images, or fewer classes",
        )
    images: dict[Part, npt.NDArray[np.uint8]] = {
        part: allocate((int(flags.sum()), channels, image_size, image_size), WHOLE_FILE)
        for part, flags in wanted.items()
    }
    for sample in source.samples(wanted):
        images[sample.part][places[sample.part][sample.index]] = to_array(sample.image, channels, image_size)
    source.faults.raise_if_any()

    def dataset(part: Part, own: ImageDataset | None) -> ImageDataset:
        kept = labels[part][wanted[part]]
        return ImageDataset(images[part], kept, classes, source.format, own, source.warnings)

    own = dataset("validation", None) if "validation" in labels and len(images["validation"]) else None
    return dataset("train", own)
