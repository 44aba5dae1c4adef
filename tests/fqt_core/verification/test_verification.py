"""The suite that a GPU is verified with, on the kernels of the CPU; that it can fail; and what is told of speed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from fqt_core import ops
from fqt_core.verification import __main__ as command
from fqt_core.verification.cases import CASES, GROUPED, SHAPES, Layer
from fqt_core.verification.equality import KNOW_GROUPS, Verdict, verify
from fqt_core.verification.report import examine
from fqt_core.verification.speed import copy_bandwidth

CPU = torch.device("cpu")
TINY = (Layer(3, 5, 4, 3, 5),)


def test_every_kernel_of_the_cpu_is_verified() -> None:
    verdicts = {verdict.operation: verdict for verdict in verify(CPU)}
    assert set(verdicts) == set(ops.OPERATIONS)
    assert [verdict for verdict in verdicts.values() if not verdict.equal] == []
    assert {name: verdict.kernel for name, verdict in verdicts.items()} == {
        name: operation.isa for name, operation in ops.OPERATIONS.items()
    }
    assert all(verdicts[name].cases >= len(SHAPES) + len(GROUPED) for name in KNOW_GROUPS)
    assert min(verdict.cases for verdict in verdicts.values()) >= 6


def _wrong(operation: str) -> Callable[..., Any]:
    """Kernels that are wrong as a kernel may be: subnormal numbers are lost, one sample is wrong, or it is an error."""
    reference = ops.OPERATIONS[operation].reference

    def flush(*given: Any) -> Any:
        lo, hi = reference(*given)
        return torch.where(lo.abs() < 1e-38, 0.0, lo), hi

    def sample(*given: Any) -> Any:
        words = reference(*given)
        words[-1] ^= 1
        return words

    def error(*given: Any) -> Any:
        raise RuntimeError("CUDA error:\n an illegal memory access")

    return {"group_range": flush, "pack_sign": sample, "unpack_sign": error}[operation]


def test_a_wrong_kernel_is_found_and_named() -> None:
    found = {v.operation: v for v in verify(CPU, ("group_range", "pack_sign", "unpack_sign"), call=_wrong)}
    assert not any(verdict.equal for verdict in found.values())
    assert found["pack_sign"].differing[0] == "1x1, 1 to 1, 1 samples"
    assert "3x4, 3 to 5, zeros, 2 samples (without pixels)" in found["pack_sign"].differing
    assert len(found["pack_sign"].differing) == found["pack_sign"].cases
    assert found["group_range"].differing == (
        "2x2, 31 to 2, subnormal, 3 samples (samples)",
        "2x2, 31 to 2, subnormal, 3 samples (channels)",
    )
    assert found["unpack_sign"].error == "RuntimeError: CUDA error:\n an illegal memory access"


def test_a_schema_or_a_fake_kernel_that_does_not_fit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []
    monkeypatch.setattr(torch.library, "opcheck", lambda operation, *_, **__: checked.append(operation))
    list(verify(CPU, ("pack_sign", "adam_binary_")))
    assert checked == [torch.ops.fqt.pack_sign.default, torch.ops.fqt.adam_binary_.default]

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("opcheck failed")

    monkeypatch.setattr(torch.library, "opcheck", refuse)
    [verdict] = verify(CPU, ("pack_sign",))
    assert verdict.error == "RuntimeError: opcheck failed"


def test_speed_is_told_of_kernels_that_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    report = examine(CPU, ("pack_sign", "binary_conv2d"), layers=TINY, repeats=2, progress=lines.append)
    assert report.copy_gb_per_s is not None
    assert report.equal
    assert [(s.operation, s.unit, s.share is None) for s in report.speeds] == [
        ("pack_sign", "GB/s", False),
        ("binary_conv2d", "GMAC/s", True),
    ]
    for speed in report.speeds:
        case = next(CASES[speed.operation](TINY[0]))
        assert speed.figure == pytest.approx((case.macs or case.bytes) / speed.ms / 1e6)
    assert len(lines) == 2 + 1 + 2
    bad = [Verdict("pack_sign", "cuda", 3, ("a case",)), Verdict("unpack_sign", "reference", 3)]
    monkeypatch.setattr("fqt_core.verification.report.verify", lambda *_: iter(bad))
    assert examine(CPU, layers=TINY, progress=lines.append).speeds == []
    assert lines[-2].endswith("3 cases  1 differ: a case")


def test_bandwidth_counts_bytes_read_and_written() -> None:
    size = 1 << 20
    assert 0 < copy_bandwidth(CPU, 2, size) < 10_000


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    one = ["--device", "cpu", "--equality", "--operation", "pack_sign"]
    assert command.main([*one, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["equal"], report["kernels"], report["speeds"]) == (True, 1, [])
    assert command.main(one) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("cpu: 1 of 1 operations give the reference's results")
    monkeypatch.setattr("fqt_core.verification.report.verify", lambda *_: iter([Verdict("a", "cuda", 1, ("x",))]))
    assert command.main(one) == 5
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    capsys.readouterr()
    assert command.main([]) == 5
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "no CUDA device that torch" in said.err
    with pytest.raises(SystemExit) as ended:
        command.main(["--device", "abacus"])
    assert ended.value.code == 2
