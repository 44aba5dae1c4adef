"""Folders that others may write to: what was looked through is what is trained on, and nothing outside is read."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fqt_core.data import load_dataset, load_pinned, look_through
from fqt_core.data.beneath import open_beneath
from fqt_core.errors import DataError, DatasetChangedError

from .build import class_folders, idx_members, picture, write_folder, write_npz, write_zip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photos", class_folders(count=6))


def listed(folder: Path) -> bytes:
    look = look_through(folder)
    assert look.listing is not None, look.profile["faults"]
    return look.listing


def test_a_listing_names_every_file_and_its_bytes(folder: Path) -> None:
    write_folder(folder, {".git/config": b"hidden", "__MACOSX/x": b"junk"})
    look = look_through(folder)
    members = class_folders(count=6)
    assert look.listing is not None
    assert look.listing.decode().splitlines() == [
        f"{hashlib.sha256(content).hexdigest()} {len(content)} {name}" for name, content in sorted(members.items())
    ]
    assert look.size == sum(map(len, members.values()))
    assert look.profile["images"] == 12
    assert load_pinned(folder, look.listing).fingerprint == load_dataset(folder).fingerprint


def test_what_was_put_back_or_copied_is_the_same_whatever_its_times(folder: Path, tmp_path: Path) -> None:
    pinned = listed(folder)
    path = folder / "cats" / "0.png"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    os.utime(path, (1, 1))
    write_folder(folder, {".hidden": b"is not read"})
    shutil.copytree(folder, tmp_path / "copy")
    assert load_pinned(folder, pinned).fingerprint == load_pinned(tmp_path / "copy", pinned).fingerprint


def _other_bytes(folder: Path) -> None:
    path = folder / "cats" / "0.png"
    stamp = path.stat()
    path.write_bytes(picture(99)[: stamp.st_size].ljust(stamp.st_size, b"\0"))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # the same size and time


_CHANGES: dict[str, Callable[[Path], object]] = {
    "files 1 changed (cats/0.png).": _other_bytes,
    "files 1 added (cats/new.png).": lambda folder: (folder / "cats" / "new.png").write_bytes(picture(9)),
    "files 1 removed (dogs/5.png).": lambda folder: (folder / "dogs" / "5.png").unlink(),
    "files 2 added (birds/0.png, birds/1.png).": lambda folder: write_folder(folder, class_folders(("birds",), 2)),
    "files 1 added (dogs/9.png); 1 removed (cats/1.png).": lambda folder: (folder / "cats" / "1.png").rename(
        folder / "dogs" / "9.png"
    ),
    "files 1 added (cats/a\\nb.png).": lambda folder: (folder / "cats" / "a\nb.png").write_bytes(b"x"),
}


@pytest.mark.parametrize("said", _CHANGES)
def test_a_changed_folder_is_not_trained_on_and_what_changed_is_named(folder: Path, said: str) -> None:
    pinned = listed(folder)
    _CHANGES[said](folder)
    with pytest.raises(DatasetChangedError) as caught:
        load_pinned(folder, pinned)
    assert said in str(caught.value)


@pytest.mark.parametrize("moment", ["_listing", "load_dataset"])
def test_a_folder_that_is_written_to_while_it_is_read_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The same bytes once more, between two readings: nobody can tell what was read."""
    pinned = listed(folder)
    real = load_pinned.__globals__[moment]

    def disturbed(*arguments: object, **options: object) -> object:
        result = real(*arguments, **options)
        path = folder / "dogs" / "1.png"
        path.write_bytes(path.read_bytes())
        return result

    monkeypatch.setitem(load_pinned.__globals__, moment, disturbed)
    with pytest.raises(DatasetChangedError, match="written to while"):
        load_pinned(folder, pinned)
    if moment == "_listing":
        with pytest.raises(DatasetChangedError, match="written to while"):
            look_through(folder)


_HOSTILE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "link to a file outside": (
        lambda folder: (folder / "cats" / "link.png").symlink_to("/etc/hostname"),
        "cats/link.png",
        "a link",
    ),
    "link to a file inside": (
        lambda folder: (folder / "cats" / "link.png").symlink_to("0.png"),
        "cats/link.png",
        "a link",
    ),
    "link to a folder outside": (lambda folder: (folder / "birds").symlink_to("/etc"), "birds", "a link"),
    "link to nowhere": (
        lambda folder: (folder / "cats" / "link.png").symlink_to("/nowhere"),
        "cats/link.png",
        "a link",
    ),
    "pipe": (lambda folder: os.mkfifo(folder / "cats" / "pipe"), "cats/pipe", "not a regular file"),
}


@pytest.mark.parametrize("case", _HOSTILE)
def test_nothing_outside_is_read_and_nothing_special(folder: Path, case: str) -> None:
    make, where, said = _HOSTILE[case]
    pinned = listed(folder)
    make(folder)
    look = look_through(folder)
    assert look.listing is None
    assert (where, said) in [(fault["where"], fault["message"]) for fault in look.profile["faults"]]
    with pytest.raises(DatasetChangedError):
        load_pinned(folder, pinned)


def test_a_name_never_leads_out_of_its_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "out").symlink_to(tmp_path)
    (folder / "cats" / "out.png").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe")
    with open_beneath(folder, "cats/0.png") as file:
        assert file.read() == class_folders()["cats/0.png"]
    for name in (
        "out/secret",
        "cats/out.png",
        "../secret",
        "cats/../../secret",
        "pipe",
        "cats",
        "",
        "/etc/passwd",
        ".",
    ):
        with pytest.raises(OSError, match=r"."):
            open_beneath(folder, name)


def test_idx_and_a_lone_npz_are_read_too(tmp_path: Path) -> None:
    write_folder(tmp_path / "idx", idx_members(12))
    (tmp_path / "npz").mkdir()
    images = np.arange(12 * 16, dtype=np.uint8).reshape(12, 4, 4)
    write_npz(tmp_path / "npz" / "set.npz", images=images, labels=np.arange(12) % 2)
    (tmp_path / "zip").mkdir()
    write_zip(tmp_path / "zip" / "set.zip", class_folders(count=6))
    looks = {name: look_through(tmp_path / name) for name in ("idx", "npz", "zip")}
    assert {name: (look.profile["format"], look.profile["images"]) for name, look in looks.items()} == {
        "idx": ("idx", 12),
        "npz": ("npz", 12),
        "zip": ("folders", 12),
    }
    for name, look in looks.items():
        assert look.listing is not None
        assert len(load_pinned(tmp_path / name, look.listing, image_size=8)) == 12


def test_a_folder_that_is_gone_or_empty_is_told(folder: Path) -> None:
    pinned = listed(folder)
    shutil.rmtree(folder)
    with pytest.raises(DataError, match="not there"):
        load_pinned(folder, pinned)
    folder.mkdir()
    with pytest.raises(DatasetChangedError, match="12 removed"):
        load_pinned(folder, pinned)
    empty = look_through(folder)
    assert empty.listing is None
    assert empty.profile["faults"]
