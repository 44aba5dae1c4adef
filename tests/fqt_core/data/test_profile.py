"""The profile says what a data set holds, in JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
    assert record["common_sizes"][0] == {"width": 8, "height": 8, "count": 12}
    assert [entry["count"] for entry in record["common_sizes"]] == [12, 1, 1]
    assert record["imbalance"] == 1.333
    assert (record["duplicates"], record["mislabelled"], record["leaked"]) == (2, 1, 0)
    assert record["conflicts"] == [{"images": ["cats/1.png", "dogs/wrong.png"], "classes": ["cats", "dogs"]}]
    assert record["warnings"] == [
        "2 image(s) occur more than once",
        "1 image(s) are in more than one class, so a label is wrong; for example cats/1.png (cats) and dogs/wrong.png "
        "(dogs)",
    ]
    assert record["thumbnails"] is None
    assert record["faults"] == []


def test_duplicates_are_told_by_pixels_whatever_the_file(tmp_path: Path) -> None:
    members = class_folders(count=5)
    pixels = Image.open(io.BytesIO(members["cats/1.png"]))
    for kind, name in (("BMP", "cats/again.bmp"), ("WEBP", "cats/again.webp")):
        buffer = io.BytesIO()
        pixels.save(buffer, kind, lossless=True)
        members[name] = buffer.getvalue()
    turned = io.BytesIO()
    pixels.transpose(Image.Transpose.ROTATE_90).save(turned, "PNG")
    members["dogs/turned.png"] = turned.getvalue()
    record = profile(write_zip(tmp_path / "a", members))
    assert (record["duplicates"], record["mislabelled"]) == (2, 0)


def test_an_image_of_both_parts_is_told(tmp_path: Path) -> None:
    members = {**class_folders(prefix="train/"), **class_folders(count=1, prefix="val/")}
    record = profile(write_zip(tmp_path / "a", members))
    assert (record["duplicates"], record["leaked"], record["mislabelled"]) == (2, 2, 0)
    assert "2 image(s) are in the training and in the validation part: accuracy flatters" in record["warnings"]


def test_large_images_are_compared_in_strips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {**class_folders(count=3), "cats/again.png": class_folders()["dogs/1.png"]}
    whole = profile(write_zip(tmp_path / "a", members))
    monkeypatch.setitem(profile.__globals__, "_STRIP_PIXELS", 20)
    assert profile(tmp_path / "a") == whole
    assert whole["mislabelled"] == 1


def test_thumbnails_show_each_class_in_a_row(tmp_path: Path) -> None:
    members = {
        **{f"dark/{n}.png": _plain(0, (8, 8)) for n in range(20)},
        **{f"light/{n}.png": _plain(128, (100, 50)) for n in range(3)},
    }
    folder = tmp_path / "sheet"
    folder.mkdir()
    sheets = []
    for order in (members, dict(reversed(members.items()))):
        record = profile(write_zip(tmp_path / "a", order), thumbnails=folder / "sheet.webp")
        assert record["thumbnails"] == {"rows": 2, "columns": 8, "side": 48}
        sheets.append((folder / "sheet.webp").read_bytes())
    assert sheets[0] == sheets[1]
    pixels = np.asarray(Image.open(io.BytesIO(sheets[0])).convert("L")).astype(int)
    assert pixels.shape == (96, 384)
    assert pixels[:48].max() < 20, "eight dark squares"
    assert abs(pixels[62:82, : 3 * 48] - 128).max() < 20, "three light ones, twice as wide as high"
    assert pixels[50:58].min() > 230
    assert pixels[62:82, 3 * 48 + 4 :].min() > 230


def test_a_data_set_with_faults_has_no_thumbnails(tmp_path: Path) -> None:
    members = {**class_folders(), "cats/bad.png": b"bad"}
    record = profile(write_zip(tmp_path / "a", members), thumbnails=tmp_path / "sheet.webp")
    assert record["thumbnails"] is None
    assert not (tmp_path / "sheet.webp").exists()


def _plain(shade: int, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, shade).save(buffer, "PNG")
    return buffer.getvalue()


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
