from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.utils import _pytree as pytree

from fqt_core import ops
from fqt_core.errors import ConfigurationError
from fqt_core.ops import native

G = torch.randn(4, 6, 5, 5, generator=torch.Generator().manual_seed(0))
X = ops.pack_sign(torch.randn(4, 70, 5, 5, generator=torch.Generator().manual_seed(1)))
W = ops.pack_sign(torch.randn(6, 70, 3, 3, generator=torch.Generator().manual_seed(2)))
RANGE = ops.group_range(G, 1)
WINDOW = ([1, 1], [1, 1], [1, 1], 1)
KEY = (3, 1, 2, 0)

SAMPLES: dict[str, list[tuple[Any, ...]]] = {
    "pack_sign": [(G,), (G[:, :, 0, 0],)],
    "pack_sign_window": [(G,)],
    "unpack_sign": [(X, 70)],
    "apply_window": [(G, ops.pack_sign(G))],
    "binary_conv2d": [(X, W, 70, *WINDOW), (X, W, 70, [2, 1], [0, 2], [1, 2], 1)],
    "binary_linear": [(X[:, 0, 0], W[:, 0, 0], 70)],
    "group_range": [(G, 0), (G, 1)],
    "group_moments": [(G, 1, *RANGE)],
    "select_groups": [
        (*RANGE, 2, pruning, *KEY) for pruning in ("none", "topk", "bernoulli", "bernoulli_dense", "systematic")
    ],
    "kept_ranges": [(*RANGE, torch.tensor([1, 3]), torch.ones(2), 4)],
    "quantize_groups": [
        (G, 0, torch.tensor([1, 3]), torch.zeros(2), torch.ones(2), 4, *KEY),
        (G, 1, torch.tensor([1, 3, 5]), torch.zeros(3), torch.ones(3), 2, *KEY),
    ],
    "conv2d_input_gradient": [(torch.ones(2, 5, 5, 6, dtype=torch.uint8), W, 70, [5, 5], *WINDOW)],
    "conv2d_weight_gradient": [
        (X, torch.ones(2, 4, 5, 5, dtype=torch.uint8), torch.tensor([0, 4]), 70, 6, [3, 3], *WINDOW)
    ],
}

