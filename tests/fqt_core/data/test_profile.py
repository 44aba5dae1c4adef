"""The profile says what a data set holds, in JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fqt_core.data import profile

from .build import class_folders, idx_members, picture, write_npz, write_zip


def test_profile_of_class_folders(tmp_path: Path) -> None:
    members = {
        **class_folders(count=5),
        "cats/wide.png": picture(50, (40, 10)),
        "dogs/tall.jpg": picture(51, (6, 30), kind="JPEG"),
        "dogs/again.png": class_folders()["dogs/1.png"],
        "dogs/wrong.png": class_folders()["cats/1.png"],
    }
    record = profile(write_zip(tmp_path / "a", members))
    assert json.loads(json.dumps(record)) == record
    assert record["format"] == "folders"
    assert record["classes"] == [
        {"name": "cats", "count": 6, "validation_count": 0},
        {"name": "dogs", "count": 8, "validation_count": 0},
    ]
    assert (record["images"], record["validation_images"]) == (14, 0)
    assert record["sizes"] == {
        "min": {"width": 6, "height": 8},
        "median": {"width": 8, "height": 8},
        "max": {"width": 40, "height": 30},
    }
    assert record["channels"] == 3
    assert record["duplicates"] == 2
    assert record["warnings"] == ["2 image(s) occur more than once", "1 of them in more than one class"]
    assert record["faults"] == []


def test_mean_and_deviation_are_of_the_training_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 6, 6, 3), dtype=np.uint8)
    path = write_npz(
        tmp_path / "a", x_train=images, y_train=np.arange(8) % 2, x_test=images[:2] // 2, y_test=np.array([0, 1])
    )
    record = profile(path)
    assert record["validation_images"] == 2
    assert np.allclose(record["mean"], images.mean(axis=(0, 1, 2)) / 255, atol=1e-6)
    assert np.allclose(record["std"], images.std(axis=(0, 1, 2)) / 255, atol=1e-6)


def test_grey_data_has_one_channel(tmp_path: Path) -> None:
    record = profile(write_zip(tmp_path / "a", idx_members(12, ".gz")))
    assert record["channels"] == 1
    assert len(record["mean"]) == len(record["std"]) == 1


def test_mixed_grey_and_colour_is_colour(tmp_path: Path) -> None:
    members = {**class_folders(count=6), "cats/grey.png": picture(7, (8, 8), "L")}
    assert profile(write_zip(tmp_path / "a", members))["channels"] == 3


def test_small_and_unequal_classes_are_warned_of(tmp_path: Path) -> None:
    members = {**class_folders(("many",), 45), **class_folders(("few", "fewer"), 4)}
    warnings = profile(write_zip(tmp_path / "a", members))["warnings"]
    assert "2 class(es) have fewer than 5 images: few, fewer" in warnings
    assert "classes are out of balance: 'many' has 45 images, 'few' has 4" in warnings


def test_faults_do_not_hide_what_is_known(tmp_path: Path) -> None:
    record = profile(write_zip(tmp_path / "a", {**class_folders(), "cats/bad.png": b"bad", "empty/": b""}))
    assert [fault["where"] for fault in record["faults"]] == ["empty", "cats/bad.png"]
    assert record["images"] == 7
    assert record["classes"][2] == {"name": "empty", "count": 0, "validation_count": 0}


def test_unreadable_file_still_gives_a_whole_record(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("hello")
    record = profile(path)
    assert record["format"] is None
    assert record["sizes"] is None
    assert record.keys() == profile(write_zip(tmp_path / "b", class_folders())).keys()
    assert "upload a zip" in record["faults"][0]["remedy"]


def test_built_in_profile() -> None:
    record = profile("digits")
    assert record["images"] == 1797
    assert len(record["classes"]) == 10
    assert record["faults"] == []
