"""Layers for tests."""

from __future__ import annotations

import torch
from torch import nn

from fqt_core.config import MethodConfig
from fqt_core.layers import BinaryConv2d, BinaryLinear
from fqt_core.random import PhiloxState
from tests.fqt_core.cases import Conv


def conv_layer(case: Conv, method: MethodConfig, *, bias: bool = True, step: int = 3) -> BinaryConv2d:
    """The binarised layer of a case, with the case's weight."""
    module = nn.Conv2d(case.channels, case.outputs, case.kernel, bias=bias, **case.geometry)
    with torch.no_grad():
        module.weight.copy_(case.weight())
    state = PhiloxState(seed=case.seed, step=step)
    return BinaryConv2d.from_float(module, method=method, state=state, layer_index=2, name="body.conv")


def linear_layer(inputs: int, outputs: int, method: MethodConfig, *, step: int = 3) -> BinaryLinear:
    """A binarised linear layer."""
    torch.manual_seed(inputs + outputs)
    state = PhiloxState(seed=5, step=step)
    return BinaryLinear.from_float(
        nn.Linear(inputs, outputs), method=method, state=state, layer_index=1, name="body.linear"
    )
