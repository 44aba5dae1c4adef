"""Archives that want to do harm: each is refused by name, a typed 4xx within 2 seconds and 256 MB, nothing left."""

from __future__ import annotations

import bz2
import gzip
import io
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from tests.api.conftest import archive, png
from tests.api.hostile.conftest import MIB, Service
from tests.fqt_core.data.build import idx, idx_members, npy, npy_claiming

GOOD = {f"{name}/{n}.png": png(n + 100 * (name == "b")) for name in "ab" for n in range(3)}

Case = tuple[str, Callable[[], bytes]]
CASES: dict[str, Case] = {}


def case(says: str) -> Callable[[Callable[[], bytes]], Callable[[], bytes]]:
    """Register a builder; ``says`` has to be in the place or the words of a fault."""

    def keep(build: Callable[[], bytes]) -> Callable[[], bytes]:
        CASES[build.__name__] = (says, build)
        return build

    return keep


def zipped(members: Iterable[tuple[str | zipfile.ZipInfo, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as file:
        for name, content in members:
            file.writestr(name, content, method)
    return data.getvalue()


def with_good(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    return zipped([*GOOD.items(), *members])


def renamed(old: str, new: bytes) -> bytes:
    """A zip, one of whose names is other bytes of the same length, as no library would write it."""
    assert len(old) == len(new)
    return with_good((old, png(9))).replace(old.encode(), new)


def tarred(*infos: tuple[tarfile.TarInfo, bytes], kind: str = "w", form: int = tarfile.PAX_FORMAT) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=kind, format=form) as file:  # type: ignore[call-overload]
        for name, content in GOOD.items():
            file.addfile(member(name, size=len(content)), io.BytesIO(content))
        for info, content in infos:
            file.addfile(info, io.BytesIO(content))
    return data.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0, **pax: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.pax_headers = kind, link, size, pax
    return info


# --- zip --------------------------------------------------------------------------------------------------------------


@case("decompression bomb")
def one_member_of_zeros() -> bytes:
    return with_good(("a/bomb.png", bytes(100 * MIB)))


@case("decompression bomb")
def many_members_of_zeros() -> bytes:
    return with_good(*((f"a/bomb{n}.png", bytes(40 * MIB)) for n in range(3)))


@case("decompression bomb")
def members_that_overlap() -> bytes:
    """Each member's data quotes the header of the next and goes on with its data: all end in the same bytes."""
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    kernel, size = engine.compress(bytes(20 * MIB)) + engine.flush(), 20 * MIB
    content = bytes(20 * MIB)
    central = []
    tail = kernel
    for number in reversed(range(40)):
        name = f"a/{number:03}.png".encode()
        fields = (zipfile.ZIP_DEFLATED, 0, 33, zlib.crc32(content), len(tail), size, len(name))
        header = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, *fields, 0) + name
        central.append((len(header) + len(tail), fields, name))
        tail = struct.pack("<BHH", 0, len(header), len(header) ^ 0xFFFF) + header + tail
        content, size = header + content, size + len(header)
    files = tail[5:]
    directory = b"".join(
        struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, *fields, 0, 0, 0, 0, 0, len(files) - back) + name
        for back, fields, name in reversed(central)
    )
    return files + directory + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 40, 40, len(directory), len(files), 0)


@case("not a PNG")
def a_zip_in_a_zip() -> bytes:
    return with_good(("a/inner.png", zipped([("a/bomb.png", bytes(10 * MIB))])))


@case("cannot be read")
def a_size_that_is_too_small() -> bytes:
    return lying(with_good(("a/lie.png", bytes(MIB))), MIB, 100)


@case("not a PNG")
def a_size_that_is_too_large() -> bytes:
    return lying(with_good(("a/lie.png", bytes(MIB))), MIB, 0xFFFF_FFF0)


def lying(content: bytes, size: int, claim: int) -> bytes:
    return content.replace(struct.pack("<I", size), struct.pack("<I", claim))


@case("cannot be read")
def zip64_with_sizes_beyond_all_bounds() -> bytes:
    content = bytearray(archive(GOOD))
    start = content.index(b"PK\1\2")
    content[start + 20 : start + 28] = b"\xff" * 8
    return bytes(content)


@case("cannot be read")
def a_directory_that_lies_elsewhere() -> bytes:
    content = archive(GOOD)
    return content[:-6] + struct.pack("<IH", 0xFFFF_FFF0, 0)


@case("more than 500,000 members")
def half_a_million_members() -> bytes:
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0)
    directory = b"".join(entry + b"%08x" % number for number in range(500_001))
    return b"PK\3\4" + directory + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(directory), 4, 0)


