"""Images that want to do harm, among good ones: each is refused by name, a typed 4xx within 2 seconds and 256 MB."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import pytest
from PIL import Image

from tests.api.conftest import archive, png
from tests.api.hostile.conftest import MIB, Service

GOOD = {f"{name}/{n}.png": png(n + 100 * (name == "b")) for name in "ab" for n in range(3)}
SIGNATURE = b"\x89PNG\r\n\x1a\n"
CASES: dict[str, tuple[str, Callable[[], bytes]]] = {}


def case(says: str) -> Callable[[Callable[[], bytes]], Callable[[], bytes]]:
    """Register a builder; ``says`` has to be in the words of the image's fault."""

    def keep(build: Callable[[], bytes]) -> Callable[[], bytes]:
        CASES[build.__name__] = (says, build)
        return build

    return keep


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def header(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))


def with_chunks(*chunks: bytes, pixels: bytes | None = None) -> bytes:
    """A grey PNG of 8 x 8 pixels with further chunks before its data."""
    data = zlib.compress(bytes(9 * 8)) if pixels is None else pixels
    return SIGNATURE + header(8, 8, colour=0) + b"".join(chunks) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def saved(kind: str, size: tuple[int, int] = (8, 8), mode: str = "RGB", **options: object) -> bytes:
    data = io.BytesIO()
    Image.new(mode, size).save(data, kind, **options)
    return data.getvalue()


# --- more pixels than there is room for -------------------------------------------------------------------------------


@case("too many pixels")
def png_of_ten_billion_pixels() -> bytes:
    return SIGNATURE + header(100_000, 100_000) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@case("claims 8000 x 8000 pixels")
def png_of_many_flat_pixels() -> bytes:
    return saved("PNG", (8000, 8000), "1")


@case("too many pixels")
def png_whose_size_overflows() -> bytes:
    return SIGNATURE + header(0xFFFF_FFFF, 0xFFFF_FFFF) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@case("broken image")
def png_without_pixels() -> bytes:
    return SIGNATURE + header(0, 0) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@case("too many pixels")
def bmp_of_billions_of_pixels() -> bytes:
    content = bytearray(saved("BMP"))
    content[18:26] = struct.pack("<ii", 0x7FFF, 0x7FFF)
    return bytes(content)


@case("pixels")
def jpeg_of_billions_of_pixels() -> bytes:
    content = bytearray(saved("JPEG"))
    start = content.index(b"\xff\xc0")
    content[start + 5 : start + 9] = b"\xff\xff\xff\xff"
    return bytes(content)


@case("pixels")
def webp_of_many_pixels() -> bytes:
    content = bytearray(saved("WEBP", lossless=True))
    content[21:25] = struct.pack("<I", 0x3FFF | 0x3FFF << 14)
    return bytes(content)


# --- more work than it is worth ---------------------------------------------------------------------------------------


@case("a JPEG of 1,000 scans")
def jpeg_of_a_thousand_scans() -> bytes:
    content = saved("JPEG", (4000, 4000), "L", progressive=True)
    scan = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + scan * (1000 - content.count(b"\xff\xda")) + b"\xff\xd9"


@case("broken image")
def text_that_expands() -> bytes:
    return with_chunks(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(10 * MIB))))


@case("broken image")
def international_text_that_expands() -> bytes:
    return with_chunks(chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(10 * MIB))))


@case("broken image")
def colour_profile_that_expands() -> bytes:
    return with_chunks(chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(10 * MIB))))


@case("broken image")
def text_in_thousands_of_chunks() -> bytes:
    return with_chunks(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(MIB - 1))) * 2000)


@case("an animation of 3 frames")
def animated_png() -> bytes:
    frames = [Image.new("RGB", (8, 8), (n, 0, 0)) for n in range(3)]
    data = io.BytesIO()
    frames[0].save(data, "PNG", save_all=True, append_images=frames[1:])
    return data.getvalue()


@case("an animation of")
def animated_png_of_billions_of_frames() -> bytes:
    return with_chunks(chunk(b"acTL", struct.pack(">II", 0x7FFF_FFFF, 0)))


