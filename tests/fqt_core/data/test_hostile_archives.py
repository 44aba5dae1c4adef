"""Containers that are damaged, or made to harm: each is refused by name and place, and harmless."""

from __future__ import annotations

import bz2
import io
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fqt_core.data import load_dataset
from fqt_core.errors import DataError

from .build import (
    class_folders,
    picture,
    write_tar,
    write_zip,
)
from .hostile import TWO_GB, Cases

CASES = Cases()
case = CASES.add


@case("", "an empty file")
def empty_file(path: Path) -> Path:
    path.write_bytes(b"")
    return path


@case("", "unknown type")
def text_file(path: Path) -> Path:
    path.write_text("cats and dogs\n" * 100)
    return path


@case("", "unknown type")
def seven_zip(path: Path) -> Path:
    path.write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(600))
    return path


@case("", "cannot be read")
def truncated_zip(path: Path) -> Path:
    content = write_zip(path, class_folders()).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


@case("", "no files")
def empty_zip(path: Path) -> Path:
    return write_zip(path, {})


@case("cats/1.png", "cannot be read")
def flipped_bytes_in_a_zip_member(path: Path) -> Path:
    members = class_folders()
    content = bytearray(write_zip(path, members, zipfile.ZIP_STORED).read_bytes())
    start = content.index(members["cats/1.png"])
    content[start + 40] ^= 0xFF
    path.write_bytes(content)
    return path


@case("../evil.png", "leads out of the archive")
def path_traversal(path: Path) -> Path:
    return write_zip(path, {**class_folders(), "../evil.png": picture()})


@case("cats/..\\..\\evil.png", "leads out of the archive")
def path_traversal_with_backslashes(path: Path) -> Path:
    return write_zip(path, {**class_folders(), "cats/..\\..\\evil.png": picture()})


@case("/etc/evil.png", "absolute path")
def absolute_path_in_a_tar(path: Path) -> Path:
    return write_tar(path, {**class_folders(), "/etc/evil.png": picture()})


@case("C:/evil.png", "absolute path")
def drive_letter(path: Path) -> Path:
    return write_zip(path, {**class_folders(), "C:/evil.png": picture()})


@case("cats/a�b.png", "control characters")
def control_characters_in_a_name(path: Path) -> Path:
    return write_zip(path, {**class_folders(), "cats/a\nb.png": picture()})


@case("a/" * 20 + "x.png", "folders deep")
def too_deep(path: Path) -> Path:
    return write_zip(path, {**class_folders(), "a/" * 20 + "x.png": picture()})


@case("cats/0.png", "twice")
def one_name_twice(path: Path) -> Path:
    write_zip(path, class_folders())
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("cats/0.png", picture(7))
    return path


@case("cats/link.png", "link or device")
def link_in_a_zip(path: Path) -> Path:
    write_zip(path, class_folders())
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("cats/link.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return path


@case("cats/0.png", "encrypted")
def encrypted_zip(path: Path) -> Path:
    content = bytearray(write_zip(path, class_folders()).read_bytes())
    central = content.index(b"PK\x01\x02")
    content[central + 8] |= 1
    path.write_bytes(content)
    return path


@case("cats/0.png", "other than deflate")
def unusual_compression(path: Path) -> Path:
    return write_zip(path, class_folders(), zipfile.ZIP_BZIP2)


@case("", "directory of members is too large")
def huge_central_directory(path: Path) -> Path:
    return write_zip(path, {f"cats/{'x' * 200}{index}.png": b"" for index in range(4500)})


@case("", "more than 50 members")
def too_many_members(path: Path) -> Path:
    return write_zip(path, {f"c{index % 2}/{index}": b"" for index in range(60)})


@case("cats/bomb.png", "larger than 200,000 bytes")
def zip_bomb(path: Path) -> Path:
    return write_zip(path, {**class_folders(), "cats/bomb.png": picture() + bytes(900_000)})


@case("cats/6.png", "decompression bomb")
def many_small_bombs(path: Path) -> Path:
    flat = picture(1) + bytes(190_000)
    return write_zip(path, {**{f"cats/{i}.png": flat for i in range(20)}, **{f"dogs/{i}.png": flat for i in range(20)}})


@case("dogs/17.png", "8,000,000 bytes of content")
def too_many_bytes(path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, 190_000, dtype=np.uint8).tobytes()
    members = {f"{name}/{i}.png": picture(i) + noise for name in ("cats", "dogs") for i in range(25)}
    return write_zip(path, members, zipfile.ZIP_STORED)


@case("", "decompression bomb")
def gzip_bomb_around_a_tar(path: Path) -> Path:
    return write_tar(path, {**class_folders(), "cats/zeros.png": bytes(6_000_000)})


@case("cats/link.png", "link, device or sparse")
def symbolic_link_in_a_tar(path: Path) -> Path:
    return _tar_with(path, tarfile.SYMTYPE)


@case("cats/link.png", "link, device or sparse")
def hard_link_in_a_tar(path: Path) -> Path:
    return _tar_with(path, tarfile.LNKTYPE)


@case("cats/link.png", "link, device or sparse")
def device_in_a_tar(path: Path) -> Path:
    return _tar_with(path, tarfile.CHRTYPE)


@case("cats/link.png", "link, device or sparse")
def pipe_in_a_tar(path: Path) -> Path:
    return _tar_with(path, tarfile.FIFOTYPE)


def _tar_with(path: Path, kind: bytes) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in class_folders().items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        info = tarfile.TarInfo("cats/link.png")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    return path


@case("cats/holes.png", "link, device or sparse")
def sparse_file_claiming_2_gb(path: Path) -> Path:
    info = tarfile.TarInfo("cats/holes.png")
    info.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.map": "0,0",
        "GNU.sparse.size": str(TWO_GB),
        "GNU.sparse.name": "cats/holes.png",
    }
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
        for name, content in class_folders().items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@case("", "cannot be read")
def truncated_tar_gz(path: Path) -> Path:
    content = write_tar(path, class_folders()).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


@case("", "cannot be read")
def tar_member_claiming_2_gb(path: Path) -> Path:
    header = tarfile.TarInfo("cats/0.png")
    header.size = TWO_GB
    path.write_bytes(header.tobuf(tarfile.USTAR_FORMAT) + picture())
    return path


@case("", "directory of members is too large")
def tar_extended_header_of_many_megabytes(path: Path) -> Path:
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 3_000_000
    path.write_bytes(header.tobuf(tarfile.USTAR_FORMAT) + bytes(3_000_320) + bytes(1024))
    return path


@pytest.mark.parametrize("name", CASES)
def test_every_fault_is_named_and_located(name: str, tmp_path: Path) -> None:
    CASES[name].check(tmp_path)


def test_bzip2_is_not_taken_for_a_tar(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(bz2.compress(write_tar(tmp_path / "t", class_folders(), "w").read_bytes()))
    with pytest.raises(DataError, match="unknown type"):
        load_dataset(path)


def test_a_missing_file_is_not_a_fault_of_the_data(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_dataset(tmp_path / "nothing")
