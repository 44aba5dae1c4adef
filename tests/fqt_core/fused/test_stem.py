"""The normalisation behind a convolution without a pool: in one operation each way, and as a map of torch's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fqt_core as fqt
from fqt_core import ops
from fqt_core.errors import NonFiniteGradientError
from fqt_core.fused import linear_stem
from fqt_core.fused.block import Stem
from fqt_core.fused.rows import RowGradient
from fqt_core.fused.stem import enter_stem, leave_stem
from tests.fqt_core.fused.nets import images, network, step

OPERATIONS = ("stem_normalization", "stem_gradient")
SHAPES = {
    "as a network's": (3, 20, 3, True),
    "one channel": (1, 16, 3, True),
    "one output": (1, 1, (1, 2), False),
    "no bias": (2, 40, (3, 2), False),
    "5x5": (2, 104, 5, True),
}


def _modules(shape: str, momentum: float | None) -> tuple[Stem, nn.BatchNorm2d]:
    torch.manual_seed(4)
    channels, outputs, kernel, bias = SHAPES[shape]
    norm = nn.BatchNorm2d(outputs, momentum=momentum)
    nn.init.normal_(norm.weight, 1, 0.3)
    nn.init.normal_(norm.bias, 0, 0.3)
    return Stem(nn.Conv2d(channels, outputs, kernel, padding=1, bias=bias)), norm


def _through(stem: Stem, norm: nn.BatchNorm2d, bad: float = 0.0) -> tuple[list[Tensor], dict[Tensor, Tensor]]:
    """Two steps: the constants of the second, running statistics, and the gradients of the second."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(2, 5, stem.conv.in_channels, 9, 8, generator=generator) + 2
    found: dict[Tensor, Tensor] = {}
    constants: list[Tensor] = []
    for batch in x:
        with torch.no_grad():
            _, record = enter_stem(stem, norm, batch, keep=False)
            assert isinstance(record, linear_stem.LinearRecord)
            height, width = linear_stem.output_size(stem.conv, batch)
            g = torch.randn(height, width, 3, stem.conv.out_channels, generator=generator)
            g[0, 0, 0, 0] += bad
            leave_stem(stem, norm, [record], [RowGradient(g, torch.tensor([0, 1, 4]))], found, step=7)
        constants = [record.norm.a, record.norm.b, record.norm.center, record.norm.constants, record.map.weight]
    return [*constants, *norm.buffers()], found


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each of the two operations was called."""
    count: Counter[str] = Counter()

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            count[name] += 1
            return call(*arguments)

        return run

    for name in OPERATIONS:
        monkeypatch.setattr(ops, name, counted(name, getattr(ops, name)))
    return count


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("shape", SHAPES)
def test_one_operation_each_way_gives_what_the_map_gives(
    shape: str, momentum: float | None, called: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stem, norm = _modules(shape, momentum)
    constants, gradients = _through(stem, norm)
    assert called == dict.fromkeys(OPERATIONS, 2)
    monkeypatch.setattr(linear_stem, "synchronises", lambda _: True)
    other, other_norm = _modules(shape, momentum)
    expected, expected_gradients = _through(other, other_norm)
    assert called == dict.fromkeys(OPERATIONS, 2)
    for found, wanted in zip(constants, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    assert len(gradients) == len(expected_gradients) == 3 + (stem.conv.bias is not None)
    ours, theirs = nn.ModuleList([stem.conv, norm]), nn.ModuleList([other.conv, other_norm])
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert gradients[one].shape == one.shape
        assert gradients[one].is_contiguous()
        torch.testing.assert_close(gradients[one], expected_gradients[two], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["vgg16", "resnet18"])
def test_a_step_on_the_references_is_the_same(name: str, called: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = (network(name, fqt.Method("fqt")) for _ in range(2))
    found = step(ours, images())
    assert called == dict.fromkeys(OPERATIONS, 1)
    for operation in OPERATIONS:
        monkeypatch.setattr(ops, operation, ops.OPERATIONS[operation].reference)
    expected = step(theirs, images())
    assert called == dict.fromkeys(OPERATIONS, 1)
    assert found[0] == expected[0]
    assert all(torch.equal(found[1][parameter], gradient) for parameter, gradient in expected[1].items())
    assert all(torch.equal(one, other) for one, other in zip(ours.buffers(), theirs.buffers(), strict=True))


def test_where_it_is_not_one_operation(called: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    stem, norm = _modules("as a network's", 0.1)
    _through(stem, norm.eval())
    norm.train()
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        enter_stem(stem, norm, images(1, 1), keep=False)
    with monkeypatch.context() as patch:
        patch.setattr("fqt_core.ops.stem.serves", lambda _: False)
        _through(stem, norm)
    assert not called
    _through(stem, norm)
    assert called == dict.fromkeys(OPERATIONS, 2)


def test_that_a_batch_was_counted_is_seen() -> None:
    """By those who keep what is made of running statistics."""
    stem, norm = _modules("no bias", 0.1)
    assert norm.num_batches_tracked is not None
    version = norm.num_batches_tracked._version
    _through(stem, norm)
    assert int(norm.num_batches_tracked) == 2
    assert norm.num_batches_tracked._version >= version + 2


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("in_one", [True, False])
def test_a_gradient_that_is_not_finite_is_refused(
    bad: float, in_one: bool, called: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not in_one:
        monkeypatch.setattr(linear_stem, "synchronises", lambda _: True)
    stem, norm = _modules("5x5", 0.1)
    with pytest.raises(NonFiniteGradientError, match=r"the normalisation before the first binarised layer.*step 7"):
        _through(stem, norm, bad)
    assert called["stem_gradient"] == in_one
