"""Batch normalisation behind the full-precision convolution before a chain, from the moments of its inputs.

What :class:`fqt_core.fused.linear.LinearMap` does for any device, as one operation forward and one backward for CPUs:
it is a score of small products and vectors, each of which takes torch longer to call than to compute.

With the inputs u of an output as in :func:`fqt_core.ops.stem_moments`, K + 1 = C · kh · kw + 1 of them, and W the
weight with a last column, the convolution's output is x = W u. All is float64, each product rounded before it is added,
and sums are of terms that are added to 0 one after the other in the order of u.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fqt_core.ops.division import divided
from fqt_core.ops.geometry import check
from fqt_core.ops.hwnc.block import count_batch
from fqt_core.ops.hwnc.forward import check_channel_vectors
from fqt_core.ops.registry import OPERATIONS, operation


def _normalization_fake(
    weight: Tensor,
    bias: Tensor | None,
    origin: Tensor,
    moments: Tensor,
    rows: int,
    running_mean: Tensor,
    running_var: Tensor,
    batches: Tensor,
    gamma: Tensor,
    beta: Tensor,
    momentum: float | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    del bias, origin, rows, running_mean, running_var, batches, gamma, beta, momentum, eps
    outputs, inputs = weight.shape[0], moments.shape[0]
    a, b, center = (weight.new_empty(outputs) for _ in range(3))
    constants, augmented, cross_moments = (
        moments.new_empty(shape) for shape in ((4, outputs), (outputs, inputs), (outputs, inputs))
    )
    return a, b, center, constants, augmented, cross_moments


@operation(
    "stem_normalization(Tensor weight, Tensor? bias, Tensor origin, Tensor moments, int rows, Tensor(a!) running_mean,"
    " Tensor(b!) running_var, Tensor(c!) batches, Tensor gamma, Tensor beta, float? momentum, float eps)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    fake=_normalization_fake,
)
def stem_normalization(
    weight: Tensor,
    bias: Tensor | None,
    origin: Tensor,
    moments: Tensor,
    rows: int,
    running_mean: Tensor,
    running_var: Tensor,
    batches: Tensor,
    gamma: Tensor,
    beta: Tensor,
    momentum: float | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Constants of the normalisation by the batch's mean and variance, which the running ones take up.

    The last column of W is Σ weight · origin, then plus the bias. With m the last row of M::

        mean = (W M)[:, -1] / rows       Σ (x - mean)² = Σ (W M - mean · m) · W

    :func:`~fqt_core.ops.hwnc_normalization` takes the sums of x about the mean rounded to float32, of which r is what
    rounding left: ``rows · r`` and ``Σ (x - mean)² + rows · r · r``.

    Args:
        weight: float32 (D, C, kh, kw), not empty.
        bias: float32 (D,), if there is one.
        origin: float32 (C,), what was taken from the images' channels.
        moments: float64 (K + 1, K + 1), M = Σ u uᵀ of :func:`fqt_core.ops.stem_moments`.
        rows: how many outputs each channel has, at least 2.
        running_mean, running_var, gamma, beta, eps: as of :func:`~fqt_core.ops.hwnc_normalization`, whose ``weight``
            and ``bias`` are ``gamma`` and ``beta`` here.
        batches, momentum: as of :func:`fqt_core.ops.hwnc.block.count_batch`.

    Returns:
        a, b, center and constants of :func:`~fqt_core.ops.hwnc_normalization`; W and the cross moments W M = Σ x uᵀ,
        float64 (D, K + 1).
    """
    check(weight.dtype == torch.float32 and weight.dim() == 4, "weight must be float32 with 4 dimensions")
    check(weight.numel() > 0, f"weight is empty: shape {tuple(weight.shape)}")
    outputs, channels = weight.shape[:2]
    check_channel_vectors(channels, origin=origin)
    check_channel_vectors(outputs, running_mean=running_mean, running_var=running_var, gamma=gamma, beta=beta)
    if bias is not None:
        check_channel_vectors(outputs, bias=bias)
    inputs = weight[0].numel() + 1
    _check_matrix((inputs, inputs), moments=moments)
    check(rows >= 2, f"rows must be at least 2, got {rows}")
    taps = weight.flatten(1).double()
    column = _sum(taps * _per_input(origin, weight.shape[2:]))
    if bias is not None:
        column = column + bias.double()
    augmented = torch.cat([taps, column.unsqueeze(1)], 1)
    cross_moments = torch.zeros_like(augmented)
    for values, row in zip(augmented.unbind(1), moments, strict=True):
        cross_moments += values.unsqueeze(1) * row
    mean = divided(cross_moments[:, -1], rows)
    square = _sum((cross_moments - mean.unsqueeze(1) * moments[-1]) * augmented)
    rounded = mean.to(torch.float32)
    rest = mean - rounded.double()
    sums = rows * rest, square + rows * rest * rest
    running, affine = (running_mean, running_var), (gamma, beta)
    a, b, center, constants = OPERATIONS["hwnc_normalization"].reference(
        *running, *affine, None, None, rounded, *sums, rows, count_batch(batches, momentum), eps
    )
    return a, b, center, constants, augmented, cross_moments


