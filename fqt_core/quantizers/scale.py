"""The scale α of each output channel.

- ``mean``: ``α_d = mean |Θ_d|``, the least-squares scale of ``sign(Θ_d)`` (XNOR-Net, arXiv 1603.05279). A constant to
  the backward pass.
- ``learned``: a parameter that starts at the mean. As ``Y = α ⊙ conv(Xb, Wb)``, its gradient is
  ``∂L/∂α_d = Σ G_d · conv(Xb, Wb)_d = ⟨corr(G_d, Xb), Wb_d⟩``: the (quantised) weight gradient before its own α,
  against the weight's signs, so no activation has to be kept for it.
- ``none``: α = 1.
"""

from __future__ import annotations

import math

from torch import Tensor

from fqt_core import ops


def mean_scale(weight: Tensor) -> Tensor:
    """Mean magnitude of each output channel, by :func:`fqt_core.ops.mean_magnitude`: (D, C, *) to float32 (D,)."""
    outputs, channels, *taps = weight.shape
    return ops.mean_magnitude(weight.detach().float().movedim(1, -1).reshape(outputs, math.prod(taps), channels))


def per_channel(alpha: Tensor, dim: int) -> Tensor:
    """View α (D,) so that it broadcasts over dimension 1 of a tensor with ``dim`` dimensions."""
    return alpha.view(1, -1, *([1] * (dim - 2)))


def learned_scale_gradient(correlation: Tensor, weight_signs: Tensor) -> Tensor:
    """``⟨corr(G_d, Xb), Wb_d⟩`` for each d: two (D, *) tensors to (D,)."""
    return (correlation * weight_signs).flatten(1).sum(1)
