"""Bit-equal on every instruction set: each row of the kernel table against the reference, integer for integer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fqt_core import ops
from fqt_core.ops import native
from fqt_core.ops.threads import torch_threads
from fqt_core.verification.comparison import results, same_bits
from tests.fqt_core.adam_cases import ADAM_ARGUMENTS
from tests.fqt_core.all_cases import arguments_of
from tests.fqt_core.cases import ARGUMENTS
from tests.fqt_core.hwnc_cases import HWNC_ARGUMENTS, LARGE, PRODUCTS
from tests.fqt_core.int8_cases import INT8_ARGUMENTS, large_byte_products
from tests.fqt_core.pixel_cases import PIXEL_ARGUMENTS, large_products
from tests.fqt_core.stem_cases import STEM_ARGUMENTS, large_stems

ROWS = sorted(native.KERNELS)


def isas_of(operation: str) -> list[str]:
    return [isa for name, isa in ROWS if name == operation]


def test_the_extension_was_built() -> None:
    assert ROWS, "fqt_core._native is missing: install the project to build it"


def test_every_operation_has_cases_here() -> None:
    tables = ARGUMENTS, HWNC_ARGUMENTS, ADAM_ARGUMENTS, PIXEL_ARGUMENTS, INT8_ARGUMENTS, STEM_ARGUMENTS
    assert set(ops.OPERATIONS) == {operation for table in tables for operation in table}
    assert {operation for operation, _ in ROWS} | native.CUDA_KERNELS <= set(ops.OPERATIONS)


@pytest.mark.parametrize(("operation", "isa"), [*ROWS, *((name, "cuda") for name in sorted(native.CUDA_KERNELS))])
def test_schema_is_that_of_the_operation(operation: str, isa: str) -> None:
    schema = str(native.kernel(operation, isa)._schema)
    assert schema.replace(f"fqt_native::{operation}.{isa}", operation) == str(
        getattr(torch.ops.fqt, operation).default._schema
    ).replace(f"fqt::{operation}", operation)


@pytest.mark.parametrize(("operation", "isa"), ROWS)
def test_equals_the_reference_bit_for_bit(operation: str, isa: str) -> None:
    kernel, reference = native.kernel(operation, isa), ops.OPERATIONS[operation].reference

    @given(arguments_of(operation))
    @settings(max_examples=max(100, settings().max_examples))
    def check(arguments: tuple[Any, ...]) -> None:
        for one, other in zip(results(kernel, arguments), results(reference, arguments), strict=True):
            assert same_bits(one, other)

    check()


@pytest.mark.parametrize(("operation", "isa"), [row for row in ROWS if row[0] in PRODUCTS])
def test_large_products_equal_the_reference(operation: str, isa: str) -> None:
    kernel, reference = native.kernel(operation, isa), ops.OPERATIONS[operation].reference
    for arguments in (arguments for case in LARGE for arguments in PRODUCTS[operation](case)):
        for one, other in zip(results(kernel, arguments), results(reference, arguments), strict=True):
            assert same_bits(one, other)


@pytest.mark.parametrize(
    ("operation", "isa"), [row for row in ROWS if row[0] in {"pixel_input_gradient", "pixel_weight_gradient"}]
)
def test_large_products_of_pixel_rows_equal_the_reference(operation: str, isa: str) -> None:
    kernel, reference = native.kernel(operation, isa), ops.OPERATIONS[operation].reference
    for arguments in large_products(operation):
        for one, other in zip(results(kernel, arguments), results(reference, arguments), strict=True):
            assert same_bits(one, other)


@pytest.mark.parametrize(("operation", "isa"), [row for row in ROWS if row[0] in INT8_ARGUMENTS])
def test_large_products_of_bytes_equal_the_reference(operation: str, isa: str) -> None:
    kernel, reference = native.kernel(operation, isa), ops.OPERATIONS[operation].reference
    for arguments in large_byte_products(operation):
        for one, other in zip(results(kernel, arguments), results(reference, arguments), strict=True):
            assert same_bits(one, other)


@pytest.mark.parametrize("operation", STEM_ARGUMENTS)
def test_stems_of_many_sums_equal_the_reference(operation: str) -> None:
    for arguments in large_stems(operation):
        expected = results(ops.OPERATIONS[operation].reference, arguments)
        for isa in isas_of(operation):
            found = results(native.kernel(operation, isa), arguments)
            assert all(same_bits(one, other) for one, other in zip(found, expected, strict=True)), isa


@pytest.mark.parametrize("isa", sorted({isa for _, isa in ROWS}))
@given(data=st.data())
@settings(max_examples=5)
def test_result_does_not_depend_on_threads(isa: str, data: st.DataObject) -> None:
    for operation in sorted(name for name, row_isa in ROWS if row_isa == isa):
        arguments = data.draw(arguments_of(operation))
        kernel = native.kernel(operation, isa)
        found = []
        for threads in (1, 2, 3):
            with torch_threads(threads):
                found.append(results(kernel, arguments))
        for other in found[1:]:
            assert all(same_bits(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("isa", isas_of("pack_sign"))
def test_strided_arguments_are_made_contiguous(isa: str) -> None:
    x = torch.randn(3, 5, 7, 6).permute(0, 3, 1, 2)
    assert torch.equal(native.kernel("pack_sign", isa)(x), ops.OPERATIONS["pack_sign"].reference(x))


@pytest.mark.parametrize("isa", isas_of("group_range"))
def test_a_nan_or_infinity_shows_in_the_range(isa: str) -> None:
    for bad in (float("nan"), float("inf"), float("-inf")):
        for place in (0, 17, 39):
            g = torch.randn(2, 40)
            g[1, place] = bad
            lo, hi = native.kernel("group_range", isa)(g, 0)
            assert torch.isfinite(hi - lo).tolist() == [True, False]


@pytest.mark.parametrize("isa", isas_of("stem_gradient"))
def test_a_nan_or_infinity_anywhere_in_the_products_is_told(isa: str) -> None:
    of_inputs, moments = torch.ones(3, 5, 28, dtype=torch.float64), torch.ones(28, 28, dtype=torch.float64)
    others = moments, torch.ones(5), torch.ones(4, 5, dtype=torch.float64), torch.ones(3), [3, 3], 9, True
    kernel = native.kernel("stem_gradient", isa)
    assert kernel(*of_inputs, *others)[-1].item()
    for bad in (float("nan"), float("inf"), float("-inf")):
        for place in (0, 17, 27, 5 * 28 - 1):
            products = of_inputs[0].clone()
            products.view(-1)[place] = bad
            assert not kernel(products, *of_inputs[1:], *others)[-1].item()
