"""Small data sets in archives, and the pictures that they hold."""

from __future__ import annotations

import io
import zipfile

from PIL import Image


def archive(counts: tuple[int, int]) -> bytes:
    """A zip of two classes with so many images each."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name, count in zip("ab", counts, strict=True):
            for number in range(count):
                file.writestr(f"{name}/{number}.png", picture(number + 100 * (name == "b")))
    return data.getvalue()


def picture(grey: int, format: str = "PNG") -> bytes:
    """An image file of one shade."""
    data = io.BytesIO()
    Image.new("L", (8, 8), grey).save(data, format)
    return data.getvalue()
