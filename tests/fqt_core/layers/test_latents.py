"""Memory format of the latents, and when what is known of them is forgotten."""

from __future__ import annotations

import copy
import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fqt_core.config import Method
from fqt_core.convert import convert_
from fqt_core.export import save_weights
from fqt_core.layers import BinaryConv2d, BinaryLayer, BinaryLinear
from fqt_core.layers.latents import is_laid_out
from fqt_core.models import load_weights
from fqt_core.ops import OPERATIONS
from fqt_core.quantizers.scale import mean_scale
from fqt_core.quantizers.sign import pack_weight
from fqt_core.random import PhiloxState


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 66, 3), nn.Conv2d(66, 5, 3), nn.Conv2d(5, 4, 1), nn.Flatten(), nn.Linear(4, 2))


def converted(seed: int = 0) -> nn.Sequential:
    model = network(seed)
    convert_(model, Method("fqt"))
    return model


def layer() -> BinaryConv2d:
    return BinaryConv2d(66, 5, (3, 2), method=Method("fqt"), state=PhiloxState(), layer_index=0)


def test_conversion_keeps_parameters_and_values() -> None:
    model, plain = network(), network()
    parameters = list(model.parameters())
    convert_(model, Method("fqt"))
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), model.parameters(), strict=True))
    assert model[1].weight.is_contiguous(memory_format=torch.channels_last)
    assert not model[0].weight.is_contiguous(memory_format=torch.channels_last)


def _loaded(model: nn.Sequential, path: Path) -> nn.Sequential:
    save_weights(model, path)
    other = converted(1)
    load_weights(other, path)
    return other


def _state(model: nn.Sequential) -> nn.Sequential:
    other = converted(1)
    other.load_state_dict({name: tensor.contiguous() for name, tensor in model.state_dict().items()})
    return other


def test_the_memory_format_survives(tmp_path: Path) -> None:
    model = converted()
    for other in (_loaded(model, tmp_path / "weights"), _state(model), copy.deepcopy(model), model.to("cpu")):
        assert torch.equal(other[1].weight, model[1].weight)
        assert is_laid_out(other[1].weight)
        assert is_laid_out(other[2].weight)


def test_files_do_not_depend_on_the_memory_format(tmp_path: Path) -> None:
    model = converted()
    digests = []
    for name in ("one", "two"):
        save_weights(model, tmp_path / name)
        digests.append(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
        model[1].weight.data = model[1].weight.data.contiguous()
        assert not is_laid_out(model[1].weight)
    assert digests[0] == digests[1]


@pytest.mark.parametrize("shape", [(5, 66, 3, 2), (5, 66, 1, 1), (5, 1, 3, 3), (1, 66, 3, 3), (5, 66)])
def test_signs_and_scale_do_not_depend_on_the_memory_format(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape)
    laid_out = weight.movedim(1, -1).contiguous().movedim(-1, 1)
    assert is_laid_out(laid_out)
    assert torch.equal(pack_weight(weight), OPERATIONS["pack_sign"].reference(weight))
    assert torch.equal(pack_weight(laid_out), pack_weight(weight))
    assert torch.equal(mean_scale(laid_out), mean_scale(weight))
    torch.testing.assert_close(mean_scale(weight), weight.abs().flatten(1).mean(1))


def test_signs_of_laid_out_latents_are_packed_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def pack_sign(rows: Tensor) -> Tensor:
        seen.append(rows)
        return torch.zeros(len(rows), 2, dtype=torch.int64)

    monkeypatch.setattr("fqt_core.ops.pack_sign", pack_sign)
    weight = layer().weight
    assert pack_weight(weight).shape == (5, 3, 2, 2)
    assert seen[0].data_ptr() == weight.data_ptr()
    assert seen[0].is_contiguous()


def known(of: BinaryLayer) -> BinaryLayer:
    """The layer, with something in its cache that is recognised."""
    of.weight_cache.put(of.weight, torch.zeros(1, dtype=torch.int64), torch.zeros(1))
    assert len(of.packed_weight()) == 1
    return of


def _add(of: BinaryLayer) -> None:
    with torch.no_grad():
        of.weight.add_(1)


def _replace_twice(of: BinaryLayer) -> None:
    for _ in range(2):
        of.weight.data = of.weight.data * -1


def _new_parameter(of: BinaryLayer) -> None:
    of.weight = nn.Parameter(of.weight.detach().clone())


def _sgd(of: BinaryLayer) -> None:
    of.weight.grad = torch.ones_like(of.weight)
    torch.optim.SGD([of.weight], lr=0.1).step()


CHANGES: dict[str, Callable[[BinaryLayer], object]] = {
    "in place": _add,
    "initialised": lambda of: nn.init.zeros_(of.weight),
    "state loaded": lambda of: of.load_state_dict(layer().state_dict()),
    "state assigned": lambda of: of.load_state_dict(layer().state_dict(), assign=True),
    "through detach": lambda of: of.weight.detach().mul_(-1),
    "through a view": lambda of: of.weight.detach()[0, 0].fill_(3),
    "data replaced": _replace_twice,
    "other type": lambda of: of.double(),
    "other parameter": _new_parameter,
    "optimiser": _sgd,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_weight_is_not_taken_for_the_known_one(change: str) -> None:
    of = known(layer())
    CHANGES[change](of)
    assert of.weight_cache.get(of.weight) is None
    assert torch.equal(of.packed_weight(), pack_weight(of.weight))
    assert torch.equal(of.scale(), mean_scale(of.weight))  # type: ignore[arg-type]


def test_reading_and_running_change_nothing() -> None:
    of = known(BinaryLinear(66, 1, method=Method("qat"), state=PhiloxState(), layer_index=0))
    of.weight_cache.put(of.weight, pack_weight(of.weight), mean_scale(of.weight))
    words = of.packed_weight()
    of(torch.randn(2, 66)).sum().backward()
    with torch.inference_mode():
        of(torch.randn(2, 66))
    of.state_dict()
    of.to("cpu")
    assert of.packed_weight() is words


def test_copies_know_nothing() -> None:
    of = known(layer())
    file = io.BytesIO()
    torch.save(of, file)
    file.seek(0)
    for other in (copy.deepcopy(of), torch.load(file, weights_only=False)):
        assert other.weight_cache.get(other.weight) is None
        assert torch.equal(other.packed_weight(), pack_weight(of.weight))
