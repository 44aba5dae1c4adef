"""Several blocks of a chain as one operation each way.

They are put together from operations that can be called by themselves, and give what these give. Where images are
small, a call from Python and what lies between two of them take about as long as a kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from fqt_core.ops.geometry import check, check_count, output_sizes, pairs_of
from fqt_core.ops.registry import OPERATIONS, operation

_PAIRS = 3
"""Of a block's geometry: stride, padding, dilation."""
FORWARD_RESULTS = 10
"""Tensors that :func:`hwnc_chain_forward` returns of each block."""
GRADIENT_RESULTS = 7
"""Tensors that :func:`hwnc_chain_gradient` returns of each block."""


def _check_entries(name: str, expected: int, **lists: tuple[Sequence[Any], int]) -> None:
    """``lists``: each with how many of its entries stand for a block; ``name``: of the one that has ``expected``."""
    check(expected > 0, f"{name} has no entries")
    for other, (values, each) in lists.items():
        check_count(other, values, each * expected)


def _forward(
    block: Callable[..., tuple[Tensor, ...]],
    x: Tensor,
    weight: Sequence[Tensor],
    channels: Sequence[int],
    geometry: Sequence[int],
    pool: Sequence[bool],
    running_mean: Sequence[Tensor],
    running_var: Sequence[Tensor],
    gamma: Sequence[Tensor],
    beta: Sequence[Tensor],
    alpha: Sequence[Tensor | None],
    shift: Sequence[Tensor | None],
    momentum: Sequence[float],
    eps: Sequence[float],
    keep: bool,
) -> tuple[Tensor, list[Tensor]]:
    """``block``: :func:`hwnc_block_forward`'s reference, or its fake kernel."""
    vectors = {"running_mean": running_mean, "running_var": running_var, "gamma": gamma, "beta": beta}
    others = {"alpha": alpha, "shift": shift, "momentum": momentum, "eps": eps}
    single = {name: (values, 1) for name, values in {"channels": channels, "pool": pool, **vectors, **others}.items()}
    _check_entries("weight", len(weight), geometry=(geometry, 2 * _PAIRS), **single)
    found: list[Tensor] = []
    output = x
    norms = zip(*vectors.values(), *others.values(), strict=True)
    for number, (words, (mean, var, *norm)) in enumerate(zip(weight, norms, strict=True)):
        window, end = pairs_of(geometry, number, _PAIRS), keep and number + 1 == len(weight)
        running = mean.clone(), var.clone()
        batches = torch.zeros((), dtype=torch.int64, device=x.device)
        arguments = channels[number], *window, pool[number], *running, batches, *norm, None, end
        signs, of_signs, output, *rest = block(x, words, *arguments)
        found += [signs, of_signs, *rest, *running]
        x = signs
    return output, found


def _forward_fake(*arguments: Any) -> tuple[Tensor, list[Tensor]]:
    return _forward(OPERATIONS["hwnc_block_forward"].fake, *arguments)


@operation(
    "hwnc_chain_forward(Tensor x, Tensor[] weight, int[] channels, int[] geometry, bool[] pool,"
    " Tensor[] running_mean, Tensor[] running_var, Tensor[] gamma, Tensor[] beta, Tensor?[] alpha, Tensor?[] shift,"
    " float[] momentum, float[] eps, bool keep) -> (Tensor, Tensor[])",
    fake=_forward_fake,
)
def hwnc_chain_forward(
    x: Tensor,
    weight: Sequence[Tensor],
    channels: Sequence[int],
    geometry: Sequence[int],
    pool: Sequence[bool],
    running_mean: Sequence[Tensor],
    running_var: Sequence[Tensor],
    gamma: Sequence[Tensor],
    beta: Sequence[Tensor],
    alpha: Sequence[Tensor | None],
    shift: Sequence[Tensor | None],
    momentum: Sequence[float],
    eps: Sequence[float],
    keep: bool,
) -> tuple[Tensor, list[Tensor]]:
    """:func:`hwnc_block_forward` of several blocks, each of which takes the sign words of the one before.

    Args:
        x: of the first block.
        weight, channels, pool, running_mean, running_var, gamma, beta, alpha, shift, eps: of each block. Running
            statistics stay as they are.
        geometry: six numbers for each block: stride, padding and dilation, of two each.
        momentum: of each block, not ``None``.
        keep: of the last block; h of the others is not wanted.

    Returns:
        h of the last block, (0,) unless ``keep``; and of each block ten tensors: sign words, window words, y, choice,
        a, b, center, constants, and the running mean and variance that have taken up the batch.
    """
    return _forward(
        OPERATIONS["hwnc_block_forward"].reference,
        x,
        weight,
        channels,
        geometry,
        pool,
        running_mean,
        running_var,
        gamma,
        beta,
        alpha,
        shift,
        momentum,
        eps,
        keep,
    )