# Fused chains: 3x4 pixels, two samples, seventy input and six output channels.
XH = (
    ops.pack_sign(torch.randn(2, 70, 3, 4, generator=torch.Generator().manual_seed(3))).permute(1, 2, 0, 3).contiguous()
)
Y = torch.randint(-9, 9, (3, 4, 2, 6), generator=torch.Generator().manual_seed(4), dtype=torch.int16)
GH = torch.randn(3, 4, 1, 6, generator=torch.Generator().manual_seed(5))
ONE, SIX = torch.tensor([1]), torch.linspace(-1, 1, 6)
NORM = (GH, Y, ONE, SIX, SIX, SIX)
BOUND = torch.full((6,), 30.0)
PURPOSES = [1, 0, 3, 2]
CHOICE = torch.ones_like(Y, dtype=torch.uint8)
SHAPE = ([1, 1], [1, 1], [1, 1])
RUNNING = torch.zeros(6), torch.ones(6), torch.tensor(2)
SAMPLES |= {
    "hwnc_binary_conv2d": [(XH, W, 70, *SHAPE), (XH, W, 70, [2, 1], [0, 2], [1, 1])],
    "hwnc_max_pool2d": [(Y, torch.zeros(6, dtype=torch.uint8))],
    "hwnc_affine_sign": [(Y, SIX, SIX, None, False), (Y, SIX, SIX, Y.float(), True)],
    "hwnc_block_forward": [
        (XH, W, 70, *SHAPE, True, *RUNNING, SIX, SIX, SIX, None, 0.1, 1e-5, None, True),
        (XH, W, 70, *SHAPE, False, *RUNNING, SIX, SIX, None, SIX, None, 1e-5, Y.float(), True),
    ],
    "hwnc_chain_forward": [
        (
            XH,
            [W, W[:, :, :, :1].contiguous()],
            [70, 6],
            [number for pair in SHAPE * 2 for number in pair],
            [False, True],
            *([value, value] for value in RUNNING[:2]),
            [SIX, SIX],
            [SIX, SIX],
            [SIX, None],
            [None, SIX],
            [0.1, 0.2],
            [1e-5, 1e-5],
            True,
        )
    ],
    "hwnc_chain_gradient": [
        (
            GH,
            ONE,
            [Y, Y],
            [None, None],
            [SIX, SIX],
            [torch.ones(4, 6).double()] * 2,
            [SIX, SIX],
            [W[:, :, :, :1].contiguous(), W],
            [XH[..., :1].contiguous(), XH],
            [6, 70],
            [number for pair in SHAPE * 2 for number in pair],
            [1, 2, 1, 2],
            [4, 4, 8, 2],
            "systematic",
            3,
            1,
            [1, 0],
            PURPOSES,
        )
    ],
    "hwnc_normalization": [
        (
            torch.zeros(6),
            torch.ones(6),
            SIX,
            SIX,
            None,
            SIX,
            None,
            torch.ones(6).long(),
            torch.ones(6).double(),
            9,
            0.1,
            1e-5,
        ),
        (torch.zeros(6), torch.ones(6), SIX, SIX, SIX, None, None, None, None, 0, 0.0, 1e-5),
    ],
    "hwnc_normalization_gradient": [(SIX.double(), SIX.double(), torch.ones(4, 6).double(), 9, True)],
    "hwnc_gradient_sums": [(GH, Y, ONE, SIX)],
    "hwnc_gradient_range": [(*NORM, SIX, False), (*NORM, SIX, True)],
    "hwnc_gradient_codes": [
        (
            GH,
            Y,
            ONE,
            SIX,
            torch.ones(4, 6).double(),
            True,
            SIX,
            None,
            [3, 4],
            [1, 2],
            [4, 4],
            "systematic",
            3,
            1,
            2,
            PURPOSES,
        ),
        (
            GH,
            Y,
            ONE,
            SIX,
            torch.ones(4, 6).double(),
            False,
            SIX,
            CHOICE,
            [7, 8],
            [2, 6],
            [8, 2],
            "none",
            3,
            1,
            2,
            PURPOSES,
        ),
    ],
    "hwnc_gradient_moments": [(*NORM, SIX.abs(), 5, -BOUND[:2], BOUND[:2], -BOUND, BOUND)],
    "hwnc_quantize_samples": [
        (*NORM, SIX, None, [3, 4], ONE, torch.zeros(1), torch.ones(1), 4, *KEY),
        (*NORM, SIX, CHOICE, [7, 8], ONE, torch.zeros(1), torch.ones(1), 4, *KEY),
    ],
    "hwnc_quantize_channels": [(*NORM, None, [3, 4], ONE, torch.zeros(1), torch.ones(1), 2, *KEY)],
    "hwnc_input_gradient": [
        (torch.ones(3, 4, 1, 6, dtype=torch.uint8), W, 70, [3, 4], *SHAPE, torch.ones(1), torch.ones(1), XH, ONE)
    ],
    "hwnc_weight_gradient": [
        (XH, torch.ones(3, 4, 2, 4, dtype=torch.uint8), 70, [3, 3], *SHAPE, torch.ones(2), torch.ones(2))
    ],
    "hwnc_entry_moments": [(GH,)],
    "hwnc_enter": [
        (GH, SIX, SIX, torch.zeros(4, 1, 4, 1).long(), torch.zeros(4, 1, 4, 1).long(), None, 0),
        (GH, SIX, SIX, torch.zeros(4, 1, 5, 1).long(), torch.zeros(4, 1, 5, 1).long(), torch.zeros(4, 1, 5, 6), 2),
    ],
    "hwnc_entry_sums": [(GH, torch.tensor([2]), torch.randn(4, 3, 4, 6), SIX)],
    "hwnc_leave": [(GH, torch.tensor([2]), torch.randn(4, 3, 4, 6), SIX, SIX, SIX)],
    "hwnc_add_rows": [(torch.randn(3, 4, 2, 6), GH, ONE)],
}