@case("folders deep")
def a_path_of_a_thousand_folders() -> bytes:
    return with_good(("a/" * 1000 + "x.png", png(9)))


@case("leads out of the archive")
def a_path_that_climbs() -> bytes:
    return with_good(("a/../../../../../../../../../tmp/evil.png", png(9)))


@case("leads out of the archive")
def a_path_that_climbs_with_backslashes() -> bytes:
    return renamed("a/xxxxxxxx.png", b"a\\..\\..\\xy.png")


@case("absolute path")
def a_path_from_the_root() -> bytes:
    return with_good(("/tmp/evil.png", png(9)))


@case("control characters")
def a_name_with_a_null_character() -> bytes:
    return renamed("a/xxxx.png", b"a/x\0xx.png")


@case("control characters")
def a_name_with_an_escape_sequence() -> bytes:
    return renamed("a/xxxx.png", b"a/\x1b[2J.png")


@case("empty component")
def a_name_with_an_empty_component() -> bytes:
    return with_good(("a//b.png", png(9)))


@case("twice")
@pytest.mark.filterwarnings("ignore:Duplicate")
def one_name_twice() -> bytes:
    return renamed("a/9.png", b"a/1.png")


@case("link or device")
def a_link() -> bytes:
    info = zipfile.ZipInfo("a/link.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return with_good((info, b"/etc/passwd"))


@case("encrypted")
def an_encrypted_member() -> bytes:
    content = bytearray(archive(GOOD))
    content[content.index(b"PK\1\2") + 8] |= 1
    return bytes(content)


@case("other than deflate")
def an_lzma_member() -> bytes:
    return zipped(GOOD.items(), zipfile.ZIP_LZMA)


@case("cannot be read")
def half_a_zip() -> bytes:
    return archive(GOOD)[:-60]


@case("unknown type")
def a_zip_behind_a_picture() -> bytes:
    return png(1) + archive(GOOD)


# --- tar --------------------------------------------------------------------------------------------------------------


@case("link, device or sparse")
def a_link_and_a_file_through_it() -> bytes:
    return tarred((member("c", tarfile.SYMTYPE, "/tmp"), b""), (member("c/evil.png", size=3), b"abc"))


@case("link, device or sparse")
def a_hard_link_to_a_secret() -> bytes:
    return tarred((member("a/link.png", tarfile.LNKTYPE, "/etc/passwd"), b""))


@case("link, device or sparse")
def a_device() -> bytes:
    return tarred((member("a/zero.png", tarfile.CHRTYPE), b""))


@case("absolute path")
def a_tar_path_from_the_root() -> bytes:
    return tarred((member("/tmp/evil.png", size=3), b"abc"))


@case("leads out of the archive")
def a_tar_path_that_climbs() -> bytes:
    return tarred((member("../../tmp/evil.png", size=3), b"abc"))


@case("leads out of the archive")
def a_name_that_an_extended_header_gives() -> bytes:
    return tarred((member("a/x.png", size=3, path="../../tmp/evil.png"), b"abc"))


@case("link, device or sparse")
def a_sparse_file_of_a_terabyte() -> bytes:
    pax = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "a/s.png"}
    return tarred(
        (member("a/s.png", size=512, **pax, **{"GNU.sparse.realsize": str(1 << 40)}), b"0\n".ljust(512, b"\0"))
    )


@case("cannot be read")
def an_extended_size_of_a_terabyte() -> bytes:
    content = tarred((member("a/x.png", size=3, comment="x" * 11), b"abc"))
    return content.replace(b"23 comment=" + b"x" * 11, b"23 size=" + b"%014d" % (1 << 40))


@case("cannot be read")
def an_extended_size_below_zero() -> bytes:
    content = tarred((member("a/x.png", size=3, comment="x" * 11), b"abc"))
    return content.replace(b"23 comment=" + b"x" * 11, b"23 size=-0000000001024")


