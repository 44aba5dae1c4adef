"""The forward quantiser: one bit.

Formula::

    sign(x) = +1 if x >= 0 else -1            (sign(0) = +1, so that one bit says it all)

Gradient: the straight-through estimator ``∂sign(x)/∂x ≈ 1[|x| < 1]`` for activations, and the identity for weights
    (whose latents are kept in [-1, 1] by clamping). Backward therefore needs two bits per activation, never the
    float.

Source: M. Courbariaux et al., "Binarized neural networks", arXiv 1602.02830.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fqt_core import ops
from fqt_core.errors import ConfigurationError


def pack_activations(x: Tensor, *, window: bool) -> tuple[Tensor, Tensor | None]:
    """Binarise activations (N, C, *).

    Args:
        x: float32, float16 or bfloat16.
        window: whether backward will need the straight-through window.

    Returns:
        Sign words and window words (``None`` unless asked for); layout in :mod:`fqt_core.ops.packing`.

    Raises:
        ConfigurationError: another dtype.
    """
    if x.dtype not in {torch.float32, torch.float16, torch.bfloat16}:
        raise ConfigurationError(f"a binarised layer takes float32, float16 or bfloat16 activations, got {x.dtype}")
    x = x.detach().float().contiguous()
    return ops.pack_sign_window(x) if window else (ops.pack_sign(x), None)


def share_of_bits(words: Tensor, channels: int) -> float:
    """Share of set bits, 0 to 1, in the words (*, ceil(C / 64)) of ``channels`` channels."""
    return float((ops.unpack_sign(words.flatten(0, -2), channels).mean() + 1) / 2)


def pack_weight(weight: Tensor) -> Tensor:
    """Binarise a latent weight (D, C, *) to sign words (D, *, ceil(C / 64)).

    A float32 weight whose channels lie side by side in memory (``torch.channels_last``) is read where it is.
    """
    weight = weight.detach().float()
    rows = weight.movedim(1, -1)
    if rows.is_contiguous():
        return ops.pack_sign(rows.flatten(0, -2)).view(*rows.shape[:-1], -1)
    return ops.pack_sign(weight.contiguous())
