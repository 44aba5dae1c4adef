"""The weights that are told of a layer are those of the network that was saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fqt_core import export
from fqt_core.config import Convnet, Method, Vgg16
from fqt_core.convert import convert_
from fqt_core.errors import ConfigurationError
from fqt_core.export import PackedModel
from fqt_core.layers import BinaryLayer
from fqt_core.models import build


def _saved(tmp_path: Path, config: object = None) -> tuple[torch.nn.Module, PackedModel]:
    torch.manual_seed(0)
    network = build(config or Convnet(width=0.25, image_size=8, channels=1), num_classes=3)
    convert_(network, Method("fqt"))
    inputs = {"image_size": network.config.image_size, "channels": 1, "mean": [0.5], "std": [0.25]}
    export.save_packed(network.eval(), tmp_path / "model", classes=["a", "b", "c"], preprocessing=inputs)
    return network, export.load(tmp_path / "model")


def _weight(network: torch.nn.Module, name: str) -> torch.Tensor:
    return network.get_submodule(name).weight.detach()


@pytest.mark.parametrize(
    "config",
    [Convnet(width=0.25, image_size=8, channels=1), Vgg16(width=0.0625, image_size=8, channels=1)],
    ids=["convnet", "vgg16"],
)
def test_every_layer_is_told_as_it_is(tmp_path: Path, config: object) -> None:
    network, model = _saved(tmp_path, config)
    facts = export.layers(model)
    assert {1, 32} == {row.bits for row in facts}
    assert sum(row.weights for row in facts if row.bits == 1) == sum(
        module.weight.numel() for module in network.modules() if isinstance(module, BinaryLayer)
    )
    for row in facts:
        weight = _weight(network, row.name)
        assert row.shape == list(weight.shape)
        told, part = export.layer_weights(model, row.name, 0, 4096)
        assert (told, part.first, part.count) == (row, 0, len(weight))
        if row.bits == 32:
            assert np.array_equal(np.frombuffer(part.data, "<f4"), weight.flatten().numpy())
            continue
        signs = (weight >= 0).flatten().numpy()
        assert np.array_equal(np.unpackbits(np.frombuffer(part.data, np.uint8), bitorder="little")[: len(signs)], signs)
        assert row.positive_share == pytest.approx(signs.mean())
        assert part.scales == pytest.approx(network.get_submodule(row.name).scale().tolist())


def test_parts_follow_each_other_and_end(tmp_path: Path) -> None:
    network, model = _saved(tmp_path)
    [name] = [row.name for row in export.layers(model) if row.bits == 1][:1]
    signs = (_weight(network, name) >= 0).numpy()
    _, part = export.layer_weights(model, name, 3, 2)
    wanted = np.packbits(signs[3:5].reshape(-1), bitorder="little").tobytes()
    assert (part.first, part.count, part.data) == (3, 2, wanted)
    _, last = export.layer_weights(model, name, len(signs) - 1, 64)
    assert last.count == 1
    _, none = export.layer_weights(model, name, len(signs), 64)
    assert (none.count, none.data) == (0, b"")


def test_a_part_is_not_larger_than_it_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, model = _saved(tmp_path)
    [name] = [row.name for row in export.layers(model) if row.bits == 1][:1]
    bits = _weight(network, name)[0].numel()
    monkeypatch.setattr("fqt_core.export.weights.MOST_PART_BYTES", 3 * bits / 8)
    assert export.layer_weights(model, name, 0, 64)[1].count == 3
    monkeypatch.setattr("fqt_core.export.weights.MOST_PART_BYTES", 1)
    assert export.layer_weights(model, name, 0, 64)[1].count == 1


@pytest.mark.parametrize("name", ["", "nothing", "__class__", "head.weight"])
def test_what_is_no_layer_is_refused(tmp_path: Path, name: str) -> None:
    _, model = _saved(tmp_path)
    with pytest.raises(ConfigurationError, match="no layer"):
        export.layer_weights(model, name)
