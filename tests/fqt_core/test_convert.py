"""convert_ on networks of every make: what is swapped, what is kept and why, and what the report says."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from fqt_core import ops
from fqt_core.config import Method, MethodConfig
from fqt_core.conversion.report import ConversionReport
from fqt_core.convert import convert_
from fqt_core.errors import ConfigurationError, ConversionError
from fqt_core.export.format import pack_bits, unpack_bits
from fqt_core.layers import BinaryConv2d, BinaryLayer, BinaryLinear, IntegerLayer, PackedLinear
from fqt_core.layers.products import ConvProduct
from fqt_core.models import build

METHODS = [Method("qat"), Method("psq"), Method("fqt"), Method("qat", weight_scale="learned")]


def _chain(*middle: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), *middle, nn.Flatten(), nn.LazyLinear(2))


def _actions(report: ConversionReport) -> dict[str, str]:
    return {row.name: row.action for row in report.rows}


def _reason(report: ConversionReport, name: str) -> str:
    return next(row.reason for row in report.rows if row.name == name)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method.name}-{method.weight_scale}")
def test_middle_layers_are_converted_and_share_one_state(method: MethodConfig) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 1)), nn.Conv2d(8, 2, 1))
    weights = dict(model.named_parameters())
    report = convert_(model, method, seed=7)
    layers = [module for module in model.modules() if isinstance(module, BinaryLayer)]
    assert [layer.layer_name for layer in layers] == ["1.0", "1.1"]
    assert [layer.layer_index for layer in layers] == [0, 1]
    assert all(layer.state is model.fqt_state for layer in layers)
    assert (model.fqt_state.seed, model.fqt_state.step) == (7, 0)
    assert all(dict(model.named_parameters())[name] is parameter for name, parameter in weights.items())
    assert _actions(report) == {"0": "kept", "1.0": "converted", "1.1": "converted", "2": "kept"}
    assert model.fqt_report is report
    assert report.arithmetic == method.arithmetic
    assert report.isa == ops.isa()
    assert report.binary_parameters == 8 * 8 * 9 + 8 * 8
    assert report.parameters == sum(parameter.numel() for parameter in model.parameters())
    model(torch.randn(2, 3, 8, 8)).sum().backward()


def test_fp32_changes_nothing_and_says_so() -> None:
    model = build("resnet18", num_classes=3, width=0.0625, image_size=8)
    before = copy.deepcopy(model)
    report = convert_(model, Method("fp32"))
    assert str(model) == str(before)
    assert not hasattr(model, "fqt_state")
    assert set(_actions(report).values()) == {"kept"}
    assert "nothing was changed" in str(report)
    assert (report.arithmetic, report.isa, report.binary_share) == ("float", "torch", 0)
    convert_(model, Method("fqt"))  # no conversion has happened, so this is the first


def test_double_conversion_is_an_error_with_a_remedy() -> None:
    model = build("vgg16", num_classes=3, width=0.0625, image_size=8)
    convert_(model, Method("qat"))
    with pytest.raises(
        ConversionError, match=r"converted already: layer 'features\.3'.*'qat'; build the network afresh"
    ):
        convert_(model, Method("fqt"))
    packed = BinaryLinear.from_packed(ops.pack_sign(torch.randn(4, 4)), None, None, in_features=4)
    assert isinstance(packed, PackedLinear)
    with pytest.raises(ConversionError, match="for inference"):
        convert_(nn.Sequential(nn.Linear(4, 4), packed, nn.Linear(4, 4)), Method("fp32"))


def test_a_network_without_candidates_is_an_error_and_stays_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Conv1d(4, 4, 1), nn.Linear(4, 2))
    before = str(model)
    with pytest.raises(ConversionError, match=r"no layer .* \(0: first weight layer.*2: Conv1d is not supported"):
        convert_(model, Method("qat"))
    assert str(model) == before
    with pytest.raises(ConversionError, match="no weight layers"):
        convert_(nn.ReLU(), Method("qat"))
    with pytest.raises(ConversionError, match="left out by filter_fn"):
        convert_(build("resnet18", num_classes=2), Method("qat"), filter_fn=lambda *_: False)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ConfigurationError, match="seed must be"):
        convert_(build("resnet18", num_classes=2), Method("qat"), seed=seed)


class _Subclass(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 2


def _hooked() -> nn.Module:
    layer = nn.Conv2d(4, 4, 1)
    layer.register_forward_hook(lambda *_: None)
    return layer


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "padding_mode='reflect' is not supported"),
        (nn.ConvTranspose2d(4, 4, 3), "ConvTranspose2d is not supported"),
        (nn.Conv3d(4, 4, 1), "Conv3d is not supported"),
        (nn.Conv2d(4, 4, 2, padding="same"), "padding='same' of an even kernel"),
        (nn.Conv2d(4, 4, 1).double(), "torch.float64; binarised layers train in torch.float32"),
        (nn.LazyConv2d(4, 1), "its shape is not known yet; run the network once first"),
        (parametrizations.weight_norm(nn.Conv2d(4, 4, 1)), "its weight is parametrised"),
        (_Subclass(4, 4, 1), "_Subclass has a forward pass of its own"),
        (_hooked(), "hooks are registered on it"),
    ],
)
def test_what_is_not_supported_is_kept_with_the_reason(layer: nn.Module, reason: str) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), layer, nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1))
    report = convert_(model, Method("qat"))
    assert model[1] is layer
    assert reason in _reason(report, "1")
    assert isinstance(model[2], BinaryConv2d)


def test_same_padding_of_an_odd_kernel_is_converted() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, padding="same", dilation=2), nn.Conv2d(4, 2, 1))
    shape = model(torch.randn(1, 1, 9, 9)).shape
    convert_(model, Method("qat"))
    assert isinstance(model[1], BinaryConv2d)
    assert model(torch.randn(1, 1, 9, 9)).shape == shape


def test_layers_whose_parent_reads_their_weight_are_kept() -> None:
    model = nn.Sequential(
        nn.Linear(8, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 8), nn.Linear(8, 2)
    )
    report = convert_(model, Method("qat"))
    assert report.names("converted") == ["2"]
    assert "TransformerEncoderLayer reads its weight" in _reason(report, "1.linear1")
    assert "MultiheadAttention reads its weight" in _reason(report, "1.self_attn.out_proj")


def test_filter_fn_keeps_layers() -> None:
    model = build("vgg16", num_classes=3, width=0.0625, image_size=8)
    seen: list[str] = []

    def only_late(name: str, module: nn.Module) -> bool:
        seen.append(name)
        assert isinstance(module, nn.Conv2d)
        return int(name.split(".")[1]) >= 30

    report = convert_(model, Method("qat"), filter_fn=only_late)
    assert report.names("converted") == ["features.30", "features.34", "features.37", "features.40"]
    assert _reason(report, "features.3") == "left out by filter_fn"
    assert "features.0" not in seen


def test_a_module_used_twice_is_converted_once_in_both_places() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(1, 4, 3)
            self.shared = nn.Conv2d(4, 4, 1)
            self.again = nn.Sequential(self.shared)
            self.last = nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.last(self.again(self.shared(self.first(x))))
            return result

    model = Twice()
    report = convert_(model, Method("qat"))
    assert isinstance(model.shared, BinaryConv2d)
    assert model.again[0] is model.shared
    assert report.names("converted") == ["shared"]
    model(torch.randn(1, 1, 5, 5)).sum().backward()


def test_the_forward_pass_is_the_sign_network_of_the_same_latents() -> None:
    """Against plain torch: signs of weights and inputs, mean scale, everything else untouched."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1),
                          nn.BatchNorm2d(6), nn.Conv2d(6, 2, 1)).eval()  # fmt: skip
    weight, bias = model[3].weight.detach(), model[3].bias.detach()
    x = torch.randn(2, 1, 7, 7)
    h = model[1](model[0](x))
    signs = torch.where(h >= 0, 1.0, -1.0)
    scale = weight.abs().mean((1, 2, 3)).view(1, -1, 1, 1)
    y = nn.functional.conv2d(signs, torch.where(weight >= 0, 1.0, -1.0), padding=1) * scale + bias.view(1, -1, 1, 1)
    expected = model[5](model[4](y))
    convert_(model, Method("fqt"))
    torch.testing.assert_close(model(x), expected)


