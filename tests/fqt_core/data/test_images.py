"""Decoding: every colour model, orientation and transparency, and the same pixels everywhere."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from fqt_core.data import decode_image
from fqt_core.data.images import is_grey, open_image, to_array

from .build import picture


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_lossless_formats_keep_pixels(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    pixels = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    data = encode(Image.fromarray(pixels), kind, **options)
    assert np.array_equal(decode_image(data, channels=3, image_size=6), pixels.transpose(2, 0, 1))


def test_grey_weights_are_itu_601() -> None:
    data = encode(Image.new("RGB", (2, 2), (255, 0, 0)))
    assert decode_image(data, channels=1, image_size=2).tolist() == [[[76, 76], [76, 76]]]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_become_white(mode: str) -> None:
    if mode == "P":
        image = Image.new("P", (2, 2), 0)
        image.putpalette([10, 20, 30] * 256)
        data = encode(image, transparency=0)
    else:
        data = encode(Image.new(mode, (2, 2), (0,) * (len(mode) - 1) + (0,)))
    assert decode_image(data, channels=3, image_size=2).min() == 255


def test_palette_without_transparency_keeps_colours() -> None:
    image = Image.new("P", (2, 2), 3)
    image.putpalette([10, 20, 30] * 256)
    assert decode_image(encode(image), channels=3, image_size=2)[:, 0, 0].tolist() == [10, 20, 30]


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    data = encode(Image.fromarray(np.array([[0, 0x8000], [0xFFFF, 0x0100]], dtype=np.uint16)))
    assert decode_image(data, channels=1, image_size=2).tolist() == [[[0, 128], [255, 1]]]
    assert is_grey(open_image(data))


def test_bilevel_and_cmyk() -> None:
    assert decode_image(encode(Image.new("1", (2, 2), 1)), channels=3, image_size=2).min() == 255
    cmyk = encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")
    red = decode_image(cmyk, channels=3, image_size=8)
    assert red[0].min() > 240
    assert red[1:].max() < 20


def test_exif_orientation_is_applied() -> None:
    pixels = np.zeros((4, 8, 3), dtype=np.uint8)
    pixels[:, :4] = 255  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: white comes to the top
    for kind in ("PNG", "JPEG"):
        turned = decode_image(encode(Image.fromarray(pixels), kind, exif=exif), channels=1, image_size=8)[0]
        assert turned[:4].min() > 200
        assert turned[4:].max() < 60


def test_resizing_is_antialiased_and_keeps_the_whole_image() -> None:
    stripes = np.zeros((64, 128), dtype=np.uint8)
    stripes[:, ::2] = 255
    small = decode_image(encode(Image.fromarray(stripes)), channels=1, image_size=8)
    assert abs(int(small.min()) - 127) <= 8
    assert abs(int(small.max()) - 127) <= 8


def test_grey_images_resize_the_same_as_rgb() -> None:
    data = picture(4, (20, 12), "L")
    grey = decode_image(data, channels=1, image_size=9)
    assert np.array_equal(decode_image(data, channels=3, image_size=9), np.repeat(grey, 3, axis=0))
    as_rgb = to_array(open_image(data).convert("RGB"), 3, 9)
    assert np.array_equal(as_rgb, np.repeat(grey, 3, axis=0))


def test_decoding_gives_these_very_pixels() -> None:
    """A change of this digest means that data sets, and so results, are no longer what they were."""
    images = [decode_image(picture(i, (31, 17), mode), channels=c, image_size=16) for i, mode, c in CASES]
    digest = hashlib.sha256(b"".join(image.tobytes() for image in images)).hexdigest()
    assert digest == DIGEST


CASES = [(0, "RGB", 3), (1, "RGB", 1), (2, "L", 1), (3, "RGBA", 3), (4, "L", 3)]
DIGEST = "edcebd873e9abb8b1b021472272490f7a79cff645724c570db9fefd4a246ec53"