@case("an animation of 3 frames")
def animated_webp() -> bytes:
    frames = [Image.new("RGB", (8, 8), (80 * n, 0, 0)) for n in range(3)]
    data = io.BytesIO()
    frames[0].save(data, "WEBP", save_all=True, append_images=frames[1:])
    return data.getvalue()


# --- damaged ----------------------------------------------------------------------------------------------------------


@case("broken image")
def half_a_png() -> bytes:
    content = saved("PNG", (64, 64))
    return content[: len(content) // 2]


@case("broken image")
def half_a_jpeg() -> bytes:
    content = saved("JPEG", (64, 64))
    return content[: len(content) // 2]


@case("broken image")
def png_with_a_wrong_checksum() -> bytes:
    content = bytearray(saved("PNG"))
    content[content.index(b"IHDR") + 17] ^= 1
    return bytes(content)


@case("broken image")
def png_with_a_chunk_of_two_gigabytes() -> bytes:
    return SIGNATURE + header(8, 8) + struct.pack(">I", 0x7FFF_FFFF) + b"IDAT" + bytes(100)


@case("broken image")
def png_of_an_unknown_depth() -> bytes:
    return SIGNATURE + header(8, 8, depth=7) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


@case("broken image")
def webp_that_lies_about_its_length() -> bytes:
    content = bytearray(saved("WEBP"))
    content[4:8] = b"\xff\xff\xff\x7f"
    content[16:20] = b"\xff\xff\xff\x7f"
    return bytes(content)


@case("broken image")
def bmp_without_data() -> bytes:
    return saved("BMP", (200, 200))[:60]


# --- something else under its name ------------------------------------------------------------------------------------

_OTHERS = {
    "gif": saved("GIF"),
    "tiff": saved("TIFF"),
    "ico": saved("ICO", (16, 16)),
    "ppm": saved("PPM"),
    "tga": saved("TGA"),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(/etc/passwd) (r) file\n",
    "pdf": b"%PDF-1.7\n1 0 obj\n",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "psd": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 100_000, 100_000, 8, 3),
    "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
    "html": b"<!doctype html><script>alert(1)</script>",
    "nothing": b"",
}


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_image_is_refused_by_name_and_does_no_harm(service: Service, name: str) -> None:
    says, build = CASES[name]
    content = archive({**GOOD, "a/evil.png": build()})
    problem = service.refused(lambda: service.upload(content), "dataset_rejected")
    assert [error["field"] for error in problem["errors"]] == ["a/evil.png"]
    assert says in problem["errors"][0]["message"], problem["errors"]


def test_what_is_no_image_is_refused_whatever_its_name(service: Service) -> None:
    content = archive({**GOOD, **{f"a/{name}.png": content for name, content in _OTHERS.items()}})
    problem = service.refused(lambda: service.upload(content), "dataset_rejected")
    assert {error["field"] for error in problem["errors"]} == {f"a/{name}.png" for name in _OTHERS}
    assert all("not a PNG, JPEG, WebP or BMP image" in error["message"] for error in problem["errors"])


def test_unusual_images_are_taken(service: Service) -> None:
    """What is refused above is refused for the harm, not for being rare."""
    unusual = {
        "cmyk.jpg": saved("JPEG", mode="CMYK"),
        "deep.png": saved("PNG", mode="I;16"),
        "palette.png": saved("PNG", mode="P", transparency=0),
        "bits.png": saved("PNG", mode="1"),
        "alpha.webp": saved("WEBP", mode="RGBA", lossless=True),
        "progressive.jpg": saved("JPEG", (64, 64), progressive=True),
        "text.png": with_chunks(chunk(b"tEXt", b"Comment\0hello")),
        "frame.png": saved("PNG", (1, 500)),
    }
    response = service.upload(archive({**GOOD, **{f"b/{name}": content for name, content in unusual.items()}}))
    assert response.status_code == 201, response.text
    assert response.json()["profile"]["images"] == len(GOOD) + len(unusual)
    service.client.delete(f"/v1/datasets/{response.json()['id']}")