def test_the_mode_of_the_network_is_kept() -> None:
    model = build("resnet18", num_classes=2, width=0.0625, image_size=8).eval()
    convert_(model, Method("qat"))
    assert not any(module.training for module in model.modules() if isinstance(module, BinaryLayer))


def test_the_report_is_a_table_and_plain_data() -> None:
    model = build("resnet18", num_classes=3, width=0.0625, image_size=8, channels=1)
    report = convert_(model, Method("fqt"))
    lines = str(report).splitlines()
    assert lines[0].split() == ["layer", "kind", "action", "weights", "arithmetic", "isa", "gradient", "reason"]
    column = lines[0].index("action")
    assert all(line[column : column + 4].strip() for line in lines[2 : 2 + len(report.rows)])
    assert "parameters are one bit" in lines[-1]
    rows: list[dict[str, Any]] = json.loads(json.dumps(report.to_json()))
    assert len(rows) == len(report.rows)
    converted = next(row for row in rows if row["name"] == "layer1.0.conv1")
    assert (converted["kind"], converted["weights"], converted["arithmetic"]) == ("Conv2d", 8 * 8 * 9, "integer")
    assert converted["isa"] == ops.isa()
    order = [row["name"] for row in rows]
    assert order == sorted(order, key=[name for name, _ in model.named_modules()].index)
    assert json.loads(json.dumps(report.totals()))["method"] == "fqt"
    assert _reason(report, "layer2.0.downsample.0") == "carries the full-precision shortcut"


