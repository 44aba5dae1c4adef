"""Several blocks in one operation each way, and one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fqt_core as fqt
from fqt_core import ops
from fqt_core.config import MethodConfig
from fqt_core.errors import NonFiniteGradientError
from fqt_core.fused import chain, forward, run
from fqt_core.fused.forward import BlockForward, Record
from fqt_core.layers import BinaryConv2d
from fqt_core.random import PhiloxState
from tests.fqt_core.fused.nets import images, network, step

FQT = fqt.Method("fqt")
METHODS = {
    "systematic": FQT,
    "bernoulli": fqt.Method("fqt", pruning="bernoulli", bits=8, keep=0.5, weight_scale="none"),
    "topk": fqt.Method("fqt", pruning="topk"),
    "dense": fqt.Method("psq", bits=8, weight_groups="channel"),
}


@pytest.fixture(autouse=True)
def _all_keep_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few channels there are, so that small networks run as large ones do."""
    monkeypatch.setattr(forward, "REPEATED_PRODUCTS", 0)
    monkeypatch.setattr(forward, "DENSE_REPEATED_PRODUCTS", 0)


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many blocks ran together: forward above zero, backward below."""
    found: list[int] = []
    forwards, gradient = ops.hwnc_chain_forward, ops.hwnc_chain_gradient

    def counted_forward(x: Tensor, weight: list[Tensor], *others: Any) -> Any:
        found.append(len(weight))
        return forwards(x, weight, *others)

    def counted_gradient(g: Tensor, index: Tensor, y: list[Tensor], *others: Any) -> Any:
        found.append(-len(y))
        return gradient(g, index, y, *others)

    monkeypatch.setattr(ops, "hwnc_chain_forward", counted_forward)
    monkeypatch.setattr(ops, "hwnc_chain_gradient", counted_gradient)
    return found


def _layers(model: nn.Module) -> list[BinaryConv2d]:
    return [module for module in model.modules() if isinstance(module, BinaryConv2d)]


def _norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def _network(method: MethodConfig = FQT, *, momentum: float | None = 0.1) -> nn.Module:
    """A network whose binarised weights' gradients the optimiser takes compact."""
    model = network("vgg16", method, size=32)
    for layer in _layers(model):
        layer.wants_compact_gradient = True
    for norm in _norms(model):
        norm.momentum = momentum
    return model


def _one_by_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(BlockForward, "joins", False)
    patch.setattr(run, "RUN_BYTES", 0)


def _everything(model: nn.Module, x: Tensor) -> list[Tensor]:
    """What two steps leave behind: losses, gradients of both kinds, and all that the network keeps."""
    found: list[Tensor] = []
    for _ in range(2):
        loss, gradients = step(model, x)
        compact = [layer.compact_gradient for layer in _layers(model)]
        kept = [
            gradient.dense(layer.weight) for layer, gradient in zip(_layers(model), compact, strict=True) if gradient
        ]
        found += [torch.tensor(loss), *gradients.values(), *kept, *(buffer.clone() for buffer in model.buffers())]
        for layer in _layers(model):
            layer.compact_gradient = None
    return found


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize(
    ("method", "together"), [(m, 9 if name == "dense" else 11) for name, m in METHODS.items()], ids=METHODS
)
def test_one_operation_gives_what_the_blocks_give(
    method: MethodConfig,
    together: int,
    momentum: float | None,
    lengths: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = _everything(_network(method, momentum=momentum), images(5, 32))
    assert lengths == [12, -together] * 2
    lengths.clear()
    with monkeypatch.context() as patch:
        _one_by_one(patch)
        separate = _everything(_network(method, momentum=momentum), images(5, 32))
    assert lengths == []
    assert len(found) == len(separate)
    assert all(torch.equal(one, other) for one, other in zip(found, separate, strict=True))


def test_kept_constants_notice_what_a_run_takes_up() -> None:
    """Inference keeps constants of running statistics for as long as their versions stay the same."""
    model = _network()
    model(images(5, 32))
    found = []
    for _ in range(2):
        model.eval()
        with torch.no_grad():
            found.append(model(images(3, 32, seed=2)))
        model.train()
        model(images(5, 32, seed=3))
    assert not torch.equal(*found)


@pytest.mark.parametrize("number", [2, 4, 6])
def test_a_gradient_of_zeros_ends_a_run_and_the_others_go_on(
    number: int, lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def results() -> list[Tensor]:
        model = _network()
        nn.init.zeros_(_norms(model)[-number].weight)
        return _everything(model, images(5, 32))

    together = results()
    assert lengths[:3] == [12, -11, number - 11]
    with monkeypatch.context() as patch:
        _one_by_one(patch)
        assert all(torch.equal(one, other) for one, other in zip(together, results(), strict=True))


@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_gradient_that_is_not_finite_is_named(number: int) -> None:
    model = _network()
    with torch.no_grad():
        _norms(model)[-number].weight[0] = float("nan")
    with pytest.raises(NonFiniteGradientError, match=_layers(model)[-number].layer_name):
        step(model, images(5, 32))


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """What backward needs of the last network that ran."""
    found: list[Record] = []
    run_forward = chain._forward

    def watched(*arguments: Any, **options: Any) -> Any:
        result = run_forward(*arguments, **options)
        found[:] = result[2]
        return result

    monkeypatch.setattr(chain, "_forward", watched)
    return found


def test_a_run_is_of_blocks_that_keep_little(records: list[Record], monkeypatch: pytest.MonkeyPatch) -> None:
    _network()(images(5, 32))
    everyone = [True] * len(records)
    assert run.run_length(records, everyone) == len(records) - 1  # the first goes by itself
    assert run.run_length(records, [*everyone[:-3], False, True, True]) == 2
    assert run.run_length(records, [*everyone[:-2], False, True]) == 0
    sizes = [run._bytes_of(record) for record in records]
    last = records[-1]
    assert sizes[-1] == sum(t.nbytes for t in (last.signs, last.window, last.y, last.choice) if t is not None)
    for count, length in ((1, 0), (2, 2), (4, 4)):
        monkeypatch.setattr(run, "RUN_BYTES", sum(sizes[-count:]))
        assert run.run_length(records, everyone) == length


def test_a_run_is_of_blocks_that_are_alike(records: list[Record]) -> None:
    model = _network()
    model(images(5, 32))
    everyone, layers = [True] * len(records), _layers(model)
    layers[-3].collect_statistics = True
    assert run.run_length(records, everyone) == 2
    layers[-3].collect_statistics = False
    layers[-4].state = PhiloxState()
    assert run.run_length(records, everyone) == 3
    layers[-3].method = fqt.Method("fqt", pruning="topk")
    assert run.run_length(records, everyone) == 2
    layers[-2].method = fqt.Method("fqt", clip=2.0, bits=2)
    assert run.run_length(records, everyone) == 0


def test_weights_whose_gradients_are_wanted_whole_go_block_by_block(lengths: list[int]) -> None:
    step(network("vgg16", FQT, size=32), images(5, 32))
    assert min(lengths) > 0
