from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from fqt_core.fused.halving import halve, halve_backward


@pytest.mark.parametrize("shape", [(4, 6, 3, 5), (5, 4, 2, 3), (3, 7, 1, 1), (1, 1, 2, 2), (1, 2, 3, 4)])
def test_it_is_the_average_pool_that_rounds_up(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, requires_grad=True)
    result = halve(x.detach())
    gradient = torch.randn(result.shape)
    expected = functional.avg_pool2d(x.permute(2, 3, 0, 1), 2, 2, ceil_mode=True).permute(2, 3, 0, 1)
    torch.testing.assert_close(result, expected)
    found = halve_backward(gradient.clone(), shape[:2])
    (wanted,) = torch.autograd.grad(expected, x, gradient)
    torch.testing.assert_close(found, wanted)