def _gradient(
    part: Callable[[str], Callable[..., Any]],
    g: Tensor,
    index: Tensor,
    y: Sequence[Tensor],
    choice: Sequence[Tensor | None],
    center: Sequence[Tensor],
    constants: Sequence[Tensor],
    alpha: Sequence[Tensor],
    weight: Sequence[Tensor],
    window: Sequence[Tensor],
    channels: Sequence[int],
    geometry: Sequence[int],
    kept: Sequence[int],
    bits: Sequence[int],
    pruning: str,
    seed: int,
    step: int,
    layer: Sequence[int],
    purposes: Sequence[int],
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """``part``: an operation's reference, or its fake kernel, by its name."""
    vectors = {"choice": choice, "center": center, "constants": constants, "alpha": alpha}
    single = {**vectors, "weight": weight, "window": window, "channels": channels, "layer": layer}
    pairs = {"geometry": (geometry, 2 * _PAIRS), "kept": (kept, 2), "bits": (bits, 2)}
    _check_entries("y", len(y), **{name: (values, 1) for name, values in single.items()}, **pairs)
    found: list[Tensor] = []
    for i in range(len(y)):
        stride, padding, dilation = pairs_of(geometry, i, _PAIRS)
        size = window[i].shape[:2]
        outputs = output_sizes(size, weight[i].shape[1:3], stride, padding, dilation)
        own = center[i], constants[i], True, alpha[i], choice[i], list(outputs), kept[2 * i : 2 * i + 2]
        key = bits[2 * i : 2 * i + 2], pruning, seed, step, layer[i], purposes
        *parameters, _, codes, samples, _, scale, offset, codes_d, index_d, _, scale_d, offset_d = part(
            "hwnc_gradient_codes"
        )(g, y[i], index, *own, *key)
        if codes.dim() == 1:
            break
        affine = scale, offset, window[i], samples
        g = part("hwnc_input_gradient")(codes, weight[i], channels[i], size, stride, padding, dilation, *affine)
        index = samples
        found += [*parameters, codes_d, index_d, scale_d, offset_d]
    return (g, index, found) if found else (g.clone(), index.clone(), found)


def _gradient_fake(*arguments: Any) -> tuple[Tensor, Tensor, list[Tensor]]:
    return _gradient(lambda name: OPERATIONS[name].fake, *arguments)


@operation(
    "hwnc_chain_gradient(Tensor g, Tensor index, Tensor[] y, Tensor?[] choice, Tensor[] center, Tensor[] constants,"
    " Tensor[] alpha, Tensor[] weight, Tensor[] window, int[] channels, int[] geometry, int[] kept, int[] bits,"
    " str pruning, int seed, int step, int[] layer, int[4] purposes) -> (Tensor, Tensor, Tensor[])",
    fake=_gradient_fake,
)
def hwnc_chain_gradient(
    g: Tensor,
    index: Tensor,
    y: Sequence[Tensor],
    choice: Sequence[Tensor | None],
    center: Sequence[Tensor],
    constants: Sequence[Tensor],
    alpha: Sequence[Tensor],
    weight: Sequence[Tensor],
    window: Sequence[Tensor],
    channels: Sequence[int],
    geometry: Sequence[int],
    kept: Sequence[int],
    bits: Sequence[int],
    pruning: str,
    seed: int,
    step: int,
    layer: Sequence[int],
    purposes: Sequence[int],
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """:func:`hwnc_gradient_codes` and :func:`hwnc_input_gradient` of several blocks, the last of them first.

    It ends before a block whose gradient is not finite, or is zero.

    Args:
        g, index: the gradient of some samples of the first block's output.
        y, choice, center, constants, alpha, layer: of each block, as of :func:`hwnc_gradient_codes`; the statistics
            are the batch's.
        weight, window, channels: of each block, as of :func:`hwnc_input_gradient`.
        geometry: six numbers for each block: stride, padding and dilation, of two each.
        kept, bits: two numbers for each block.
        pruning, seed, step, purposes: as of :func:`hwnc_gradient_codes`.

    Returns:
        The gradient that it ended with: float32 (H, W, k, C) of the samples int64 (k,). And of each block that it did
        seven tensors: the gradients of γ, β and the convolution's bias, and of channels the codes, numbers, scales and
        offsets.
    """
    return _gradient(
        lambda name: OPERATIONS[name].reference,
        g,
        index,
        y,
        choice,
        center,
        constants,
        alpha,
        weight,
        window,
        channels,
        geometry,
        kept,
        bits,
        pruning,
        seed,
        step,
        layer,
        purposes,
    )


def entries(found: Sequence[Tensor], each: int) -> Iterator[Sequence[Tensor]]:
    """What belongs to one block after the other."""
    return (found[first : first + each] for first in range(0, len(found), each))
