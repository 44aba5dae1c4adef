"""What every kind of data set looks like to the code that loads or profiles it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from fqt_core.config import class_names
from fqt_core.data.faults import WHOLE_FILE, Faults
from fqt_core.data.limits import Limits
from fqt_core.data.names import printable

Part: TypeAlias = Literal["train", "validation"]
PARTS: tuple[Part, ...] = ("train", "validation")
Labels: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """One decoded image, its place in its part, and where it came from."""

    part: Part
    index: int
    where: str
    image: Image.Image


class Source(ABC):
    """A data set whose structure is known and checked, and whose images can be streamed.

    ``labels[part]`` int64 ``(n,)`` indexes ``classes``. The order of images within a part does not depend on the
    order of members in an archive.
    """

    format: str
    remedies: ClassVar[Mapping[str, str]]
    """What to do about no images (``images``) and about one class only (``classes``), in this kind of data set."""

    def __init__(self, limits: Limits, faults: Faults) -> None:
        self.limits = limits
        self.faults = faults
        self.classes: list[str] = []
        self.labels: dict[Part, Labels] = {}
        self.warnings: list[str] = []

    @abstractmethod
    def samples(self, wanted: dict[Part, npt.NDArray[np.bool_]]) -> Iterator[Sample]:
        """Decode the images whose flag is set; one that cannot be decoded becomes a fault and is left out."""

    def check_classes(self) -> None:
        """Note the faults that concern the data set as a whole: names, no images, one class only, an empty class."""
        for name in self.classes:
            if (reason := class_names.refusal(name)) is not None:
                self.faults.add(printable(name), f"the name of this class {reason}", "rename the class")
        train = self.labels.get("train", np.zeros(0, np.int64))
        if not len(train):
            self.faults.add(WHOLE_FILE, "no images for training", self.remedies["images"])
            return
        counts = np.bincount(train, minlength=len(self.classes))
        if len(self.classes) < 2:
            self.faults.add(
                WHOLE_FILE,
                f"only one class ({self.classes[0]!r}); a classifier needs at least two",
                self.remedies["classes"],
            )
        if len(self.classes) > self.limits.classes:
            self.faults.add(WHOLE_FILE, f"more than {self.limits.classes:,} classes", "use fewer classes")
            return
        for name, count in zip(self.classes, counts, strict=True):
            if count == 0:
                self.faults.add(
                    printable(name), "this class has no images for training", "add images, or remove the class"
                )


@dataclass
class ArrayPart:
    """Images and labels of one part that are arrays: uint8 ``(n, h, w)`` or ``(n, h, w, 3 or 4)``, labels any."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.generic]
    where: str
    names: Sequence[str] | None = field(default=None)


class ArraySource(Source):
    """A data set that is arrays already (IDX, NPZ, digits)."""

    remedies: ClassVar[Mapping[str, str]] = {
        "images": "save images and labels that are not empty",
        "classes": "label the images of each class differently",
    }

    def __init__(
        self,
        kind: str,
        parts: dict[Part, ArrayPart],
        limits: Limits,
        faults: Faults,
        classes: Sequence[str] | None = None,
    ) -> None:
        """``classes`` names the labels 0, 1, …; without it each distinct label is a class, named by its value."""
        super().__init__(limits, faults)
        self.format = kind
        self._parts = parts
        for part, data in parts.items():
            if len(data.images) != len(data.labels):
                self.faults.add(
                    data.where,
                    f"{len(data.images):,} images but {len(data.labels):,} labels ({part})",
                    "images and labels must belong together",
                )
        self.faults.raise_if_any()
        self._name_classes(classes)
        self.faults.raise_if_any()  # without labels, what follows would only be found missing
        self.check_classes()

    def _name_classes(self, classes: Sequence[str] | None) -> None:
        if classes is None:
            train = self._parts.get("train")
            values = np.unique(train.labels) if train is not None else np.zeros(0, np.int64)
            self.classes = [str(value) for value in values.tolist()]
        else:
            values = np.arange(len(classes))
            self.classes = list(classes)
        for part, data in self._parts.items():
            known = np.isin(data.labels, values)
            if not known.all():
                bad = data.labels[~known][0]
                if classes is None:
                    message = f"label {bad.item()!r} ({part}) is no class of the training part"
                    self.faults.add(data.where, message, "every label must be one of the classes")
                else:
                    message = f"label {bad.item()!r} ({part}) has no name: there are {len(classes)} in `classes`"
                    self.faults.add(data.where, message, "name every label, from 0 on, or leave `classes` out")
                continue
            self.labels[part] = np.searchsorted(values, data.labels).astype(np.int64)

    def samples(self, wanted: dict[Part, npt.NDArray[np.bool_]]) -> Iterator[Sample]:
        """See :meth:`Source.samples`."""
        for part, flags in wanted.items():
            data = self._parts[part]
            for index in np.flatnonzero(flags).tolist():
                pixels = np.ascontiguousarray(data.images[index])
                yield Sample(part, index, f"{data.where}[{index}]", Image.fromarray(pixels))
