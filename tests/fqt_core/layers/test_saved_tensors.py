"""What is kept between forward and backward: bits, and one scale per channel."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from fqt_core.config import Method, MethodConfig
from tests.fqt_core.cases import Conv
from tests.fqt_core.layers.build import conv_layer, linear_layer


def _saved(layer: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    saved: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor)
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(x)
    return saved


@pytest.mark.parametrize("method", [Method("qat"), Method("psq"), Method("fqt", weight_scale="learned")], ids=repr)
def test_a_convolution_saves_bits(method: MethodConfig) -> None:
    case = Conv(4, 128, 64, (8, 8), (3, 3), (1, 1), (1, 1), (1, 1), 1, seed=1)
    saved = _saved(conv_layer(case, method), case.x().requires_grad_())
    bits = 2 * case.x().numel() + case.weight().numel()
    assert sum(t.nbytes for t in saved) <= bits // 8 + 4 * case.outputs
    assert all(t.dtype == torch.int64 or t.shape == (case.outputs,) for t in saved)


def test_a_linear_layer_saves_bits() -> None:
    saved = _saved(linear_layer(256, 64, Method("fqt")), torch.randn(16, 256, requires_grad=True))
    assert sum(t.nbytes for t in saved) <= (2 * 16 * 256 + 64 * 256) // 8 + 4 * 64


def test_no_window_is_saved_for_an_input_without_gradient() -> None:
    case = Conv(4, 64, 64, (8, 8), (1, 1), (1, 1), (0, 0), (1, 1), 1, seed=1)
    saved = _saved(conv_layer(case, Method("fqt")), case.x())
    assert sum(t.nbytes for t in saved) <= (case.x().numel() + case.weight().numel()) // 8 + 4 * case.outputs
