"""The CUDA kernels, run by the emulator (csrc/cuda/emulator), against the reference, integer for integer.

It ends a launch with an error at the first access beyond an array, at the first race, and where threads wait in vain.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings

from fqt_core import ops
from fqt_core.ops import native
from fqt_core.verification.cases import GROUPED, SHAPES
from fqt_core.verification.comparison import results, same_bits
from fqt_core.verification.equality import verify
from tests.csrc.cuda.emulated import KERNELS, PATHS, kernel, load
from tests.fqt_core.all_cases import arguments_of
from tests.fqt_core.cases import Conv
from tests.fqt_core.ops.test_registry import SAMPLES

pytestmark = pytest.mark.elsewhere

EXAMPLES = 15


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    load()


def check(operation: str, path: str, arguments: tuple[Any, ...]) -> None:
    found = results(kernel(operation, path), arguments)
    for one, other in zip(found, results(ops.OPERATIONS[operation].reference, arguments), strict=True):
        assert same_bits(one, other)


def test_every_operation_has_a_kernel() -> None:
    assert {operation for operation, _ in KERNELS} == set(ops.OPERATIONS) - native.CPU_ONLY


@pytest.mark.parametrize(("operation", "path"), KERNELS)
def test_equals_the_reference_bit_for_bit(operation: str, path: str) -> None:
    @given(arguments_of(operation))
    @settings(max_examples=EXAMPLES)
    def on_drawn_shapes(arguments: tuple[Any, ...]) -> None:
        check(operation, path, arguments)

    on_drawn_shapes()


@pytest.mark.parametrize("path", PATHS)
def test_what_a_gpu_is_verified_with_finds_nothing(path: str) -> None:
    """The suite of `fqt doctor --gpu`, on the sources of the kernels that it is for."""
    paths = {operation: given for operation, given in KERNELS if given == path or (given, path) == ("any", PATHS[0])}
    shapes = (*SHAPES[2:4], SHAPES[5], GROUPED[1])  # the others have their like below
    found = verify(
        torch.device("cpu"), paths, call=lambda operation: kernel(operation, paths[operation]), shapes=shapes
    )
    assert [verdict for verdict in found if not verdict.equal] == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("operation", "path"), [row for row in KERNELS if row[1] in {"any", PATHS[0]}])
def test_opcheck(operation: str, path: str) -> None:
    """Schemas and fake kernels of the operations, against what the kernels' rim does."""
    torch.library.register_fake(f"fqt_cuda_emulated::{operation}.{path}", ops.OPERATIONS[operation].fake)
    for sample in SAMPLES[operation]:
        torch.library.opcheck(kernel(operation, path), sample, test_utils=("test_schema", "test_faketensor"))


# Several blocks of rows and of columns, several steps; then as many positions that blocks share out the steps of dL/dW.
LARGE = Conv(6, 70, 70, (6, 7), (3, 3), (1, 1), (1, 1), (1, 1), 1, 0)
LONG = Conv(3, 3, 130, (64, 64), (1, 1), (1, 1), (0, 0), (1, 1), 1, 1)


def codes(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(2), dtype=torch.uint8)


@pytest.mark.parametrize("path", PATHS)
def test_large_products_equal_the_reference(path: str) -> None:
    x, weight = ops.pack_sign(LARGE.x()), ops.pack_sign(LARGE.weight())
    samples, outputs, height, width = LARGE.output
    check("binary_conv2d", path, (x, weight, LARGE.channels, *LARGE.window))
    gradient = codes(samples, height, width, outputs)
    check("conv2d_input_gradient", path, (gradient, weight, LARGE.channels, [*LARGE.size], *LARGE.window))
    for case in (LARGE, LONG):
        samples, outputs, height, width = case.output
        signs, index = ops.pack_sign(case.x()), torch.arange(outputs)
        arguments = (signs, codes(outputs, samples, height, width), index, case.channels, outputs, [*case.kernel])
        check("conv2d_weight_gradient", path, (*arguments, *case.window))


@pytest.mark.parametrize("path", PATHS)
def test_many_pixel_rows_equal_the_reference(path: str) -> None:
    """Several pieces of rows, some of which add to the same inputs; several tiles of rows and of channels."""
    generator = torch.Generator().manual_seed(8)
    case = Conv(4, 18, 35, (9, 9), (3, 3), (1, 1), (1, 1), (1, 1), 1, 0)
    samples, outputs, height, width = case.output
    count = samples * height * width
    kept = torch.randperm(count, generator=generator)[:290].sort().values
    vectors = [torch.randn(len(kept), generator=generator) for _ in range(3)]
    sign = torch.randn(outputs, generator=generator).sign()
    gradient = torch.randint(0, 256, (len(kept), outputs), generator=generator, dtype=torch.uint8)
    weight = ops.pack_sign(case.weight())
    geometry = (case.channels, [*case.size], *case.window)
    check("pixel_input_gradient", path, (gradient, 2, kept, *vectors, sign, weight, samples, *geometry))
    rows, every = gradient.T.contiguous(), torch.arange(outputs)
    arguments = (ops.pack_sign(case.x()), rows, 4, kept, every, case.channels, outputs, [*case.kernel])
    check("pixel_weight_gradient", path, (*arguments, *case.window))
    g = torch.randn(case.output, generator=generator)
    check("pixel_square_sums", "any", (g,))
    for by_row in (True, False):
        check("pixel_gather", "any", (g, kept, vectors[0], by_row))


