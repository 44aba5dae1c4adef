"""The kernel table is covered: a kernel that is registered cannot go unmeasured."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import kernels
from benchmarks.cases import CASES, Layer
from benchmarks.errors import BenchmarkError
from benchmarks.phases import PHASES, phase_of
from fqt_core import ops
from fqt_core.ops import native

TINY = (Layer(3, 5, 4, 3, 5), Layer(2, 4, 4, 65, 6, stride=2))


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return kernels.measure(kernels.rows_of(None), 1, TINY, progress=lambda _: None)


def test_every_operation_has_a_case_and_a_phase() -> None:
    assert set(CASES) == set(ops.OPERATIONS)
    assert {phase_of(f"fqt::{name}") for name in ops.OPERATIONS} <= set(PHASES) - {"torch", "rest"}


def test_every_kernel_is_measured(rows: list[dict[str, Any]]) -> None:
    assert {(row["operation"], row["isa"]) for row in rows} == set(native.KERNELS)


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


def test_taps_outside_the_image_are_no_work() -> None:
    assert Layer(1, 1, 1, 1, 1).taps == 1
    assert Layer(1, 3, 3, 1, 1).taps == 7 * 7
    assert Layer(1, 4, 4, 1, 1, stride=2).taps == 5 * 5