@case("directory of members is too large")
def a_name_of_many_megabytes() -> bytes:
    header = member("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=20 * MIB)
    return header.tobuf(tarfile.GNU_FORMAT) + bytes(20 * MIB) + tarred()


@case("cannot be read")
def half_a_gzip() -> bytes:
    content = gzip.compress(tarred())
    return content[: len(content) // 2]


@case("decompression bomb")
def a_gzip_of_zeros() -> bytes:
    bomb = member("a/bomb.png", size=300 * MIB).tobuf(tarfile.USTAR_FORMAT)
    return gzip.compress(bomb) + gzip.compress(bytes(10 * MIB)) * 30 + gzip.compress(tarred())


@case("more than 12,000 folders")
def a_gzip_of_a_hundred_thousand_folders() -> bytes:
    header = member("folder", tarfile.DIRTYPE).tobuf(tarfile.USTAR_FORMAT)
    return gzip.compress(header * 100_000)


# --- arrays -----------------------------------------------------------------------------------------------------------


@case("are not read")
def an_npz_of_pickled_objects() -> bytes:
    data = io.BytesIO()
    np.savez(data, images=np.array([{"a": 1}] * 4, dtype=object), labels=np.arange(4) % 2)
    return data.getvalue()


@case("cannot be read")
def an_npz_with_code_in_its_header() -> bytes:
    header = b"__import__('os').system('touch /tmp/evil')\n"
    return zipped([("images.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header), ("labels.npy", b"")])


@case("more than the file can hold")
def an_npz_that_claims_a_terabyte() -> bytes:
    return zipped([("images.npy", npy_claiming((1 << 20, 1024, 1024), "|u1")), ("labels.npy", npy(np.arange(4) % 2))])


@case("more than the file can hold")
def an_npz_of_a_gigabyte_of_zeros() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("labels.npy", npy(np.arange(1024) % 2))
        with file.open("images.npy", "w", force_zip64=True) as stream:
            stream.write(npy_claiming((1024, 512, 512), "|u1"))
            for _ in range(256):
                stream.write(bytes(MIB))
    return data.getvalue()


@case("are not read")
def an_npz_of_endless_strings_of_no_length() -> bytes:
    return zipped([*arrays().items(), ("classes.npy", npy_claiming((10**10,), "<U0"))])


@case("cannot be read")
def an_npz_of_seventy_dimensions() -> bytes:
    return zipped((arrays() | {"images.npy": npy_claiming((1,) * 70, "|u1") + b"a"}).items())


@case("cannot be read")
def an_npz_without_values_in_endless_dimensions() -> bytes:
    return zipped((arrays() | {"images.npy": npy_claiming((0, 2**62, 2**62), "|u1")}).items())


@case("no Unicode")
def an_npz_of_characters_that_are_none() -> bytes:
    return zipped([*arrays().items(), ("classes.npy", npy_claiming((2,), ">U1") + b"\x7f\xff\xff\xff" * 2)])


def arrays() -> dict[str, bytes]:
    return {"images.npy": npy(np.arange(256, dtype=np.uint8).reshape(4, 8, 8)), "labels.npy": npy(np.arange(4) % 2)}


@case("more than the file can hold")
def an_idx_that_claims_more_than_there_is() -> bytes:
    lie = idx(np.zeros((2, 2, 2), np.uint8), claim=(0xFFFF_FFFF, 0xFFFF, 0xFFFF))
    return zipped([*idx_members().items(), ("train-images-idx3-ubyte", lie)][1:])


@case("more than the file can hold")
def a_compressed_idx_of_zeros() -> bytes:
    images = idx(np.zeros(0, np.uint8), claim=(128, 1024, 1024)) + bytes(128 * MIB)
    members = {**idx_members(128, ".gz"), "train-images-idx3-ubyte.gz": gzip.compress(images, 1)}
    return zipped(members.items(), zipfile.ZIP_STORED)


# --- nothing of the kind ----------------------------------------------------------------------------------------------


@case("unknown type")
def a_bzip2() -> bytes:
    return bz2.compress(tarred())


@case("unknown type")
def a_program() -> bytes:
    return b"\x7fELF" + bytes(1000)


@case("no files in it")
def an_archive_of_hidden_files() -> bytes:
    return zipped([("__MACOSX/a/1.png", png(1)), ("a/.hidden.png", png(1)), (".git/config", b"x")])


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_archive_is_refused_and_does_no_harm(service: Service, name: str) -> None:
    says, build = CASES[name]
    content = build()
    problem = service.refused(lambda: service.upload(content), "dataset_rejected")
    assert any(says in error["message"] for error in problem["errors"]), problem["errors"]
    assert not Path("/tmp/evil").exists()
    assert not Path("/tmp/evil.png").exists()


def test_what_is_good_about_them_is_taken(service: Service) -> None:
    """The rest of these archives is fine: it is for what they do that they are refused."""
    for content in (archive(GOOD), with_good(), tarred(), tarred(kind="w:gz"), zipped(idx_members().items())):
        response = service.upload(content)
        assert response.status_code == 201, response.text
        assert service.client.delete(f"/v1/datasets/{response.json()['id']}").status_code == 204
