"""A whole step on the CUDA kernels, run by the emulator, without a look at a value: of a fused chain, and of layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import fqt_core as fqt
from fqt_core import ops
from fqt_core.ops import hwnc, native, stem, waiting
from fqt_core.training.optimizer import build_optimizer
from fqt_core.training.step import training_step
from tests.csrc.cuda.emulated import KERNELS, PATHS, kernel, load
from tests.fqt_core.fused.nets import images, network, step
from tests.fqt_core.training import nets

pytestmark = pytest.mark.elsewhere


def _counted(call: Callable[..., Any], name: str, called: set[str]) -> Callable[..., Any]:
    def counted(*arguments: Any) -> Any:
        called.add(name)
        return call(*arguments)

    return counted


def _as_on_a_gpu(path: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """From now on operations run on the CUDA kernels, and nobody looks at values; returns which are called."""
    load()
    monkeypatch.setattr(waiting, "at_once", lambda _: False)
    called: set[str] = set()
    for operation, way in KERNELS:
        if way in {path, "any"}:
            monkeypatch.setattr(ops, operation, _counted(kernel(operation, way), operation, called))
    for operation in native.CPU_ONLY:
        monkeypatch.setattr(ops, operation, _counted(getattr(ops, operation), operation, called))
    return called


@pytest.mark.parametrize(
    ("name", "path", "options"),
    [
        ("vgg16", "bits", {}),
        ("resnet18", "bytes", {"clip": 2.0}),
        ("vgg16", "bytes", {"pruning": "bernoulli"}),
        ("resnet18", "bits", {"pruning": "bernoulli", "clip": 2.0}),
    ],
)
def test_a_step_gives_the_bits_of_the_processor(
    name: str, path: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert path in PATHS
    method = fqt.Method("fqt", **options)
    there, here = (network(name, method, size=16, width=0.0625) for _ in range(2))
    monkeypatch.setattr(stem, "serves", lambda _: False)  # of the first convolution, which torch runs on a GPU
    expected = step(here, images(4, 16))
    called = _as_on_a_gpu(path, monkeypatch)
    loss, gradients = step(there, images(4, 16))
    assert loss == expected[0]
    assert gradients.keys() == expected[1].keys()
    assert all(torch.equal(gradients[name], expected[1][name]) for name in gradients)
    assert all(torch.equal(a, b) for a, b in zip(there.buffers(), here.buffers(), strict=True))
    by_network = {"hwnc_max_pool2d"} if name == "resnet18" else {"hwnc_add_rows", "hwnc_gradient_moments"}
    entry = {"hwnc_entry_moments", "hwnc_entry_sums", "hwnc_leave"}
    assert set(hwnc.__all__) - by_network - entry - native.CPU_ONLY <= called
    assert not called & native.CPU_ONLY


@pytest.mark.parametrize(
    ("method", "path", "options", "runs"),
    [
        ("fqt", "bits", {"groups": "pixel", "pruning": "bernoulli", "rounding": "dither"}, "pixel_input_gradient"),
        ("fqt", "bytes", {"groups": "pixel", "pruning": "bernoulli", "clip": 2.0}, "pixel_weight_gradient"),
        ("unified-int8", "words", {}, "int8_input_gradient"),
    ],
)
def test_a_step_of_layers_gives_the_bits_of_the_processor(
    method: str, path: str, options: dict[str, Any], runs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here = (nets.network(method, **options) for _ in range(2))
    batch = torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 0])

    def trained(model: nn.Module) -> str:
        training_step(model, build_optimizer(model, nets.config()), batch, seed=3, step=1, classes=3, layers=())
        return nets.sha256(model)

    expected = trained(here)
    called = _as_on_a_gpu(path, monkeypatch)
    assert trained(there) == expected
    assert runs in called
