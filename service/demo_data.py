"""The demo's real data: scikit-learn's handwritten digits (UCI, 8 x 8 grey), as a person's own folder of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HELD_OUT_PER_CLASS = 20


@dataclass(frozen=True)
class HeldOut:
    """An image that no training has seen, and its true class."""

    path: Path
    label: str


def write_digits(digits: range, training: Path, held_out: Path) -> list[HeldOut]:
    """Write PNG files of the given digits: one folder per class below ``training``, and some of each in ``held_out``.

    The last images of each class are held out: the data set is ordered by writer, so these come from other hands than
    most of the training images.

    Args:
        digits: which classes.
        training: folder of the class folders, to be uploaded.
        held_out: folder of the images that are kept back.

    Returns:
        The held-out images, in the order of their classes.
    """
    # Slow to import, and only the demo needs them.
    from PIL import Image  # noqa: PLC0415
    from sklearn.datasets import load_digits  # noqa: PLC0415

    bunch = load_digits()
    # The pixels count 0 to 16 pen dots of a 4 x 4 cell.
    images = (bunch.images * (255 / 16)).round().astype("uint8")
    kept: list[HeldOut] = []
    held_out.mkdir(parents=True, exist_ok=True)
    for digit in digits:
        folder = training / str(digit)
        folder.mkdir(parents=True, exist_ok=True)
        mine = images[bunch.target == digit]
        for index, pixels in enumerate(mine):
            image = Image.fromarray(pixels)
            if index < len(mine) - HELD_OUT_PER_CLASS:
                image.save(folder / f"{index:03d}.png")
            else:
                path = held_out / f"true-{digit}-{index:03d}.png"
                image.save(path)
                kept.append(HeldOut(path, str(digit)))
    return kept
