"""How much a data set may ask for. Everything that comes from outside is read within these bounds."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024
GIB = 1024 * MIB

# Deflate cannot expand more than 1032 : 1 (RFC 1951: two bits at the least per match of 258 bytes, plus framing).
DEFLATE_RATIO = 1032


@dataclass(frozen=True)
class Limits:
    """Bounds of one data set. Sizes are bytes of uncompressed content unless said otherwise.

    ``ratio`` (uncompressed to compressed, over the whole archive) only counts beyond ``ratio_free_bytes``: a small
    archive of flat drawings compresses well and harms nobody. ``jpeg_scans``: each scan of a progressive JPEG (ten are
    usual) passes over the whole image, however few bytes it has. ``links``: whether links to files in a folder are
    followed; not where others than who runs this may write to it.
    """

    total_bytes: int = 8 * GIB
    image_file_bytes: int = 64 * MIB
    image_pixels: int = 50_000_000
    jpeg_scans: int = 200
    members: int = 500_000
    folders: int = 12_000
    directory_bytes: int = 64 * MIB
    depth: int = 12
    name_length: int = 1024
    ratio: int = 200
    ratio_free_bytes: int = 16 * MIB
    decoded_bytes: int = 4 * GIB
    classes: int = 10_000
    links: bool = True


DEFAULT_LIMITS = Limits()