def _gradient_fake(
    products: Tensor,
    augmented: Tensor,
    cross_moments: Tensor,
    moments: Tensor,
    center: Tensor,
    constants: Tensor,
    origin: Tensor,
    kernel_size: Sequence[int],
    rows: int,
    batch: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    del augmented, cross_moments, moments, constants, rows, batch
    weight = center.new_empty((products.shape[0], origin.shape[0], *kernel_size))
    bias, gamma, beta = (torch.empty_like(center) for _ in range(3))
    return weight, bias, gamma, beta, products.new_empty((), dtype=torch.bool)


@operation(
    "stem_gradient(Tensor products, Tensor augmented, Tensor cross_moments, Tensor moments, Tensor center,"
    " Tensor constants, Tensor origin, int[2] kernel_size, int rows, bool batch)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    fake=_gradient_fake,
)
def stem_gradient(
    products: Tensor,
    augmented: Tensor,
    cross_moments: Tensor,
    moments: Tensor,
    center: Tensor,
    constants: Tensor,
    origin: Tensor,
    kernel_size: Sequence[int],
    rows: int,
    batch: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the convolution and of the normalisation behind it.

    With P = Σ g uᵀ for the gradient g at the normalisation's output, :func:`~fqt_core.ops.hwnc_normalization_gradient`
    takes P's last column and ``Σ (W · P) - center · P[:, -1]``. Of its float32 results, and the last row m of M::

        dL/dW = (c · P - a1 · W M) - a0 · m

    The last column of that is the bias's, and the gradient of each weight takes up this times the origin.

    Args:
        products: float64 (D, K + 1), P of :func:`fqt_core.ops.stem_products`, not empty.
        augmented, cross_moments, center, constants: W, W M, and the vectors of :func:`stem_normalization`.
        moments, origin, rows: as it took them.
        kernel_size: kh, kw.
        batch: as of :func:`~fqt_core.ops.hwnc_normalization_gradient`.

    Returns:
        Gradients of the convolution's weight, float32 (D, C, kh, kw), and bias, of γ and of β, float32 (D,); bool (),
        whether all of P is finite.
    """
    check(products.dim() == 2, "products must have 2 dimensions")
    outputs, inputs = products.shape
    check(outputs > 0 and inputs > 1, f"products is empty: shape {(outputs, inputs)}")
    check(len(kernel_size) == 2 and min(kernel_size) >= 1, "kernel_size must be two numbers of at least 1")
    channels, taps = (inputs - 1) // (kernel_size[0] * kernel_size[1]), kernel_size[0] * kernel_size[1]
    check(channels * taps == inputs - 1, f"products must have columns for {taps} taps of each channel and one more")
    _check_matrix((outputs, inputs), products=products, augmented=augmented, cross_moments=cross_moments)
    _check_matrix((inputs, inputs), moments=moments)
    _check_matrix((4, outputs), constants=constants)
    check_channel_vectors(outputs, center=center)
    check_channel_vectors(channels, origin=origin)
    check(rows >= 1, f"rows must be at least 1, got {rows}")
    total = products[:, -1]
    moment = _sum(augmented * products) - center.double() * total
    *through, gamma, beta, _, _ = OPERATIONS["hwnc_normalization_gradient"].reference(
        total, moment, constants, rows, batch
    )
    c, a0, a1 = (vector.double().unsqueeze(1) for vector in through)
    whole = c * products - a1 * cross_moments - a0 * moments[-1]
    bias = whole[:, -1]
    weight = whole[:, :-1] + bias.unsqueeze(1) * _per_input(origin, kernel_size)
    vectors = weight.to(torch.float32).view(outputs, channels, *kernel_size), bias.to(torch.float32)
    return *vectors, gamma, beta, torch.isfinite(products).all()


def _check_matrix(shape: tuple[int, int], **matrices: Tensor) -> None:
    for name, matrix in matrices.items():
        check(matrix.dtype == torch.float64 and matrix.shape == shape, f"{name} must be float64 {shape}")


def _per_input(origin: Tensor, kernel_size: Sequence[int]) -> Tensor:
    """The origin of each input of an output, float64 (C · kh · kw,)."""
    return origin.double().repeat_interleave(kernel_size[0] * kernel_size[1])


def _sum(terms: Tensor) -> Tensor:
    """Σ over float64 (D, n) along the last axis, in order: (D,)."""
    result = torch.zeros_like(terms[:, 0])
    for column in terms.unbind(1):
        result += column
    return result
