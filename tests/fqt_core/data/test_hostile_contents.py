"""Class folders, IDX and NPZ files that are wrong, or lie: each fault is named and located."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from fqt_core.data import load_dataset, profile
from fqt_core.errors import DataError

from .build import (
    class_folders,
    idx,
    idx_members,
    npy,
    npy_claiming,
    picture,
    write_folder,
    write_npz,
    write_tar,
    write_zip,
)
from .hostile import SMALL, TWO_GB, Cases

CASES = Cases()
case = CASES.add
IMAGES = np.arange(6 * 16, dtype=np.uint8).reshape(6, 4, 4)
LABELS = np.array([0, 1, 0, 1, 0, 1])


# --- class folders ---


@case("cats/broken.png", "broken image")
def broken_image(path: Path) -> Path:
    return write_zip(path, {**class_folders(), "cats/broken.png": picture(5, (40, 40))[:200]})


@case("dogs/notes.txt", "not a PNG, JPEG, WebP or BMP")
def text_in_a_class(path: Path) -> Path:
    return write_zip(path, {**class_folders(), "dogs/notes.txt": b"about dogs"})


@case("dogs/moving.png", "not a PNG, JPEG, WebP or BMP")
def gif_named_png(path: Path) -> Path:
    return write_tar(path, {**class_folders(), "dogs/moving.png": picture(3, mode="L", kind="GIF")})


def _png(side: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    chunks = b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (body, data))
    return b"\x89PNG\r\n\x1a\n" + chunks


def _claiming(path: Path, side: int) -> Path:
    return write_zip(path, {**class_folders(), "cats/huge.png": _png(side)})


@case("cats/huge.png", "claims 8000 x 8000 pixels")
def image_claiming_millions_of_pixels(path: Path) -> Path:
    return _claiming(path, 8000)


@case("cats/huge.png", "too many pixels")
def image_claiming_billions_of_pixels(path: Path) -> Path:
    return _claiming(path, 60_000)


@case("cats/none.png", "broken image (its header makes no sense)")
def image_of_no_pixels(path: Path) -> Path:
    return write_zip(path, {**class_folders(), "cats/none.png": _png(0)})


@case(f"{'a' * 197}...", "the name of this class is longer than 200 characters")
def endless_class_name(path: Path) -> Path:
    return write_zip(path, class_folders(("a" * 201, "dogs")))


@case("birds", "no images for training")
def empty_class(path: Path) -> Path:
    return write_zip(path, {**class_folders(), "birds/": b""})


@case("", "only one class")
def one_class_only(path: Path) -> Path:
    return write_zip(path, class_folders(("cats",)))


@case("", "no images for training")
def images_without_class_folders(path: Path) -> Path:
    return write_zip(path, {f"{index}.png": picture(index) for index in range(3)})


@case("val/birds/0.png", "in the validation part only")
def class_without_training_images(path: Path) -> Path:
    return write_zip(path, {**class_folders(prefix="train/"), **class_folders(("birds",), prefix="val/")})


@case("", "more than 20 classes")
def too_many_classes(path: Path) -> Path:
    return write_zip(path, class_folders(tuple(f"c{index:02}" for index in range(25)), 1))


@case("cats/pipe", "not a regular file")
def pipe_in_a_folder(path: Path) -> Path:
    write_folder(path, class_folders())
    os.mkfifo(path / "cats" / "pipe")
    return path


# --- IDX ---


def _idx(path: Path, **changed: bytes) -> Path:
    names = {"images": "train-images-idx3-ubyte", "labels": "train-labels-idx1-ubyte"}
    return write_zip(path, {**idx_members(), **{names[key]: content for key, content in changed.items()}})


@case("train-images-idx3-ubyte", "more than the file can hold")
def idx_claiming_2_gb(path: Path) -> Path:
    return _idx(path, images=idx(np.zeros((6, 4, 4)), claim=(TWO_GB // 16, 4, 4)))


@case("train-images-idx3-ubyte.gz", "more than the file can hold")
def compressed_idx_claiming_2_gb(path: Path) -> Path:
    members = idx_members(suffix=".gz")
    members["train-images-idx3-ubyte.gz"] = gzip.compress(idx(np.zeros((6, 4, 4)), claim=(TWO_GB // 16, 4, 4)))
    return write_tar(path, members)


@case("train-images-idx3-ubyte.gz", "only 96 are there")
def compressed_idx_claiming_a_little_more(path: Path) -> Path:
    members = idx_members(suffix=".gz")
    members["train-images-idx3-ubyte.gz"] = gzip.compress(idx(np.zeros((6, 4, 4)), claim=(7, 4, 4)))
    return write_zip(path, members)


@case("train-images-idx3-ubyte.gz", "more than the file can hold")
def compressed_idx_of_zeros(path: Path) -> Path:
    members = idx_members(suffix=".gz")
    members["train-images-idx3-ubyte.gz"] = gzip.compress(idx(np.zeros((10_000, 20, 20))))
    return write_zip(path, members)


@case("train-images-idx3-ubyte", "more data than its header claims")
def idx_with_more_data(path: Path) -> Path:
    return _idx(path, images=idx(np.zeros((6, 4, 4)), claim=(5, 4, 4)))


@case("train-labels-idx1-ubyte", "header is cut off")
def idx_with_half_a_header(path: Path) -> Path:
    return _idx(path, labels=b"\0\0\x08\x01\0\0")


@case("train-images-idx3-ubyte", "not unsigned bytes")
def idx_of_floats(path: Path) -> Path:
    return _idx(path, images=idx(np.zeros((6, 4, 4)), kind=13))


@case("train-images-idx3-ubyte", "6 images but 5 labels")
def idx_counts_that_differ(path: Path) -> Path:
    return _idx(path, labels=idx(np.arange(5) % 2))


@case("train-images-idx3-ubyte", "no file of labels")
def idx_without_labels(path: Path) -> Path:
    return write_zip(path, {"train-images-idx3-ubyte": idx_members()["train-images-idx3-ubyte"]})


@case("more-images", "a second file of images")
def two_idx_image_files(path: Path) -> Path:
    return write_zip(path, {**idx_members(), "more-images": idx(np.zeros((6, 4, 4)))})


@case("notes.txt", "not an IDX file")
def text_among_idx_files(path: Path) -> Path:
    return write_zip(path, {**idx_members(), "notes.txt": b"hello there"})


# --- NPZ ---


@case("images.npy", "more than the file can hold")
def npz_claiming_2_gb(path: Path) -> Path:
    return write_zip(
        path, {"images.npy": npy_claiming((TWO_GB // 16, 4, 4), "|u1", bytes(96)), "labels.npy": npy(LABELS)}
    )


@case("images.npy", "more than the file can hold")
def npz_in_a_zip_that_lies_about_sizes(path: Path) -> Path:
    content = bytearray(
        write_zip(
            path, {"images.npy": npy_claiming((TWO_GB // 16, 4, 4), "|u1", bytes(96)), "labels.npy": npy(LABELS)}
        ).read_bytes()
    )
    central = content.index(b"PK\x01\x02")
    content[central + 24 : central + 28] = struct.pack("<I", TWO_GB)  # claimed size of the uncompressed member
    path.write_bytes(content)
    return path


@case("images.npy", "only 90 are there")
def npz_cut_off(path: Path) -> Path:
    return write_zip(path, {"images.npy": npy(IMAGES)[:-6], "labels.npy": npy(LABELS)})


@case("images.npy", "more than the file can hold")
def npz_with_a_negative_shape(path: Path) -> Path:
    return write_zip(path, {"images.npy": npy_claiming((-1, 4, 4), "|u1"), "labels.npy": npy(LABELS)})


@case("images.npy", "are not read")
def npz_of_pickled_objects(path: Path) -> Path:
    return write_npz(path, images=np.array([{"a": 1}] * 6, dtype=object), labels=LABELS)


@case("images.npy", "cannot be read")
def npz_with_code_in_its_header(path: Path) -> Path:
    header = b"__import__('os').getpid()\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    return write_zip(path, {"images.npy": content, "labels.npy": npy(LABELS)})


@case("images.npy", "cannot be read")
def npz_with_an_endless_header(path: Path) -> Path:
    content = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b" " * 300_000
    return write_zip(path, {"images.npy": content, "labels.npy": npy(LABELS)})


@case("", "no images and labels among its arrays")
def npz_with_other_keys(path: Path) -> Path:
    return write_npz(path, a=IMAGES, b=LABELS)


@case("images", "values from 0 to 300")
def npz_with_values_over_255(path: Path) -> Path:
    return write_npz(path, images=np.array([0, 300] * 48, dtype=np.int32).reshape(6, 4, 4), labels=LABELS)


@case("images", "values from nan to nan")
def npz_with_nan(path: Path) -> Path:
    return write_npz(path, images=np.full((6, 4, 4), np.nan, np.float32), labels=LABELS)


@case("labels", "expected one per image")
def npz_with_one_hot_labels(path: Path) -> Path:
    return write_npz(path, images=IMAGES, labels=np.eye(2, dtype=np.int64)[LABELS])


@case("images", "is not (n, h, w)")
def npz_of_flat_images(path: Path) -> Path:
    return write_npz(path, images=IMAGES.reshape(6, 16), labels=LABELS)


@case("x_test", "is no class of the training part")
def npz_with_a_class_only_in_test(path: Path) -> Path:
    return write_npz(path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS + 1)


@case("b", "no images for training")
def npz_with_an_empty_named_class(path: Path) -> Path:
    return write_npz(path, images=IMAGES, labels=LABELS * 2, classes=np.array(["a", "b", "c"]))


def _named(path: Path, *classes: str) -> Path:
    return write_npz(path, images=IMAGES, labels=LABELS, classes=np.array(classes))


@case("\N{REPLACEMENT CHARACTER}[31ma", "the name of this class holds control characters")
def npz_with_control_characters_in_a_class(path: Path) -> Path:
    return _named(path, "\x1b[31ma", "b")


@case("../c", "the name of this class reads as a path to another folder")
def npz_with_a_path_as_a_class(path: Path) -> Path:
    return _named(path, "../c", "b")


@case("", "the name of this class is empty")
def npz_with_an_empty_label(path: Path) -> Path:
    return write_npz(path, images=IMAGES, labels=np.array(["", "b"] * 3))


@case("images", "label 1 (train) has no name: there are 1 in `classes`")
def npz_with_too_few_names(path: Path) -> Path:
    return _named(path, "a")


@pytest.mark.parametrize("content", [idx(IMAGES), gzip.compress(idx(IMAGES))])
def test_one_idx_file_by_itself_is_told_what_is_missing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="its file of labels is missing") as caught:
        load_dataset(path)
    assert "pack both files" in str(caught.value.remedy)


def test_faults_of_arrays_have_remedies_for_arrays_and_no_echo(tmp_path: Path) -> None:
    none = write_npz(tmp_path / "zero", images=IMAGES[:0], labels=LABELS[:0])
    one = write_npz(tmp_path / "one", images=IMAGES, labels=LABELS * 0)
    few = _named(tmp_path / "few", "a")
    found = [profile(path)["faults"] for path in (none, one, few)]
    assert [len(faults) for faults in found] == [1, 1, 1]
    assert not any("folder" in faults[0]["remedy"] for faults in found)


@pytest.mark.parametrize("name", CASES)
def test_every_fault_is_named_and_located(name: str, tmp_path: Path) -> None:
    CASES[name].check(tmp_path)


def test_faults_are_collected_up_to_a_bound(tmp_path: Path) -> None:
    members = {**class_folders(), **{f"cats/bad{index:02}.png": b"no image" for index in range(7)}}
    members["dogs/cut.png"] = picture(9, (30, 30))[:100]
    record = profile(write_zip(tmp_path / "seven", members))
    assert [fault["where"] for fault in record["faults"]] == [
        *(f"cats/bad{i:02}.png" for i in range(7)),
        "dogs/cut.png",
    ]
    assert all(fault["remedy"] for fault in record["faults"])
    assert record["complete"]
    many = {**class_folders(), **{f"cats/bad{index:02}.png": b"no image" for index in range(40)}}
    assert not profile(write_zip(tmp_path / "many", many))["complete"]
    with pytest.raises(DataError, match="and at least 19 more faults; reading stopped there") as caught:
        load_dataset(tmp_path / "many")
    assert len(caught.value.faults) == 20


def test_bytes_cut_anywhere_never_crash(tmp_path: Path) -> None:
    """A zip, a tar.gz and an NPZ cut or changed at many places: data, or a DataError, and nothing else."""
    sources = [
        write_zip(tmp_path / "a.zip", class_folders(count=2)),
        write_tar(tmp_path / "a.tgz", class_folders(count=2)),
        write_npz(tmp_path / "a.npz", images=IMAGES, labels=LABELS),
        write_zip(tmp_path / "idx.zip", idx_members(suffix=".gz")),
    ]
    rng = np.random.default_rng(3)
    for source in sources:
        content = source.read_bytes()
        for _ in range(40):
            damaged = bytearray(content)
            if rng.random() < 0.3:
                del damaged[int(rng.integers(1, len(damaged))) :]
            for _ in range(int(rng.integers(1, 4))):
                damaged[int(rng.integers(len(damaged)))] ^= int(rng.integers(1, 256))
            target = tmp_path / "damaged"
            target.write_bytes(damaged)
            with suppress(DataError):
                load_dataset(target, limits=SMALL)