def test_the_report_says_which_layers_only_portable_kernels_take() -> None:
    middle = [nn.Conv2d(64, 64, 3, groups=groups) for groups in (1, 16, 32)]
    model = nn.Sequential(nn.Conv2d(3, 64, 3), *middle, nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 2))
    report = convert_(model, Method("fqt"))
    found = {row.name: (row.isa, row.reason) for row in report.rows if row.action == "converted"}
    portable = ("portable", "only portable kernels take groups of fewer than 4 channels")
    chosen = (ops.slowest(ConvProduct.operations), "")  # not each set of instructions has kernels of its own
    slow = ops.isa() not in ("reference", "portable")
    assert found == {"1": chosen, "2": chosen, "3": portable if slow else chosen, "5": chosen}
    notes = [f"on {chosen[0]} kernels, for there are none for {ops.isa()}: 1, 2, 5"] if chosen[0] != ops.isa() else []
    assert list(report.notes) == [*notes, *([f"on portable kernels, for {portable[1]}: 3"] if slow else [])]
    with_many_terms = nn.Sequential(nn.Linear(3, 8), nn.Linear(40000, 8), nn.Linear(8, 2))
    notes = convert_(with_many_terms, Method("qat")).notes if slow else ("more than 32767",)
    assert any("more than 32767" in note for note in notes)


def test_a_converted_network_can_be_copied() -> None:
    model = build("resnet18", num_classes=2, width=0.0625, image_size=8)
    convert_(model, Method("fqt"))
    twin = copy.deepcopy(model)
    assert twin.fqt_state is not model.fqt_state
    assert all(layer.state is twin.fqt_state for layer in twin.modules() if isinstance(layer, BinaryLayer))


