from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fqt_core.config import Method
from fqt_core.layers import BinaryConv2d, BinaryLinear
from tests.fqt_core.cases import Conv, convolutions
from tests.fqt_core.layers.build import conv_layer, linear_layer


@given(convolutions(), st.sampled_from(["mean", "none"]), st.booleans())
@settings(max_examples=25)
def test_packed_convolution_is_the_same_function(case: Conv, weight_scale: str, bias: bool) -> None:
    layer = conv_layer(case, Method("qat", weight_scale=weight_scale), bias=bias)
    packed = BinaryConv2d.from_packed(
        layer.packed_weight(), layer.scale(), layer.bias, in_channels=case.channels, **case.geometry
    )
    assert torch.equal(packed(case.x()), layer(case.x()))
    assert not list(packed.parameters())


def test_packed_linear_is_the_same_function() -> None:
    layer = linear_layer(70, 5, Method("fqt"))
    packed = BinaryLinear.from_packed(layer.packed_weight(), layer.scale(), layer.bias, in_features=70)
    x = torch.randn(2, 3, 70)
    assert torch.equal(packed(x), layer(x))
    assert sum(t.nbytes for t in packed.state_dict().values()) == 5 * 2 * 8 + 5 * 4 + 5 * 4


def test_words_that_do_not_fit_are_refused() -> None:
    words = torch.zeros(4, 3, 3, 1, dtype=torch.int64)
    with pytest.raises(ValueError, match="2 words for 70 channels, got 1"):
        BinaryConv2d.from_packed(words, None, None, in_channels=70)
    with pytest.raises(ValueError, match="int64"):
        BinaryLinear.from_packed(torch.zeros(4, 1), None, None, in_features=7)
