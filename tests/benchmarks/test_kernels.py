"""The kernel table is covered: a kernel that is registered cannot go unmeasured."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import kernels, peaks
from benchmarks.errors import BenchmarkError
from benchmarks.phases import PHASES, phase_of
from fqt_core import ops
from fqt_core.ops import native
from fqt_core.verification.cases import CASES, Layer
from tests.programs import program

TINY = (Layer(3, 5, 4, 3, 5), Layer(2, 4, 4, 65, 6, stride=2))


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return kernels.measure(kernels.rows_of(None), 1, TINY, progress=lambda _: None)


def test_every_operation_has_a_case_and_a_phase() -> None:
    assert set(CASES) == set(ops.OPERATIONS)
    assert {phase_of(f"fqt::{name}") for name in ops.OPERATIONS} <= set(PHASES) - {"torch", "rest"}


def test_every_kernel_is_measured(rows: list[dict[str, Any]]) -> None:
    assert {(row["operation"], row["isa"]) for row in rows} == set(native.KERNELS)


def test_products_have_a_share_of_their_unit(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row["unit"] == "GB/s":
            assert row["peak_gmacs"] is None
            assert row["share_of_peak"] is None
        else:
            assert row["peak_gmacs"] > 0
            assert row["share_of_peak"] == pytest.approx(row["figure"] / row["peak_gmacs"], abs=0.001)


def test_codes_of_more_than_four_bits_are_looked_up_twice() -> None:
    found = {"avx512_count": 3.0, "avx512_count_pairs": 4.0, "avx512_lookup": 2.0, "amx_tiles": 9.0}
    assert [peaks.peak_of("avx512", bits, found) for bits in (1, 2, 4, 8)] == [4.0, 2.0, 2.0, 1.0]
    assert [peaks.peak_of("amx", bits, found) for bits in (1, 4, 8)] == [9.0] * 3


def test_every_instruction_set_has_units() -> None:
    assert len(set(peaks.units_of(native.INSTRUCTION_SETS))) == len(peaks.units_of(native.INSTRUCTION_SETS))
    for isa in native.INSTRUCTION_SETS:
        found = dict.fromkeys(peaks.units_of([isa]), 1.0)
        assert peaks.peak_of(isa, 1, found) == peaks.peak_of(isa, 4, found) == 1.0


def test_units_are_measured() -> None:
    usable = {isa for _, isa in native.KERNELS}
    found = peaks.measure(sorted(usable))
    assert set(found) == set(peaks.units_of(usable))
    assert all(gmacs > 0 for gmacs in found.values())


def test_without_a_compiler_the_peaks_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BenchmarkError, match="need a C"):
        peaks.measure(["portable"])
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(BenchmarkError, match="false failed"):
        peaks.measure(["portable"])


def test_units_of_64_bit_arm_run(tmp_path: Path) -> None:
    compiler = program("aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu")
    flags = ("-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-static")
    subprocess.run([compiler, *flags, peaks.SOURCE, "-o", tmp_path / "peaks"], check=True)
    command = [program("qemu-aarch64", "qemu-user"), tmp_path / "peaks", *peaks.units_of(["neon"])]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert [line.split()[0] for line in lines] == peaks.units_of(["neon"])


def test_figures_fit_each_other(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert row["unit"] in {"GMAC/s", "GB/s"}
        assert row["work"] > 0
        assert row["figure"] == pytest.approx(row["work"] / row["ms"] / 1e6, rel=0.1, abs=0.001)
        assert 0 <= row["share_of_best"] <= 1
    best = {(row["operation"], row["isa"]) for row in rows if row["share_of_best"] == 1}
    assert best == set(native.KERNELS)


@pytest.mark.parametrize("operation", sorted(CASES))
@pytest.mark.parametrize("layer", TINY, ids=lambda layer: layer.name)
def test_cases_are_valid_arguments(operation: str, layer: Layer) -> None:
    cases = list(CASES[operation](layer))
    assert len({case.variant for case in cases}) == len(cases)
    for case in cases:
        assert bool(case.macs) != bool(case.bytes)
        ops.OPERATIONS[operation].reference(*case.arguments)


def test_a_kernel_without_a_case_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(CASES, "pack_sign")
    with pytest.raises(BenchmarkError, match="no benchmark case for pack_sign"):
        kernels.rows_of(None)


def test_instruction_sets_are_chosen() -> None:
    assert {isa for _, isa in kernels.rows_of("portable")} == {"portable"}
    served = {(name, row.isa) for name, row in ops.OPERATIONS.items()}
    assert set(kernels.rows_of("auto")) == served & set(native.KERNELS)
    with pytest.raises(BenchmarkError, match=r"no native kernels for sse9; available: .*portable"):
        kernels.rows_of("sse9")


def test_kernels_of_a_gpu_are_measured_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "CUDA_KERNELS", frozenset({"pack_sign", "group_range"}))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not any(isa == "cuda" for _, isa in kernels.rows_of(None))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert set(kernels.rows_of("cuda")) == {("pack_sign", "cuda"), ("group_range", "cuda")}
    assert set(kernels.rows_of("cuda")) < set(kernels.rows_of("auto"))


def test_taps_outside_the_image_are_no_work() -> None:
    assert Layer(1, 1, 1, 1, 1).taps == 1
    assert Layer(1, 3, 3, 1, 1).taps == 7 * 7
    assert Layer(1, 4, 4, 1, 1, stride=2).taps == 5 * 5
    assert Layer(1, 5, 5, 1, 1, dilation=2).taps == 11 * 11
