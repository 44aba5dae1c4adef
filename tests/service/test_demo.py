from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fqt_client import LocalFileError
from service import demo, demo_data, demo_report


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[demo_data.HeldOut]]:
    root = tmp_path_factory.mktemp("digits")
    return root, demo_data.write_digits(range(5, 10), root / "training", root / "held-out")


def test_held_out_images_are_in_no_training_folder(written: tuple[Path, list[demo_data.HeldOut]]) -> None:
    root, held_out = written
    training = sorted((root / "training").rglob("*.png"))
    assert len(training) + len(held_out) == 896  # all the digits 5 to 9 that there are
    assert {path.parent.name for path in training} == {"5", "6", "7", "8", "9"}
    assert [entry.label for entry in held_out] == [str(digit) for digit in range(5, 10) for _ in range(20)]
    kept_back = {(entry.label, entry.path.stem.rsplit("-")[-1]) for entry in held_out}
    assert not kept_back & {(path.parent.name, path.stem) for path in training}
    assert not {entry.path.read_bytes() for entry in held_out} & {path.read_bytes() for path in training}


def test_the_images_are_the_real_ones(written: tuple[Path, list[demo_data.HeldOut]]) -> None:
    with Image.open(written[1][0].path) as image:
        assert (image.size, image.mode) == ((8, 8), "L")
        low, high = image.getextrema()
    assert low == 0
    assert high >= 200


def test_a_folder_with_something_else_in_it_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(LocalFileError, match="is not empty"):
        demo.claim(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_folder_of_an_earlier_demo_is_emptied(tmp_path: Path) -> None:
    root = demo.claim(tmp_path / "demo")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.txt").touch()
    lock = root / "service" / "up.lock"
    (root / "service" / "logs").mkdir(parents=True)
    lock.touch()
    (root / "service" / "logs" / "api.log").touch()
    (root / "model.safetensors").touch()
    (root / "link").symlink_to(outside)
    assert demo.claim(tmp_path / "demo") == root
    demo.clear(root, lock)
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*")) == [
        demo.MARKER,
        "service",
        "service/up.lock",
    ]
    assert (outside / "kept.txt").exists()


def test_predictions_are_drawn_with_the_mistakes_in_red(
    written: tuple[Path, list[demo_data.HeldOut]], tmp_path: Path
) -> None:
    held_out = written[1][:21]
    told = [(entry, "5" if index else "9", 0.5) for index, entry in enumerate(held_out)]
    demo_report.draw_predictions(told, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (20 * 64, 2 * 80)
        tiles = [[sheet.getpixel((x, y)) for x in range(left, left + 64) for y in range(64, 80)] for left in (0, 64)]
    red, green = ([pixel for pixel in tile if sum(pixel) < 500] for tile in tiles)  # the text, without its soft edges
    assert all(r > 150 > max(g, b) for r, g, b in red)
    assert all(r < g and b < g for r, g, b in green)
    assert red
    assert green
