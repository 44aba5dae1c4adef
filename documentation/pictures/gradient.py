"""A real gradient: that of a binarised convolution in a small network which has learned some digits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

import fqt_core as fqt
from fqt_core.config import GradientQuantizer
from fqt_core.quantizers import agp, scq
from fqt_core.quantizers.scq import GroupRanges
from fqt_core.random import PhiloxKey

SAMPLES, CHANNELS = 0, 1
BATCH = 64
_STEPS = 150
_KEPT_BACK = 1500


@dataclass(frozen=True)
class Layer:
    """A binarised layer in one training step.

    ``x``: its input, float32 (N, C, H, W); ``gradient``: dL/dY, float32 (N, D, H, W); ``correct``: share of images that
    training has not seen which the network gets right.
    """

    x: Tensor
    gradient: Tensor
    correct: float


def train(steps: int = _STEPS) -> Layer:
    """Train for a few seconds, in full-precision gradients, and take the last step's tensors of the middle layer."""
    torch.manual_seed(0)
    model = nn.Sequential(
        _block(1, 32, 1), _block(32, 64, 2), _block(64, 64, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    )
    fqt.convert_(model, fqt.Method("qat"), seed=0)
    data = fqt.data.load_dataset("digits", channels=1, image_size=16)
    images = torch.from_numpy(data.images).float() / 255 - 0.5
    labels = torch.from_numpy(data.labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    seen: list[Tensor] = []
    layer = model.get_submodule("1.0")
    for _ in range(steps):
        batch = torch.randint(_KEPT_BACK, (BATCH,))
        optimizer.zero_grad()
        handle = layer.register_forward_hook(lambda _layer, inputs, output: seen.extend((inputs[0], output)))
        loss = functional.cross_entropy(model(images[batch]), labels[batch])
        handle.remove()
        x, y = seen[-2:]
        y.retain_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    model.eval()
    with torch.no_grad():
        right = (model(images[_KEPT_BACK:]).argmax(1) == labels[_KEPT_BACK:]).float().mean()
    assert y.grad is not None
    return Layer(x.detach(), y.grad.contiguous(), float(right))


def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def key(draw: int, purpose: int) -> PhiloxKey:
    """A random sequence for a draw: the step of a training run."""
    return PhiloxKey(7, draw, 0, purpose)


def estimate(g: Tensor, dim: int, quantizer: GradientQuantizer, draw: int) -> Tensor:
    """One draw of ĝ as the kernels make it, zero where a group was dropped; float32, shape of ``g``."""
    quantized = scq.quantize(g, GroupRanges.scan(g, dim), quantizer, key(draw, 1), key(draw, 0))
    result = torch.zeros_like(g)
    result.index_copy_(dim, quantized.index, quantized.dequantize())
    return result


def kept(g: Tensor, dim: int, quantizer: GradientQuantizer, draw: int) -> Tensor:
    """Which groups one draw keeps: bool (groups,)."""
    ranges = GroupRanges.scan(g, dim)
    found = torch.zeros(g.shape[dim], dtype=torch.bool)
    found[agp.select(ranges.lo, ranges.hi, quantizer, key(draw, 1)).index] = True
    return found


def extents(g: Tensor, dim: int) -> Tensor:
    """R of each group, zero included: float64 (groups,)."""
    ranges = GroupRanges.scan(g, dim)
    return ranges.hi.double().clamp(min=0) - ranges.lo.double().clamp(max=0)


def probabilities(extent: Tensor, count: int) -> Tensor:
    """p = min(1, c·R) with Σ p = ``count``: what is over 1 is shared out among the others until nothing is."""
    certain = torch.zeros_like(extent, dtype=torch.bool)
    while True:
        rest = (count - certain.sum()) / extent[~certain].sum()
        found = torch.where(certain, 1.0, extent * rest)
        if not (found > 1).any():
            return found
        certain |= found > 1