def test_large_products_of_bytes_equal_the_reference() -> None:
    """Several blocks of rows and of columns; then more positions than 32 bits hold the sum of, of the largest bytes."""
    generator = torch.Generator().manual_seed(5)

    def any_bytes(*shape: int) -> torch.Tensor:
        return torch.randint(-128, 128, shape, generator=generator, dtype=torch.int8)

    samples, outputs, height, width = LARGE.output
    kernel_height, kernel_width = LARGE.kernel
    x = any_bytes(samples, *LARGE.size, LARGE.channels)
    weight = any_bytes(outputs, kernel_height, kernel_width, LARGE.channels)
    window = LARGE.window[:3]
    check("int8_conv2d", "any", (x, weight, -7, *window))
    gradient = any_bytes(samples, height, width, outputs)
    check("int8_input_gradient", "any", (gradient, weight, [*LARGE.size], *window))
    check("int8_weight_gradient", "any", (x, gradient.permute(3, 0, 1, 2), [*LARGE.kernel], *window))
    least = torch.full((1, 331, 400, 1), -128, dtype=torch.int8)
    check("int8_weight_gradient", "any", (least, least.view(1, 1, 331, 400), [1, 1], [1, 1], [0, 0], [1, 1]))


@pytest.mark.parametrize("path", PATHS)
def test_bytes_need_not_begin_where_words_do(path: str) -> None:
    """Codes are read four at a time; the emulator refuses what is not aligned as a GPU does."""
    x = torch.arange(4 * 4 * 3, dtype=torch.int64).view(4, 4, 3, 1)
    given = codes(1 + 4 * 4 * 2 * 4)
    arguments = [6, [3, 3], [1, 1], [1, 1], [1, 1], torch.ones(2), torch.zeros(2)]
    expected = ops.OPERATIONS["hwnc_weight_gradient"].reference
    shifted, own = given[1:].view(4, 4, 2, 4), given[1:].clone().view(4, 4, 2, 4)
    for each in (shifted, own):
        each[..., 3] = 0  # a multiple of four samples
    assert shifted.data_ptr() % 4 != own.data_ptr() % 4
    for each in (shifted, own):
        assert same_bits(kernel("hwnc_weight_gradient", path)(x, each, *arguments), expected(x, each, *arguments))


def test_large_chains_equal_the_reference() -> None:
    """Slabs of pixels and of rows, more samples and channels than a block takes, several sums of 64 rows."""
    generator = torch.Generator().manual_seed(6)
    samples, channels, kept = 37, 70, 21
    y = torch.randint(-40, 41, (9, 9, samples, channels), generator=generator, dtype=torch.int16)
    index = torch.randperm(samples, generator=generator)[:kept].sort().values
    g = torch.randn(9, 9, kept, channels, generator=generator)
    c, a0, a1, alpha = (torch.randn(channels, generator=generator) for _ in range(4))
    source = (g, y, index, c, a0, a1)
    check("hwnc_max_pool2d", "any", (y, torch.arange(channels, dtype=torch.uint8) % 2))
    check("hwnc_gradient_sums", "any", (g, y, index, a0))
    check("hwnc_gradient_range", "any", (*source, alpha, True))
    ranges = ops.hwnc_gradient_range(*source, alpha, False)[:4]
    check("hwnc_gradient_moments", "any", (*source, alpha, 5, *ranges))
    kept_channels = torch.arange(1, channels, 2)
    of_kept = (kept_channels, *(bound[kept_channels] for bound in ranges[2:]))
    check("hwnc_quantize_channels", "any", (*source, None, [9, 9], *of_kept, 4, 5, 6, 7, 8))


def test_many_groups_and_elements_equal_the_reference() -> None:
    """More groups than a block has threads, more elements than it takes at once."""
    generator = torch.Generator().manual_seed(3)
    g = torch.randn(300, 2, 5, 11, generator=generator).round(decimals=1)
    ranges = ops.group_range(g, 0)
    check("group_range", "any", (g, 1))
    check("group_moments", "any", (g, 1, *ops.group_range(g, 1)))
    for pruning in ("topk", "bernoulli", "bernoulli_dense", "systematic"):
        for kept in (1, 75, 299):
            check("select_groups", "any", (*ranges, kept, pruning, 7, 1, 2, 3))
    check("quantize_groups", "any", (g, 0, torch.arange(0, 300, 30), *(v[::30] for v in ranges), 4, 5, 6, 7, 8))
    check("quantize_groups", "any", (g, 1, torch.tensor([1]), -torch.ones(1), torch.ones(1), 2, 5, 6, 7, 8))
