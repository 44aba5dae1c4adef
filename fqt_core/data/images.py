"""Decodes one image file into a square uint8 array: the same bytes in, the same pixels out, on every machine.

Only PNG, JPEG, WebP and BMP are decoded, chosen by content. The whole image is kept: it is resized to the square,
bicubic with antialiasing (Pillow's fixed-point resampler, so the result does not depend on the machine).
Transparent pixels are laid over white; EXIF orientation is applied.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
from PIL import (
    BmpImagePlugin,  # noqa: F401 - the four imports register exactly the decoders that are allowed
    Image,
    ImageOps,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from fqt_core.data.faults import WHOLE_FILE, fatal
from fqt_core.data.limits import DEFAULT_LIMITS, Limits
from fqt_core.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F"})
_WIDE_MODES = frozenset({"I", "I;16", "I;16B", "I;16L"})
_JPEG_SCAN = b"\xff\xda"
_REMEDY = "export it again as PNG or JPEG, or remove it"

# What Pillow's decoders raise on damaged files: each plugin has its own taste.
_DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    AttributeError,
    struct.error,
    zlib.error,
)


def is_image(head: bytes) -> bool:
    """Whether the first 12 bytes are those of an image format that is read here."""
    return head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM")) or (
        head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    )


def open_image(data: bytes, where: str = WHOLE_FILE, limits: Limits = DEFAULT_LIMITS) -> Image.Image:
    """Decode ``data`` completely, upright.

    Raises:
        DataError: no image, a damaged or animated one, or one with more than ``limits.image_pixels`` pixels.
    """
    if not is_image(data[:12]):
        raise fatal("not a PNG, JPEG, WebP or BMP image", where=where, remedy="convert it or remove it")
    if data.startswith(b"\xff\xd8") and (scans := data.count(_JPEG_SCAN)) > limits.jpeg_scans:
        raise fatal(f"a JPEG of {scans:,} scans", where=where, remedy=_REMEDY)
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        if (frames := getattr(image, "n_frames", 1)) > 1:
            raise fatal(f"an animation of {frames:,} frames", where=where, remedy="save one image per file")
        width, height = image.size
        if width * height > limits.image_pixels:
            raise _too_large(where, width, height, limits)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise fatal(f"too many pixels ({error})", where=where, remedy="make the image smaller") from error
    except MemoryError as error:
        raise fatal("needs more memory than is available", where=where, remedy="make the image smaller") from error
    except _DECODER_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, UnidentifiedImageError):  # its own words name an object in memory
            reason = "its header makes no sense"
        raise fatal(f"broken image ({reason})", where=where, remedy=_REMEDY) from error
    return image


def _too_large(where: str, width: int, height: int, limits: Limits) -> DataError:
    return fatal(
        f"the image claims {width} x {height} pixels; at most {limits.image_pixels:,} are read",
        where=where,
        remedy="make the image smaller",
    )


def is_grey(image: Image.Image) -> bool:
    """Whether the image's own colour model is grey."""
    return image.mode in _GREY_MODES


def flatten(image: Image.Image, channels: int) -> Image.Image:
    """Bring any image to mode ``L`` (``channels=1``) or ``RGB`` (3), transparency laid over white."""
    mode = "L" if channels == 1 else "RGB"
    if image.mode in _WIDE_MODES:
        # Pillow clips 16-bit grey at 255 when it converts; the high byte is what is meant.
        image = Image.fromarray(np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return image if image.mode == mode else image.convert(mode)


def to_array(image: Image.Image, channels: int, image_size: int) -> npt.NDArray[np.uint8]:
    """Resize to a square of ``image_size`` pixels. Returns uint8 ``(channels, image_size, image_size)``."""
    grey = channels == 1 or is_grey(image)
    image = flatten(image, 1 if grey else 3)
    if image.size != (image_size, image_size):
        image = image.resize((image_size, image_size), Image.Resampling.BICUBIC)
    pixels = np.asarray(image, dtype=np.uint8)
    if grey:
        return np.ascontiguousarray(np.broadcast_to(pixels, (channels, *pixels.shape)))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def decode_image(
    data: bytes, *, channels: int, image_size: int, where: str = WHOLE_FILE, limits: Limits = DEFAULT_LIMITS
) -> npt.NDArray[np.uint8]:
    """Decode the bytes of one image file as training does.

    Returns:
        uint8 ``(channels, image_size, image_size)``.

    Raises:
        DataError: see :func:`open_image`.
    """
    return to_array(open_image(data, where, limits), channels, image_size)
