"""A chain without a backward pass, whose normalisations take running statistics: the bits of the way with a graph."""

from __future__ import annotations

from torch import Tensor, nn

from fqt_core import ops
from fqt_core.fused.block import Chain
from fqt_core.fused.forward import multiply
from fqt_core.fused.normalization import running_constants


def is_evaluating(chain: Chain) -> bool:
    """Whether no normalisation takes the batch's statistics."""
    return not any(norm.training for norm in (chain.entry, *(block.norm for block in chain.blocks)) if norm is not None)


def infer(chain: Chain, x: Tensor) -> Tensor:
    """float32 (N, H, W, C), contiguous, to float32 (H', W', N, D)."""
    blocks = chain.blocks
    scales = [block.scale() for block in blocks]
    norms: list[tuple[nn.BatchNorm2d, Tensor | None, Tensor | None]] = [
        (block.norm, alpha, block.conv.bias)  # type: ignore[misc]  # what obstacle() checks
        for block, alpha in zip(blocks, scales, strict=True)
    ]
    if chain.entry is not None:
        norms.insert(0, (chain.entry, None, None))
    constants = running_constants(norms)
    if chain.entry is not None:
        a, b = constants.pop(0)
    else:
        a, b = x.new_ones(x.shape[3]), x.new_zeros(x.shape[3])
    kept = [*(block.shortcut is not None for block in blocks), True]
    signs, _, floats = ops.hwnc_enter(x, a, b, kept[0])
    for block, alpha, (a, b), keep in zip(blocks, scales, constants, kept[1:], strict=True):
        y = multiply(block, signs, block.weight_words(), alpha)[0]
        around = None
        if block.shortcut is not None:
            around = floats if block.shortcut.run is None else block.shortcut.run(floats)
        signs, _, floats = ops.hwnc_affine_sign(y, a, b, around, keep)
    return floats