ROWS = torch.tensor([1, 3, 30])
CODES = torch.tensor([[0, 1, 2, 3, 1, 2]] * 3, dtype=torch.uint8)
THREE, SIGN = torch.ones(3), torch.tensor([1.0, -1, 1, 1, -1, -1])
SAMPLES |= {
    "uniform_numbers": [(ROWS, 5, *KEY)],
    "pixel_square_sums": [(G,)],
    "pixel_gather": [(G, ROWS, THREE, True), (G, ROWS, THREE, False)],
    "quantize_dithered": [
        (torch.randn(3, 6), -THREE, THREE, SIGN, torch.zeros(6, dtype=torch.uint8), THREE[:, None] / 4, 2)
    ],
    "pixel_input_gradient": [
        (CODES, 2, ROWS, THREE, THREE, THREE, SIGN, W, 4, 70, [5, 5], *WINDOW),
        (CODES, 2, ROWS, None, None, None, None, W, 4, 70, [5, 5], *WINDOW),
    ],
    "pixel_weight_gradient": [(X, CODES[:, :3], 2, ROWS, torch.tensor([0, 4, 5]), 70, 6, [3, 3], *WINDOW)],
}

LATENTS = torch.randn(4, 9, 70, generator=torch.Generator().manual_seed(6))
MOMENTS = (torch.zeros_like(LATENTS), torch.zeros_like(LATENTS))
ADAM = (0.01, 0.9, 0.999, 1e-8, 1e-4, 3)
KERNELS_OF_TWO = [LATENTS.clone(), LATENTS[:, :4].clone()], [LATENTS * 0, LATENTS[:, :4] * 0]
MADE = (XH, torch.ones(3, 4, 2, 4, dtype=torch.uint8), torch.ones(2), torch.ones(2))
SAMPLES |= {
    "mean_magnitude": [(LATENTS,)],
    "adam_binary_": [
        (LATENTS.clone(), *MOMENTS, LATENTS, torch.arange(4), *ADAM, True),
        (LATENTS.clone(), *MOMENTS, LATENTS[1:3], torch.tensor([0, 3]), *ADAM, False),
    ],
    "adam_binary_all_": [
        (
            *KERNELS_OF_TWO,
            [LATENTS * 0, LATENTS[:, :4] * 0],
            [MADE[0], LATENTS[1:3, :4].clone()],
            [torch.tensor([0, 3]), torch.tensor([1, 2])],
            *([tensor] for tensor in (*MADE[1:], torch.rand(len(LATENTS)))),
            [3, 3, *(number for pair in SHAPE for number in pair)],
            *ADAM[:5],
            [3, 1],
            True,
        )
    ],
}

BYTES = torch.randint(-128, 128, (2, 5, 5, 7), dtype=torch.int8, generator=torch.Generator().manual_seed(7))
SAMPLES |= {
    "int8_conv2d": [(BYTES, BYTES[:, :3, :3], 0, *WINDOW[:3]), (BYTES, BYTES[:, :2, :3], -128, [2, 1], [0, 2], [1, 2])],
    "int8_input_gradient": [(BYTES, torch.ones(7, 3, 3, 4, dtype=torch.int8), [5, 5], *WINDOW[:3])],
    "int8_weight_gradient": [(BYTES, torch.ones(6, 2, 5, 5, dtype=torch.int8), [3, 3], *WINDOW[:3])],
}

IMAGES = torch.randn(3, 2, 5, 6, generator=torch.Generator().manual_seed(8))
STEM = (IMAGES, torch.ones(2))
STEM_WEIGHT = torch.randn(6, 2, 3, 2, generator=torch.Generator().manual_seed(9))
STEM_WINDOW = ([3, 2], [1, 2], [1, 0], [1, 1])
SAMPLES |= {
    "stem_moments": [(*STEM, *STEM_WINDOW), (*STEM, [1, 1], [1, 1], [0, 0], [1, 1])],
    "stem_enter": [
        (IMAGES, STEM_WEIGHT, SIX, SIX, SIX, *torch.zeros(2, 5, 3, 3, 1).long(), h, *STEM_WINDOW[1:])
        for h in (None, torch.zeros(5, 3, 3, 6))
    ],
    "stem_products": [(*STEM, torch.randn(5, 3, 2, 6), torch.tensor([0, 2]), *STEM_WINDOW)],
    "stem_normalization": [
        (STEM_WEIGHT, bias, torch.ones(2), torch.eye(13).double(), 9, *RUNNING, SIX, SIX, momentum, 1e-5)
        for bias, momentum in ((SIX, 0.1), (None, None))
    ],
    "stem_gradient": [
        (
            *torch.randn(3, 6, 13).double(),
            torch.eye(13).double(),
            SIX,
            torch.ones(4, 6).double(),
            torch.ones(2),
            *others,
        )
        for others in (([3, 2], 9, True), ([2, 3], 9, False))
    ],
}


