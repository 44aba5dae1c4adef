"""Class folders (the ImageFolder layout): ``class/image``, optionally below one common folder and in parts.

    cats/1.png            photos/cats/1.png         train/cats/1.png
    dogs/2.jpg            photos/dogs/2.jpg         val/cats/7.png

``train`` must be there if there are parts; ``val``, ``valid``, ``validation`` (or else ``test``) is the data set's own
validation part. Images in folders further down belong to the class folder above them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fqt_core.data.container import Container
from fqt_core.data.faults import ExhaustedError
from fqt_core.data.images import open_image
from fqt_core.data.names import printable
from fqt_core.data.reading import read_all
from fqt_core.data.source import Part, Sample, Source
from fqt_core.errors import DataError

_VALIDATION = ("val", "valid", "validation", "test")


class FolderSource(Source):
    """Images in class folders, read from any container."""

    format = "folders"
    remedies: ClassVar[Mapping[str, str]] = {
        "images": "add images in one folder per class",
        "classes": "put the images of each class in a folder of its own",
    }

    def __init__(self, container: Container) -> None:
        super().__init__(container.limits, container.faults)
        self._container = container
        paths = [(tuple(e.name.split("/")), e.is_directory, e.name) for e in container.entries]
        paths = _strip_common_root(paths)
        by_part = self._split_parts(paths)
        self.classes = sorted({p[0] for p, is_folder, _ in by_part["train"] if is_folder or len(p) > 1})
        self._names: dict[Part, list[str]] = {}
        for part, members in by_part.items():
            self._take_part(part, members)
        self.check_classes()

    def _split_parts(self, paths: list[_Path]) -> dict[Part, list[_Path]]:
        tops = {p[0].lower() for p, is_folder, _ in paths if len(p) > 1 or is_folder}
        if "train" not in tops or not tops <= {"train", *_VALIDATION}:
            return {"train": paths}
        own = next((name for name in _VALIDATION if name in tops), None)
        if own != "test" and "test" in tops:
            self.warnings.append(f"the folder 'test' is not used: '{own}' is the validation part")
        parts: dict[Part, list[_Path]] = {"train": []}
        if own is not None:
            parts["validation"] = []
        for components, is_folder, name in paths:
            top, rest = components[0].lower(), components[1:]
            if not rest:
                if not is_folder:
                    parts["train"].append((components, is_folder, name))
            elif top == "train":
                parts["train"].append((rest, is_folder, name))
            elif top == own:
                parts["validation"].append((rest, is_folder, name))
        return parts

    def _take_part(self, part: Part, members: list[_Path]) -> None:
        number = {name: index for index, name in enumerate(self.classes)}
        names, labels = [], []
        ignored = 0
        for components, is_folder, name in sorted(members):
            if is_folder:
                continue
            if len(components) == 1:
                ignored += 1
            elif components[0] not in number:
                self.faults.add(
                    printable(name),
                    f"class {printable(components[0])!r} is in the validation part only",
                    "give it training images too, or remove it",
                )
            else:
                names.append(name)
                labels.append(number[components[0]])
        if ignored:
            self.warnings.append(f"{ignored} file(s) outside of any class folder are not used")
        self._names[part] = names
        self.labels[part] = np.array(labels, dtype=np.int64)

    def samples(self, wanted: dict[Part, npt.NDArray[np.bool_]]) -> Iterator[Sample]:
        """See :meth:`Source.samples`; images come in the container's own order."""
        places: dict[str, tuple[Part, int]] = {
            self._names[part][index]: (part, index)
            for part, flags in wanted.items()
            for index in np.flatnonzero(flags).tolist()
        }
        for entry, reader in self._container.stream(places.keys()):
            part, index = places[entry.name]
            where = printable(entry.name)
            try:
                content = read_all(reader, self.limits.image_file_bytes, where)
                image = open_image(content, where, self.limits)
            except ExhaustedError:
                raise
            except DataError as error:
                fault = error.faults[0]
                self.faults.add(where, fault.message, fault.remedy)
                continue
            yield Sample(part, index, where, image)


_Path = tuple[tuple[str, ...], bool, str]
"""Components below the root, whether it is a folder, the member's full name."""


def _strip_common_root(paths: list[_Path]) -> list[_Path]:
    """Drop one folder that holds everything, if what is below are folders again."""
    tops = {components[0] for components, _, _ in paths}
    if len(tops) != 1:
        return paths
    below = [(components[1:], is_folder, name) for components, is_folder, name in paths if len(components) > 1]
    if not any(is_folder or len(components) > 1 for components, is_folder, _ in below):
        return paths
    return below
