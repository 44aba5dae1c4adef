"""The two backward products of a layer whose gradients are quantised by pixel rows."""

from __future__ import annotations

import torch
from torch import Tensor

from fqt_core.layers.products import Product
from fqt_core.quantizers.agp import Selection
from fqt_core.quantizers.pixel import PHASES, ChannelCodes, RowCodes


def input_product(
    codes: RowCodes, bits: int, selection: Selection, product: Product, weight: Tensor, x: Tensor
) -> Tensor:
    """dL/dX before the window, float32 (N, C, *).

    Args:
        codes: of the kept rows.
        bits: of a code.
        selection: the kept rows.
        product: the layer's.
        weight, x: sign words; ``x`` for the size.
    """
    if codes.offset is not None:
        return product.pixel_input_gradient(
            codes.codes, bits, selection.index, (codes.scale, codes.offset, codes.dither, codes.sign), weight, x
        )
    integers = product.pixel_input_gradient(codes.codes, bits, selection.index, (None,) * 4, weight, x)
    return integers.mul_(codes.scale.view(-1, *[1] * (integers.dim() - 1)))


def weight_product(codes: ChannelCodes, bits: int, selection: Selection, product: Product, x: Tensor) -> Tensor:
    """dL/dΘ before its α, float32 (D, C / groups, *).

    With the codes go rows that are 1 for every kept row, for the offset, and one for each phase of the dither, which is
    1 + ε for the rows of that phase and 1 for the others: one of each for every group of input channels.
    """
    outputs, kept = codes.codes.shape
    groups = product.channels // product.weight_channels
    ones = torch.ones((1, kept), dtype=torch.uint8, device=x.device)
    extra = [ones]
    if codes.dither is not None:
        assert codes.sign is not None
        assert codes.phase is not None
        shifted = (codes.sign + 1).to(torch.uint8)
        extra += [torch.where(codes.phase == phase, shifted, ones[0])[None] for phase in range(PHASES)]
    first_of_group = torch.arange(groups, dtype=torch.int64, device=x.device) * (outputs // groups)
    every_output = torch.arange(outputs, dtype=torch.int64, device=x.device)
    sums = product.pixel_weight_gradient(codes.codes, bits, selection.index, every_output, x)
    rows = torch.cat(extra).repeat_interleave(groups, 0)
    output = first_of_group.repeat(len(extra))
    constant, *phases = torch.split(product.pixel_weight_gradient(rows, 2, selection.index, output, x), groups)
    shape = (-1, *[1] * (sums.dim() - 1))

    def spread(per_group: Tensor) -> Tensor:
        """(groups, *) to (D, *)."""
        return per_group.repeat_interleave(outputs // groups, 0)

    if codes.dither is None:  # (2q - L) · d / 2, in integers
        odd = 2 * sums.to(torch.int64) - ((1 << bits) - 1) * spread(constant).to(torch.int64)
        return odd.to(torch.float32).mul_((codes.scale * 0.5).view(shape))
    result = sums.to(torch.float32)
    for phase, signed in enumerate(phases):
        result -= codes.dither[:, phase].view(shape) * spread(signed - constant).to(torch.float32)
    return result.mul_(codes.scale.view(shape)).add_(codes.offset.view(shape) * spread(constant).to(torch.float32))
