"""Bit-equal on every instruction set: each row of the kernel table against the reference, integer for integer."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fqt_core import ops
from fqt_core.ops import native
from tests.fqt_core.cases import ARGUMENTS, native_arguments

ROWS = sorted(native.KERNELS)


def test_the_extension_was_built() -> None:
    assert ROWS, "fqt_core._native is missing: install the project to build it"


def test_every_native_operation_has_cases_here() -> None:
    assert {operation for operation, _ in ROWS} == set(ARGUMENTS)


@pytest.mark.parametrize(("operation", "isa"), ROWS)
def test_schema_is_that_of_the_operation(operation: str, isa: str) -> None:
    schema = str(native.kernel(operation, isa)._schema)
    assert schema.replace(f"fqt_native::{operation}.{isa}", operation) == str(
        getattr(torch.ops.fqt, operation).default._schema
    ).replace(f"fqt::{operation}", operation)


@pytest.mark.parametrize(("operation", "isa"), ROWS)
def test_equals_the_reference_bit_for_bit(operation: str, isa: str) -> None:
    kernel, reference = native.kernel(operation, isa), ops.OPERATIONS[operation].reference

    @given(native_arguments(operation))
    @settings(max_examples=40)
    def check(arguments: tuple[object, ...]) -> None:
        got, expected = kernel(*arguments), reference(*arguments)
        for one, other in zip(_tuple(got), _tuple(expected), strict=True):
            assert one.dtype == other.dtype
            assert one.shape == other.shape
            bits = torch.int32 if one.dtype == torch.float32 else one.dtype
            assert torch.equal(one.view(bits), other.view(bits))

    check()


@pytest.mark.parametrize("isa", sorted({isa for _, isa in ROWS}))
@given(data=st.data())
@settings(max_examples=5)
def test_result_does_not_depend_on_threads(isa: str, data: st.DataObject) -> None:
    for operation in sorted(name for name, row_isa in ROWS if row_isa == isa):
        arguments = data.draw(native_arguments(operation))
        kernel = native.kernel(operation, isa)
        before, results = torch.get_num_threads(), []
        try:
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                results.append(_tuple(kernel(*arguments)))
        finally:
            torch.set_num_threads(before)
        for other in results[1:]:
            assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("isa", sorted({isa for _, isa in ROWS}))
def test_strided_arguments_are_made_contiguous(isa: str) -> None:
    x = torch.randn(3, 5, 7, 6).permute(0, 3, 1, 2)
    assert torch.equal(native.kernel("pack_sign", isa)(x), ops.OPERATIONS["pack_sign"].reference(x))


@pytest.mark.parametrize("isa", sorted({isa for _, isa in ROWS}))
def test_a_nan_or_infinity_shows_in_the_range(isa: str) -> None:
    for bad in (float("nan"), float("inf"), float("-inf")):
        for place in (0, 17, 39):
            g = torch.randn(2, 40)
            g[1, place] = bad
            lo, hi = native.kernel("group_range", isa)(g, 0)
            assert torch.isfinite(hi - lo).tolist() == [True, False]


def _tuple(value: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (value,) if isinstance(value, torch.Tensor) else tuple(value)
