"""A whole step of a fused chain on the CUDA kernels, run by the emulator, without a look at a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import fqt_core as fqt
from fqt_core import ops
from fqt_core.ops import hwnc, waiting
from tests.csrc.cuda.emulated import KERNELS, PATHS, kernel, load
from tests.fqt_core.fused.nets import images, network, step


def _counted(call: Callable[..., Any], name: str, called: set[str]) -> Callable[..., Any]:
    def counted(*arguments: Any) -> Any:
        called.add(name)
        return call(*arguments)

    return counted


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
    load()
    assert path in PATHS
    method = fqt.Method("fqt", **options)
    there, here = (network(name, method, size=16, width=0.0625) for _ in range(2))
    expected = step(here, images(4, 16))
    monkeypatch.setattr(waiting, "at_once", lambda _: False)
    called: set[str] = set()
    for operation, way in KERNELS:
        if way in {path, "any"}:
            monkeypatch.setattr(ops, operation, _counted(kernel(operation, way), operation, called))
    loss, gradients = step(there, images(4, 16))
    assert loss == expected[0]
    assert gradients.keys() == expected[1].keys()
    assert all(torch.equal(gradients[name], expected[1][name]) for name in gradients)
    assert all(torch.equal(a, b) for a, b in zip(there.buffers(), here.buffers(), strict=True))
    by_network = {"hwnc_max_pool2d"} if name == "resnet18" else {"hwnc_add_rows", "hwnc_gradient_moments"}
    entry = {"hwnc_entry_moments", "hwnc_entry_sums", "hwnc_leave"}
    assert set(hwnc.__all__) - by_network - entry <= called
