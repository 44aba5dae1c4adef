"""Damaged and hostile model files are refused with what is wrong, and cost no memory that they do not have."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from fqt_core import export
from fqt_core.config import Method, Resnet18
from fqt_core.convert import convert_
from fqt_core.errors import CheckpointError
from fqt_core.export.format import ModelRecord
from fqt_core.models import build
from fqt_core.tensorfile import METADATA_KEY, read_metadata, write_tensors
from fqt_core.tensorheader import MAX_HEADER_BYTES

Tensors = dict[str, Tensor]
Record = dict[str, Any]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = build(Resnet18(width=0.0625, image_size=8, channels=1), num_classes=2)
    convert_(model, Method("fqt"))
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    inputs = {"image_size": 8, "channels": 1, "mean": [0.5], "std": [0.5]}
    export.save_packed(model, path, classes=["a", "b"], preprocessing=inputs)
    return path


def _changed(good: Path, path: Path, change: Callable[[Tensors, Record], None]) -> Path:
    tensors, record = safetensors.torch.load_file(good), read_metadata(good)
    change(tensors, record)
    write_tensors(path, tensors, record)
    return path


def test_the_original_is_read(good: Path, tmp_path: Path) -> None:
    assert export.load(_changed(good, tmp_path / "m", lambda tensors, record: None)).classes == ["a", "b"]


def _set(*keys: str, to: Any) -> Callable[[Tensors, Record], None]:
    def change(tensors: Tensors, record: Record) -> None:
        for key in keys[:-1]:
            record = record[key]
        record[keys[-1]] = to

    return change


def _replace(name: str, value: Callable[[Tensor], Tensor]) -> Callable[[Tensors, Record], None]:
    return lambda tensors, record: tensors.update({name: value(tensors[name])})


def _drop_bits(tensors: Tensors, record: Record) -> None:
    for name in [name for name in tensors if name.endswith(".weight_bits")]:
        del tensors[name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, r: r.clear(), "no packed model: its metadata names no format"),
        (_set("format", to="fqt-weights"), "no packed model: its format is 'fqt-weights'"),
        (_set("format", to=["x" * 1000]), "no packed model"),
        (_set("format_version", to=2), "its format has version 2, this release reads version 1"),
        (_set("format_version", to=None), "its format has version None"),
        (_set("num_classes", to=3), "2 class names for num_classes=3"),
        (_set("classes", to=["a", "b", "c"]), "3 class names for num_classes=2"),
        (
            lambda t, r: r.update(num_classes=3, classes=["a", "b", "c"]),
            r"fc.weight is .* \(2, 32\).* needs .* \(3, 32\)",
        ),
        (_set("architecture", "name", to="alexnet"), "architecture"),
        (_set("architecture", "width", to=1e9), "architecture.resnet18.width"),
        (_set("architecture", "width", to=0.25), r"layer1.0.conv1.weight_bits is torch.uint8 \(72,\)"),
        (_set("architecture", "stem", to="imagenet"), "conv1.weight is"),
        (_set("method", "name", to="fp32"), "its metadata does not fit: method"),
        (_set("method", to={"name": "fp32"}), "layer1.0.conv1.weight is missing"),
        (_set("method", "weight_scale", to="none"), r"alpha does not belong"),
        (_set("preprocessing", "std", to=[0]), "preprocessing.std.0 .*greater than 0"),
        (_set("preprocessing", "mean", to=[0, 0]), "one per channel"),
        (_set("preprocessing", "image_size", to=2**40), "preprocessing makes images of"),
        (_set("more", to=1), "more Extra inputs"),
        (lambda t, r: t.pop("fc.bias"), "fc.bias is missing"),
        (lambda t, r: t.pop("layer1.0.conv1.alpha"), "layer1.0.conv1.alpha is missing"),
        (lambda t, r: t.pop("layer1.0.conv1.weight_bits"), "layer1.0.conv1.weight is missing"),
        (_drop_bits, "its method is 'fqt', but it holds no quantised layers"),
        (lambda t, r: t.update(extra=torch.zeros(1)), "extra does not belong to the network"),
        (lambda t, r: t.update({"no.weight_bits": torch.zeros(1)}), "no.weight_bits does not belong to the network"),
        (lambda t, r: t.update({"conv1.weight_bits": torch.zeros(1)}), "conv1.weight_bits does not belong"),
        (_replace("fc.weight", lambda t: t[:1]), r"fc.weight is torch.float32 \(1, 32\)"),
        (_replace("fc.weight", lambda t: t.double()), "fc.weight is torch.float64"),
        (_replace("bn1.running_var", lambda t: t * float("nan")), "bn1.running_var holds values that are not finite"),
        (_replace("layer1.0.conv1.weight_bits", lambda t: t[:-1]), r"weight_bits is torch.uint8 \(71,\)"),
        (_replace("layer1.0.conv1.weight_bits", lambda t: t.to(torch.int64)), "weight_bits is torch.int64"),
    ],
)
def test_parts_that_do_not_fit_are_named(
    good: Path, tmp_path: Path, change: Callable[[Tensors, Record], None], message: str
) -> None:
    path = _changed(good, tmp_path / "bad.safetensors", change)
    with pytest.raises(CheckpointError, match=message) as error:
        export.load(path)
    assert str(error.value).startswith(f"{path}: ")
    assert len(str(error.value)) < 1500


def _raw(header: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + body


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "only 0 bytes"),
        (b"\x01\x00", "only 2 bytes"),
        (_raw(b"{}", length=2**63), "its header claims 9223372036854775808 bytes, the file has 10"),
        (_raw(b" " * (MAX_HEADER_BYTES + 1)), f"at most {MAX_HEADER_BYTES} are read"),
        (_raw(b"not json"), "its header is no JSON"),
        (_raw(b"\xff\xfe\xff\xfe"), "its header is no JSON"),
        (_raw(b"[" * 100_000), "its header is no JSON"),
        (_raw(b"[]"), "its header is no JSON object"),
        (_raw(json.dumps({"__metadata__": {METADATA_KEY: "{"}}).encode()), "its metadata 'fqt' is no JSON"),
        (_raw(json.dumps({"__metadata__": {METADATA_KEY: "[" * 100_000}}).encode()), "its metadata 'fqt' is no JSON"),
        (_raw(json.dumps({"__metadata__": {METADATA_KEY: "[]"}}).encode()), "is no JSON object"),
        (_raw(json.dumps({"__metadata__": {METADATA_KEY: 7}}).encode()), "is no JSON"),
        (_raw(json.dumps({"__metadata__": []}).encode()), "damaged safetensors file"),
        (_raw(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'), "damaged safetensors file"),
        (_raw(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,4]}}', b"1234"), "damaged safetensors file"),
        (_raw(b'{"a":{"dtype":"F32","shape":[18446744073709551615,8],"data_offsets":[0,4]}}', b"1234"), "damaged"),
        (_raw(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', b"1234"), "damaged safetensors file"),
        (_raw(b'{"a":{"dtype":"Q7","shape":[1],"data_offsets":[0,4]}}', b"1234"), "damaged safetensors file"),
        (_raw(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"1234"), "no packed model"),
        (b"\x80\x02}q\x00." + b"x" * 100, "a pickled torch file, which is never read"),
        (b"PK\x03\x04" + b"x" * 100, "a pickled torch file, which is never read"),
        (b"GIF89a" + b"x" * 100, "cut off, or no safetensors file"),
    ],
)
def test_files_that_are_none_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as error:
        export.load(path)
    assert str(error.value).startswith(f"{path}: ")


def test_a_file_cut_off_anywhere_is_refused(good: Path, tmp_path: Path) -> None:
    content = good.read_bytes()
    path = tmp_path / "cut.safetensors"
    for length in (7, 8, 9, 200, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            export.load(path)
    with pytest.raises(CheckpointError, match="Is a directory"):
        export.load(tmp_path)


def test_a_small_file_that_claims_a_huge_network_takes_no_memory(good: Path, tmp_path: Path) -> None:
    """It claims 2.2 billion parameters: 8.8 GB, were they ever allocated."""

    def claim(tensors: Tensors, record: Record) -> None:
        record["architecture"] = {"name": "vgg16", "stem": "imagenet", "width": 4, "image_size": 8, "channels": 1}

    path = _changed(good, tmp_path / "huge.safetensors", claim)
    code = (
        "import resource, sys\n"
        "from fqt_core import export\n"
        "from fqt_core.errors import CheckpointError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    export.load(sys.argv[1])\n"
        "except CheckpointError as error:\n"
        "    assert 'is missing' in str(error) or 'holds no quantised layers' in str(error), error\n"
        "    sys.exit(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > 200_000)\n"
        "sys.exit(2)\n"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(path)], check=False).returncode == 0


def test_records_survive_json(good: Path) -> None:
    record = ModelRecord.model_validate(read_metadata(good))
    assert ModelRecord.model_validate_json(record.model_dump_json()) == record
