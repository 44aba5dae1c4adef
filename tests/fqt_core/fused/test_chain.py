"""When chains run, when their layers run one by one, and that what is asked of a layer is asked of a chain as well."""

from __future__ import annotations

import copy
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import fqt_core as fqt
from fqt_core.config import MethodConfig
from fqt_core.errors import NonFiniteGradientError
from fqt_core.fused import Chain, chain, chained
from fqt_core.layers import BinaryConv2d
from fqt_core.ops import native
from fqt_core.training.diagnosis import first_non_finite
from tests.fqt_core.fused.nets import images, layer_by_layer, network, step

FQT = fqt.Method("fqt")
NAMES = ["vgg16", "resnet18"]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the chains that ran."""
    lengths: list[int] = []

    def counted(whole: Chain, x: Tensor) -> Tensor:
        lengths.append(len(whole.blocks))
        return chain.run_chain(whole, x)

    monkeypatch.setattr(chained, "run_chain", counted)
    return lengths


@pytest.mark.parametrize(("name", "length"), [("vgg16", 12), ("resnet18", 16), ("convnet", 5)])
@pytest.mark.parametrize("method", [FQT, fqt.Method("psq", bits=8, weight_groups="channel")], ids=lambda m: m.name)
def test_the_networks_run_as_one_chain(name: str, length: int, method: MethodConfig, runs: list[int]) -> None:
    model = network(name, method)
    step(model, images())
    model.eval()
    with torch.no_grad():
        model(images())
    assert runs == [length, length]
    (row,) = [row for row in model.fqt_report.rows if row.action == "fused"]  # type: ignore[union-attr]
    assert row.reason == f"{length} binarised convolutions run as one chain"


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        (fqt.Method("qat"), "gradients stay in full precision"),
        (fqt.Method("psq"), "a product's gradient has a scale per sample, inside its sum"),
        (fqt.Method("fqt", groups="pixel"), "gradients are quantised by pixel rows"),
    ],
    ids=["qat", "psq", "pixel"],
)
def test_what_cannot_be_fused_says_why_and_runs_layer_by_layer(
    method: MethodConfig, reason: str, runs: list[int]
) -> None:
    model = network("vgg16", method)
    step(model, images())
    assert runs == []
    (row,) = [row for row in model.fqt_report.rows if "one by one" in row.reason]  # type: ignore[union-attr]
    assert (row.action, row.reason) == ("kept", f"its layers run one by one: {reason}")


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_left_in_full_precision_breaks_the_chain(name: str, runs: list[int]) -> None:
    model = fqt.models.build(name, num_classes=5, width=0.25, image_size=16)
    left = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)][3]
    fqt.convert_(model, FQT, filter_fn=lambda layer, _: layer != left)
    step(model, images(size=16))
    assert runs == []


@pytest.mark.parametrize("name", NAMES)
def test_hooks_and_autocast_are_heeded(name: str, runs: list[int]) -> None:
    model = network(name, FQT)
    seen: list[str] = []
    layer = next(m for m in model.modules() if isinstance(m, BinaryConv2d))
    handle = layer.register_forward_hook(lambda *_: seen.append("called"))
    model(images())
    assert (runs, seen) == ([], ["called"])
    handle.remove()
    model(images())
    assert len(runs) == 1
    with torch.autocast("cpu", torch.bfloat16):
        model(images())
    assert len(runs) == 1


@pytest.mark.parametrize("name", NAMES)
def test_inference_is_that_of_the_layers(name: str) -> None:
    model = network(name, FQT).eval()
    for samples in (1, 2, 5, 33):
        with torch.no_grad():
            fused = model(images(samples))
            with layer_by_layer():
                torch.testing.assert_close(fused, model(images(samples)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", ["mean", "learned", "none"])
@pytest.mark.parametrize("name", NAMES)
def test_inference_without_a_graph_gives_the_same_bits(name: str, scale: str) -> None:
    model = network(name, fqt.Method("fqt", weight_scale=scale))
    step(model, images(seed=2))  # running statistics of its own for each normalisation
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    norms[2].eps = 0.5
    with_graph = model(images())
    assert with_graph.requires_grad
    with torch.no_grad():
        assert torch.equal(model(images()), with_graph)
    with torch.inference_mode():
        assert torch.equal(model(images()), with_graph)


def test_inference_needs_no_normalisation_at_the_entry() -> None:
    model = network("resnet18", FQT).eval()
    whole = Chain(model.chain().blocks)  # type: ignore[operator]
    x = torch.randn(3, 16, 8, 8, generator=torch.Generator().manual_seed(5))
    with_graph = chain.run_chain(whole, x)
    assert with_graph.requires_grad
    with torch.no_grad():
        assert torch.equal(chain.run_chain(whole, x), with_graph)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_graph_some_normalisations_may_still_take_the_batch(name: str) -> None:
    model, twin = (network(name, FQT).eval() for _ in range(2))
    for one in (model, twin):
        next(module for module in one.modules() if isinstance(module, nn.BatchNorm2d)).train()
    with torch.no_grad():
        logits = model(images())
    assert torch.equal(logits, twin(images()))
    for (key, buffer), other in zip(model.named_buffers(), twin.buffers(), strict=True):
        assert torch.equal(buffer, other), key


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_has_a_chain_of_its_own(name: str) -> None:
    model = network(name, FQT)
    twin = copy.deepcopy(model)
    before = [p.clone() for p in model.parameters()]
    _, gradients = step(twin, images())
    assert gradients
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert all(torch.equal(g, step(model, images())[1][n]) for n, g in list(gradients.items())[-1:])


@pytest.mark.parametrize("name", NAMES)
def test_one_value_per_channel_is_refused_in_training(name: str) -> None:
    model = network(name, FQT, size=8)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        model(images(1, 8))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_named(name: str, bad: float) -> None:
    model = network(name, FQT)
    model.fqt_state.step = 7  # type: ignore[union-attr]
    logits = model(images())
    gradient = torch.zeros_like(logits)
    gradient[2, 1] = bad
    last = [n for n, m in model.named_modules() if isinstance(m, BinaryConv2d)][-1]
    with pytest.raises(NonFiniteGradientError, match=rf"{last}.*step 7"):
        logits.backward(gradient)


@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_of_zeros_gives_zeros(name: str) -> None:
    model = network(name, FQT)
    (model(images()) * 0).sum().backward()
    assert all(not p.grad.any() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_that_is_not_finite_is_found(name: str) -> None:
    model = network(name, FQT)
    layer = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)][4]
    with torch.no_grad():
        layer.weight[0] = float("nan")
    found = first_non_finite(model, images())
    assert model.get_submodule(found) is layer


@pytest.mark.parametrize("name", NAMES)
def test_statistics_are_those_of_the_layers(name: str) -> None:
    figures = []
    for fused in (True, False):
        model = network(name, FQT)
        layers = [m for m in model.modules() if isinstance(m, BinaryConv2d)]
        for layer in layers:
            layer.collect_statistics = True
        if fused:
            step(model, images())
        else:
            with layer_by_layer():
                step(model, images())
        figures.append(layers[-1].statistics)
        assert all(0 <= layer.statistics["window_share"] <= 1 for layer in layers)
    assert figures[0].keys() == figures[1].keys()
    for key in ("kept_samples", "kept_channels"):
        assert figures[0][key] == figures[1][key]
    assert figures[0]["gradient_range"] == pytest.approx(figures[1]["gradient_range"], rel=1e-4)
    assert figures[0]["window_share"] == pytest.approx(figures[1]["window_share"], abs=1e-3)


_RUN = """
import hashlib, torch
torch.set_num_threads(1)
from fqt_core import ops
from fqt_core.config import TrainConfig, Method
from fqt_core.training.optimizer import build_optimizer
from tests.fqt_core.fused.nets import images, network
from fqt_core.training.step import training_step
from fqt_core.layers import BinaryLayer
digest = hashlib.sha256()
for name in ("vgg16", "resnet18"):
    for method in (
        Method("fqt"),
        Method("fqt", bits=2, pruning="bernoulli"),
        Method("psq", bits=8, weight_groups="channel"),
        Method("fqt", bits=2, clip=1.5),
    ):
        model = network(name, method, size=9)
        optimizer = build_optimizer(model, TrainConfig(epochs=1))
        layers = [m for m in model.modules() if isinstance(m, BinaryLayer)]
        for step in range(3):
            loss = training_step(model, optimizer, (images(7, 9), torch.arange(7) % 5), seed=5, step=step, classes=5,
                                 layers=layers).loss
            digest.update(repr(loss).encode())
        for layer in layers:
            digest.update(layer.weight.detach().numpy().tobytes())
print(ops.isa(), digest.hexdigest())
"""


@pytest.mark.parametrize("name", NAMES)
def test_a_second_backward_pass_needs_the_graph_to_be_kept(name: str) -> None:
    model = network(name, FQT)
    loss = model(images()).square().sum()
    loss.backward(retain_graph=True)
    first = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    loss.backward()
    assert all(torch.equal(a, p.grad) for a, p in zip(first, model.parameters(), strict=True) if p.grad is not None)
    loss = model(images()).square().sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        loss.backward()


@pytest.mark.slow
def test_every_instruction_set_trains_the_same_network_bit_for_bit() -> None:
    """The loss of each step and the weights after the last, with the reference and with all native kernels."""
    root = Path(__file__).parents[3]
    isas = ["reference", *sorted({isa for _, isa in native.KERNELS})]
    # torch's own layers are held to one thread and one instruction set, since their sums depend on both.
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "avx2"}
    found = {}
    for isa in isas:
        done = subprocess.run(
            [sys.executable, "-c", _RUN],
            env={**environment, "FQT_ISA": isa},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        ran, digest = done.stdout.split()
        assert ran == isa
        found[isa] = digest
    assert len(set(found.values())) == 1, found
    assert hashlib.sha256().hexdigest() not in found.values()