@pytest.mark.parametrize("elements", [1, 7, 8, 9, 72])
def test_bits_are_packed_as_documented(elements: int) -> None:
    weight = torch.randn(elements)
    weight[0] = 0.0
    packed = pack_bits(weight)
    assert packed.dtype == torch.uint8
    assert len(packed) == -(-elements // 8)
    for index, value in enumerate(weight.tolist()):
        assert (int(packed[index // 8]) >> index % 8) & 1 == (value >= 0)
    assert sum(int(byte).bit_count() for byte in packed) == int((weight >= 0).sum())
    assert torch.equal(unpack_bits(packed, weight.shape), torch.where(weight >= 0, 1.0, -1.0))


OVERRIDES = [
    {"pattern": "features.3", "bits": 8, "keep": 0.5},
    {"pattern": "features.7", "precision": "qat"},
    {"pattern": "features.1?", "precision": "full"},
]


def test_overrides_give_layers_methods_of_their_own() -> None:
    model = build("vgg16", num_classes=2, width=0.0625, image_size=16)
    method = Method("fqt", overrides=OVERRIDES)
    report = convert_(model, method)
    rows = {row.name: row for row in report.rows}
    assert rows["features.3"].gradient == "8 bits, 0.5 kept (systematic), by override 'features.3'"
    assert rows["features.7"].gradient == "full precision, by override 'features.7'"
    assert (rows["features.7"].arithmetic, rows["features.3"].arithmetic, report.arithmetic) == (
        "float",
        "integer",
        "float",
    )
    assert rows["features.20"].gradient == "4 bits, 0.25 kept (systematic)"
    full = [row.name for row in report.rows if row.reason == "full precision by override 'features.1?'"]
    assert full == ["features.10", "features.14", "features.17"]
    assert all(type(model.get_submodule(name)) is nn.Conv2d for name in full)
    first = model.get_submodule("features.3")
    assert isinstance(first, BinaryLayer)
    assert first.method == Method("fqt", bits=8, keep=0.5)
    (chain,) = [row for row in report.rows if "one by one" in row.reason]
    assert chain.reason == "its layers run one by one: gradients stay in full precision"
    assert model.fqt_method == method


def test_layers_with_other_bits_stay_in_one_chain() -> None:
    model = build("vgg16", num_classes=2, width=0.0625, image_size=16)
    report = convert_(model, Method("fqt", overrides=[{"pattern": "features.2*", "bits": 8, "pruning": "none"}]))
    assert [row.reason for row in report.rows if row.action == "fused"] == [
        "12 binarised convolutions run as one chain"
    ]
    model(torch.randn(4, 3, 16, 16)).square().sum().backward()
    dense, pruned = (model.get_submodule(name).weight.grad for name in ("features.20", "features.30"))
    assert isinstance(dense, torch.Tensor)
    assert isinstance(pruned, torch.Tensor)
    assert all(bool(channel.any()) for channel in dense)
    assert sum(bool(channel.any()) for channel in pruned) == len(pruned) // 4


def test_an_override_that_matches_no_layer_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2))
    for pattern in ("0", "layer*"):  # the first layer is never binarised
        method = Method("qat", overrides=[{"pattern": pattern, "precision": "full"}])
        with pytest.raises(ConfigurationError, match=r"overrides\.0: pattern .* matches no layer .* these can: 1$"):
            convert_(model, method)
    assert all(type(layer) is nn.Linear for layer in model)


def test_methods_that_multiply_bytes_swap_layers_and_nothing_else() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 4, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(2),
    )
    model(torch.randn(2, 3, 10, 10))
    weight = model[3].weight
    report = convert_(model, Method("unified-int8"))
    assert report.names("converted") == ["3"]
    assert [row.reason for row in report.rows if row.name == "2"] == ["products of bytes go without groups"]
    assert (report.arithmetic, report.isa, report.binary_parameters) == ("integer", ops.isa(), 0)
    assert isinstance(model[3], IntegerLayer)
    assert model[3].weight is weight
    assert isinstance(model[4], nn.ReLU)
    with pytest.raises(ConversionError, match="layer '3' is quantised for method 'unified-int8'"):
        convert_(model, Method("lsq"))
    with pytest.raises(ConversionError, match="no layer of the network can be quantised"):
        convert_(nn.Sequential(nn.Linear(2, 2)), Method("lsq"))