def test_every_operation_has_samples() -> None:
    assert set(SAMPLES) == set(ops.OPERATIONS)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_opcheck(name: str) -> None:
    for sample in SAMPLES[name]:
        torch.library.opcheck(getattr(torch.ops.fqt, name).default, sample)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_results_of_a_gpu_are_known_without_one(name: str) -> None:
    """Fake tensors go to the fake kernel, whose results have the reference's shapes and dtypes, on the GPU."""
    operation = getattr(torch.ops.fqt, name).default
    for sample in SAMPLES[name]:
        if "bernoulli" in sample:
            continue  # a number of groups that only the values decide
        expected = operation(*pytree.tree_map_only(Tensor, Tensor.clone, sample))
        with FakeTensorMode():
            found = operation(
                *pytree.tree_map_only(Tensor, lambda v: torch.empty(v.shape, dtype=v.dtype, device="cuda"), sample)
            )
        pairs = zip(pytree.tree_leaves(found), pytree.tree_leaves(expected), strict=True)
        assert all(f is e is None or (f.device.type, f.shape, f.dtype) == ("cuda", e.shape, e.dtype) for f, e in pairs)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_the_cpu_runs_the_kernel_that_the_table_names(name: str) -> None:
    operation = ops.OPERATIONS[name]
    upto = native.INSTRUCTION_SETS[: native.INSTRUCTION_SETS.index(ops.isa()) + 1] if ops.isa() != "reference" else ()
    best = [isa for isa in upto if (name, isa) in native.KERNELS]
    assert operation.isa == (best[-1] if best else "reference")


def test_the_gpu_runs_cuda_kernels_where_there_are_any() -> None:
    """Registered, if the extension was built with them, whether or not there is a GPU."""
    registered = {n for n in SAMPLES if torch._C._dispatch_has_kernel_for_dispatch_key(f"fqt::{n}", "CUDA")}
    assert registered == native.CUDA_KERNELS


def test_auto_takes_the_best_that_there_is() -> None:
    assert native.choose_isa("auto", frozenset({"portable"})) == "portable"
    assert native.choose_isa("reference", frozenset({"portable"})) == "reference"


def test_auto_without_an_extension_warns() -> None:
    with pytest.warns(ops.NativeKernelWarning, match=r"\(no such file\), so the slower reference kernels serve"):
        assert native.choose_isa("auto", frozenset(), "no such file") == "reference"


@pytest.mark.parametrize("value", ["avx9", "", "PORTABLE"])
def test_an_unknown_name_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"FQT_ISA=.* is unknown; use one of auto, reference, portable"):
        native.choose_isa(value, frozenset({"portable"}))


def test_an_instruction_set_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not available here; available: reference"):
        native.choose_isa("portable", frozenset())


def _run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=False
    )


def test_the_environment_variable_is_obeyed() -> None:
    code = "from fqt_core import ops; print(ops.isa(), {row.isa for row in ops.OPERATIONS.values()})"
    result = _run(code, FQT_ISA="reference")
    assert result.stdout.split() == ["reference", "{'reference'}"], result.stderr


def test_without_the_extension_the_reference_serves_and_says_so_once() -> None:
    code = (
        "import sys; sys.modules['fqt_core._native'] = None\n"
        "import warnings\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    from fqt_core import ops\n"
        "    import fqt_core.layers, torch\n"
        "    ops.pack_sign(torch.ones(1, 2))\n"
        "print(ops.isa(), sum(w.category is ops.NativeKernelWarning for w in caught))"
    )
    result = _run(code, FQT_ISA="auto")
    assert result.stdout.split() == ["reference", "1"], result.stderr
