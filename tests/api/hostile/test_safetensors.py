"""Files that want to be models: each is refused with what is wrong, quickly, at little memory, and nothing is kept."""

from __future__ import annotations

import io
import json
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.api.conftest import files_of
from tests.api.registry import Registry, packed, registry, weights

MEMORY = 256 << 20
SECONDS = 2.0
ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def _file(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _tensor(**changes: Any) -> bytes:
    return _file({"head.weight": ONE | changes}, bytes(4))


def _pickled() -> bytes:
    data = io.BytesIO()
    torch.save({"head.weight": torch.zeros(1)}, data)
    return data.getvalue()


def _bomb() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.safetensors", bytes(1 << 20))
    return data.getvalue()


def _two(first: list[int], second: list[int], data: int) -> bytes:
    header = {"a": ONE | {"data_offsets": first}, "b": ONE | {"data_offsets": second}}
    return _file(header, bytes(data))


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "only 0 bytes"),
    "seven bytes": (lambda: b"\x02" + bytes(6), "only 7 bytes"),
    "header of 2^63 bytes": (lambda: _file({}, length=2**63), "at most"),
    "header of 2^64 - 1 bytes": (lambda: _file({}, length=2**64 - 1), "at most"),
    "header longer than the file": (lambda: _file({"a": ONE}, length=1 << 20), "the file has"),
    "pickle in a zip": (_pickled, "can run code"),
    "old pickle": (lambda: b"\x80\x02}q\x00." + bytes(64), "can run code"),
    "zip bomb": (_bomb, "can run code"),
    "header that is no JSON": (lambda: _file(b"{'a': 1}"), "no JSON"),
    "header that is a list": (lambda: _file([1, 2]), "no JSON object"),
    "header nested deeply": (lambda: _file(b"[" * 1_000_000), "no JSON"),
    "header of a million entries": (lambda: _file(b"[" + b"0," * 1_500_000 + b"0]"), "entries"),
    "20,000 tensors": (
        lambda: _file({f"t{n}": ONE | {"shape": [0], "data_offsets": [0, 0]} for n in range(20_000)}),
        "20000 tensors",
    ),
    "no tensors": (lambda: _file({"__metadata__": {"fqt": "{}"}}), "no tensors"),
    "NaN in the header": (lambda: _file(b'{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 4]}}'), "NaN"),
    "a name twice": (lambda: _file(b'{"a": %s, "a": %s}' % ((json.dumps(ONE).encode(),) * 2), bytes(4)), "twice"),
    "overlapping tensors": (lambda: _two([0, 4], [2, 6], 6), "overlaps"),
    "the same place twice": (lambda: _two([0, 4], [0, 4], 4), "overlaps"),
    "a gap": (lambda: _two([0, 4], [8, 12], 12), "gap of 4 bytes"),
    "bytes after the last tensor": (lambda: _file({"a": ONE}, bytes(5)), "has 5 bytes"),
    "offsets backwards": (lambda: _tensor(data_offsets=[4, 0]), "data_offsets"),
    "offsets beyond the file": (
        lambda: _file({"a": ONE | {"shape": [1 << 40], "data_offsets": [0, 1 << 42]}}),
        "has 0",
    ),
    "an unknown dtype": (lambda: _tensor(dtype="F7"), "unknown"),
    "a dtype that is a list": (lambda: _tensor(dtype=["F32"]), "unknown"),
    "a shape that does not fill its place": (lambda: _tensor(shape=[2, 2]), "takes 16 bytes"),
    "a negative shape": (lambda: _tensor(shape=[-1]), "whole numbers"),
    "a shape whose product overflows": (lambda: _tensor(shape=[2**62, 2**62, 4]), "takes"),
    "a shape of truth values": (lambda: _tensor(shape=[True]), "whole numbers"),
    "a shape of 1,000 dimensions": (lambda: _tensor(shape=[1] * 1000), "at most 8"),
    "more in an entry": (lambda: _tensor(path="/etc/passwd"), "nothing else"),
    "metadata that is no text": (lambda: _file({"__metadata__": {"a": 1}, "a": ONE}, bytes(4)), "strings"),
    "tensors of no network": (lambda: _file({"lm_head.weight": ONE}, bytes(4)), "none of the networks"),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("hostile")
    with registry(folder, f"{valkey_url[:-1]}3", max_model_bytes=8 << 20) as made:
        assert made.upload(packed(folder)).status_code == 201  # from here on the child is warm
        yield made


def _peak(process: str, *, reset: bool = False) -> int:
    """The most memory in bytes that a process has used, since the last reset."""
    folder = Path("/proc", process)
    if reset:
        (folder / "clear_refs").write_text("5")
    return int((folder / "status").read_text().split("VmHWM:")[1].split()[0]) * 1024


def _refused(service: Registry, content: bytes, status: int = 422) -> str:
    """Upload, and check the answer, its time and its memory; return what was told."""
    kept = files_of(service.store.settings)
    children = [child for listener in service.listeners if (child := listener._child._child) is not None]
    processes = ["self", *(str(child.pid) for child in children)]
    before = [_peak(process, reset=True) for process in processes]
    begin = time.monotonic()
    answer = service.upload(content)
    seconds = time.monotonic() - begin
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert seconds < SECONDS, seconds
    more = [_peak(process) - held for process, held in zip(processes, before, strict=True)]
    assert sum(more) < MEMORY, more
    assert files_of(service.store.settings) == kept
    return answer.text


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(service: Registry, name: str) -> None:
    make, message = HOSTILE[name]
    told = _refused(service, make())
    assert message in told
    assert json.loads(told)["code"] == "model_rejected"
    assert str(service.store.settings.data_dir) not in told


def test_a_file_beyond_the_bound_is_refused(service: Registry) -> None:
    assert "too_large" in _refused(service, bytes(9 << 20), 413)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record["architecture"].update(width=1e300), "metadata"),
        (lambda record: record["architecture"].update(image_size=10**9), "metadata"),
        (lambda record: record.update(classes=["a"]), "class names"),
        (lambda record: record.update(num_classes=10**9), "class names"),
        (lambda record: record.update(format_version=99), "version 99"),
        (lambda record: record["method"].update(name="../../etc"), "metadata"),
        (lambda record: record["preprocessing"].update(std=[0.0]), "metadata"),
    ],
)
def test_a_packed_model_that_lies_is_refused(
    service: Registry, tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    content = packed(tmp_path)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    record = json.loads(header["__metadata__"]["fqt"])
    change(record)
    header["__metadata__"]["fqt"] = json.dumps(record)
    assert message in _refused(service, _file(header, content[8 + length :]))


def test_values_that_are_not_finite_are_refused(service: Registry, tmp_path: Path) -> None:
    def spoil(model: Any) -> None:
        with torch.no_grad():
            model.head.weight[0, 0] = float("nan")

    assert "head.weight holds values that are not finite" in _refused(service, weights(tmp_path, change=spoil))


def test_a_model_cut_off_is_refused(service: Registry, tmp_path: Path) -> None:
    assert "end at byte" in _refused(service, packed(tmp_path)[:-1])
