"""Every accepted kind of data set gives the same images, whatever it is packed in."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import run

import numpy as np
import pytest

from fqt_core.config.builtin import BUILTIN_DATASETS
from fqt_core.data import Limits, decode_image, load_dataset
from fqt_core.data import builtin as builtin_module
from fqt_core.errors import DataError

from .build import class_folders, idx, idx_members, picture, write_folder, write_npz, write_tar, write_zip


def test_zip_tar_targz_and_folder_are_the_same_data(tmp_path: Path) -> None:
    members = class_folders()
    shuffled = dict(reversed(members.items()))
    datasets = [
        load_dataset(write_zip(tmp_path / "zip", shuffled), image_size=8),
        load_dataset(write_tar(tmp_path / "tar", shuffled, "w"), image_size=8),
        load_dataset(write_tar(tmp_path / "tgz", members), image_size=8),
        load_dataset(write_folder(tmp_path / "folder", members), image_size=8),
    ]
    assert {dataset.fingerprint for dataset in datasets} == {datasets[0].fingerprint}
    first = datasets[0]
    assert first.classes == ["cats", "dogs"]
    assert first.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert first.images.shape == (6, 3, 8, 8)
    assert first.format == "folders"
    expected = [decode_image(members[name], channels=3, image_size=8) for name in sorted(members)]
    assert np.array_equal(first.images, np.stack(expected))


def test_one_common_root_and_leftovers_of_other_systems(tmp_path: Path) -> None:
    members = class_folders(prefix="photos/")
    junk = {
        "__MACOSX/photos/cats/._0.png": b"x",
        "photos/.DS_Store": b"x",
        "photos/cats/.hidden": b"x",
        "photos/cats/Thumbs.db": b"x",
        "photos/.git/config": b"x",
    }
    plain = load_dataset(write_zip(tmp_path / "plain", class_folders()))
    assert load_dataset(write_zip(tmp_path / "junk", {**junk, **members})).fingerprint == plain.fingerprint


def test_files_outside_of_class_folders_are_reported_not_used(tmp_path: Path) -> None:
    dataset = load_dataset(write_zip(tmp_path / "a", {**class_folders(prefix="x/"), "x/README.txt": b"hello"}))
    assert len(dataset) == 6
    assert dataset.warnings == ["1 file(s) outside of any class folder are not used"]


def test_images_in_subfolders_belong_to_their_class(tmp_path: Path) -> None:
    members = {**class_folders(), "cats/tabby/9.png": picture(9)}
    assert load_dataset(write_zip(tmp_path / "a", members)).labels.tolist() == [0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("name", ["val", "valid", "Validation", "test"])
@pytest.mark.parametrize("root", ["", "data/"])
def test_own_validation_part(tmp_path: Path, name: str, root: str) -> None:
    members = {**class_folders(prefix=f"{root}train/"), **class_folders(count=1, prefix=f"{root}{name}/")}
    dataset = load_dataset(write_zip(tmp_path / "a", members))
    assert len(dataset) == 6
    assert dataset.validation is not None
    assert dataset.validation.labels.tolist() == [0, 1]


def test_validation_is_preferred_to_test(tmp_path: Path) -> None:
    members = {
        **class_folders(prefix="train/"),
        **class_folders(count=1, prefix="val/"),
        **class_folders(count=2, prefix="test/"),
    }
    dataset = load_dataset(write_zip(tmp_path / "a", members))
    assert dataset.validation is not None
    assert len(dataset.validation) == 2
    assert dataset.warnings == ["the folder 'test' is not used: 'val' is the validation part"]


def test_class_named_train_is_no_part_when_there_are_other_classes(tmp_path: Path) -> None:
    dataset = load_dataset(write_zip(tmp_path / "a", class_folders(("train", "bus"))))
    assert dataset.classes == ["bus", "train"]


def test_classes_are_chosen_in_the_asked_order(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a", class_folders(("a", "b", "c", "d"), 2))
    dataset = load_dataset(path, classes=["d", "b"])
    full = load_dataset(path)
    assert dataset.classes == ["d", "b"]
    assert dataset.labels.tolist() == [1, 1, 0, 0]
    assert np.array_equal(dataset.images, full.images[[2, 3, 6, 7]])


@pytest.mark.parametrize(
    ("classes", "message"), [(["a", "x"], "no such class: 'x'"), (["a"], "at least two"), (["a", "a"], "named once")]
)
def test_impossible_choice_of_classes(tmp_path: Path, classes: list[str], message: str) -> None:
    path = write_zip(tmp_path / "a", class_folders(("a", "b")))
    with pytest.raises(DataError, match=message):
        load_dataset(path, classes=classes)


def test_broken_images_of_classes_that_are_not_asked_for_do_not_matter(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a", {**class_folders(("a", "b", "c")), "c/bad.png": b"bad"})
    assert len(load_dataset(path, classes=["b", "a"])) == 6


def test_decoded_size_is_bounded_before_allocating(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a", class_folders())
    with pytest.raises(DataError, match="choose a smaller image_size"):
        load_dataset(path, image_size=512, limits=Limits(decoded_bytes=1_000_000))


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("pack", [write_zip, write_tar, write_folder])
def test_idx(tmp_path: Path, suffix: str, pack: object) -> None:
    path = pack(tmp_path / "a", idx_members(6, suffix, held_out=4))  # type: ignore[operator]
    dataset = load_dataset(path, channels=1, image_size=4)
    assert dataset.format == "idx"
    assert dataset.classes == ["0", "1"]
    assert dataset.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert np.array_equal(dataset.images.reshape(-1), np.arange(96))
    assert dataset.validation is not None
    assert dataset.validation.labels.tolist() == [0, 1, 0, 1]


def test_single_idx_pair_is_trained_on_whatever_it_is_called(tmp_path: Path) -> None:
    members = {"t10k-images": idx(np.zeros((4, 4, 4))), "t10k-labels": idx(np.array([3, 7, 3, 7]))}
    dataset = load_dataset(write_zip(tmp_path / "a", members))
    assert dataset.classes == ["3", "7"]
    assert dataset.validation is None


RGB = np.random.default_rng(1).integers(0, 256, (6, 5, 5, 3), dtype=np.uint8)
LABELS = np.array([4, 9, 4, 9, 4, 9])


@pytest.mark.parametrize(
    "images",
    [
        RGB,
        RGB.transpose(0, 3, 1, 2),
        RGB.astype(np.int64),
        RGB / 255.0,
        (RGB / 255.0).astype(np.float32),
        np.asfortranarray(RGB),
        RGB.astype(">i2"),
    ],
    ids=["uint8", "channels first", "int64", "float64", "float32", "Fortran order", "big endian"],
)
def test_npz_images_in_any_layout(tmp_path: Path, images: np.ndarray) -> None:
    dataset = load_dataset(write_npz(tmp_path / "a", images=images, labels=LABELS), image_size=5)
    assert np.array_equal(dataset.images, RGB.transpose(0, 3, 1, 2))
    assert dataset.classes == ["4", "9"]


def test_npz_with_test_part_names_and_column_labels(tmp_path: Path) -> None:
    path = write_npz(
        tmp_path / "a",
        x_train=RGB,
        y_train=np.array([[0], [1], [2], [0], [1], [2]], dtype=np.uint8),
        x_test=RGB[:2],
        y_test=np.array([[2], [0]]),
        classes=np.array(["ant", "bee", "cat"]),
    )
    dataset = load_dataset(path, classes=["cat", "ant"])
    assert dataset.labels.tolist() == [1, 0, 1, 0]
    assert dataset.validation is not None
    assert dataset.validation.labels.tolist() == [0, 1]


def test_npz_of_grey_images_with_string_labels(tmp_path: Path) -> None:
    grey = RGB[..., :1]
    path = write_npz(tmp_path / "a", train_images=grey, train_labels=np.array(["yes", "no"] * 3))
    dataset = load_dataset(path, channels=3, image_size=5)
    assert dataset.classes == ["no", "yes"]
    assert dataset.labels.tolist() == [1, 0, 1, 0, 1, 0]
    assert np.array_equal(dataset.images, np.repeat(grey.transpose(0, 3, 1, 2), 3, axis=1))


@pytest.mark.parametrize("name", ["digits", "fashion-mnist"])
def test_built_in_data_sets_are_what_the_table_says(name: str) -> None:
    row = BUILTIN_DATASETS[name]
    if not row.installed():
        with pytest.raises(DataError, match=row.requirement):
            load_dataset(name)
        return
    dataset = load_dataset(name, classes=row.classes[:2], channels=row.channels, image_size=row.size)
    assert dataset.format == "builtin"
    assert dataset.images.max() == 255
    opened = builtin_module.builtin_source(name, Limits(), builtin_module.Faults())
    assert opened.classes == list(row.classes)
    assert sum(len(labels) for labels in opened.labels.values()) == row.images
    assert len(opened.labels.get("validation", ())) == row.validation_images


def test_missing_built_in_data_set_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from dataclasses import replace

    row = replace(BUILTIN_DATASETS["fashion-mnist"], directory=tmp_path / "nothing")
    monkeypatch.setitem(BUILTIN_DATASETS, "fashion-mnist", row)
    with pytest.raises(DataError, match="dataset-fashion-mnist") as caught:
        load_dataset("fashion-mnist")
    assert caught.value.remedy == "apt-get install dataset-fashion-mnist"


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [("fqt_core.config.builtin", {"torch", "numpy", "PIL"}), ("fqt_core.data", {"torch", "sklearn"})],
)
def test_what_is_not_imported(module: str, forbidden: set[str]) -> None:
    program = f"import sys, {module}; print(*({forbidden!r} & set(sys.modules)))"
    assert run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == ""
