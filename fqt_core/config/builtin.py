"""The data sets that need no upload: names, classes and what has to be installed. Imports neither torch nor numpy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PROFILES = Path(__file__).with_name("profiles")
"""What is in each of them and some of its images, written by :mod:`fqt_core.data.builtin_profiles`."""


@dataclass(frozen=True)
class BuiltinDataset:
    """One built-in data set.

    ``images`` counts all parts, ``validation_images`` those of its own validation part (0: it has none); ``size`` is
    the side of an image in pixels; ``channels`` 1 (grey) or 3 (RGB). ``requirement`` says in words what must be
    installed, ``remedy`` how. Where the images are files of the system, ``directory`` is where they lie; otherwise they
    come with the Python package ``package``.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    images: int
    size: int
    channels: int
    validation_images: int
    requirement: str
    remedy: str
    directory: Path | None = None
    package: str | None = None

    def installed(self) -> bool:
        """Whether this machine has the data set."""
        if self.directory is not None:
            return self.directory.is_dir()
        return self.package is None or _importable(self.package)

    def profile(self) -> dict[str, Any]:
        """What is in it, as :func:`fqt_core.data.profile.profile` tells it."""
        return dict(json.loads((PROFILES / f"{self.name}.json").read_text()))

    @property
    def thumbnails(self) -> Path:
        """A picture of some of its images, as :class:`fqt_core.data.thumbnails.ContactSheet` lays it out."""
        return PROFILES / f"{self.name}.webp"


@cache
def _importable(package: str) -> bool:
    return find_spec(package) is not None


BUILTIN_DATASETS: dict[str, BuiltinDataset] = {
    row.name: row
    for row in (
        BuiltinDataset(
            name="digits",
            title="Handwritten digits (UCI, 8 x 8)",
            classes=tuple("0123456789"),
            images=1797,
            size=8,
            channels=1,
            validation_images=0,
            requirement="the Python package scikit-learn",
            remedy="pip install scikit-learn",
            package="sklearn",
        ),
        BuiltinDataset(
            name="fashion-mnist",
            title="Fashion-MNIST (Zalando, 28 x 28)",
            classes=(
                "T-shirt/top",
                "Trouser",
                "Pullover",
                "Dress",
                "Coat",
                "Sandal",
                "Shirt",
                "Sneaker",
                "Bag",
                "Ankle boot",
            ),
            images=70_000,
            size=28,
            channels=1,
            validation_images=10_000,
            requirement="the Debian package dataset-fashion-mnist",
            remedy="apt-get install dataset-fashion-mnist",
            directory=Path("/usr/share/datasets/fashion-mnist"),
        ),
    )
}
