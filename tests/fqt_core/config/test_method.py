from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from fqt_core.config import METHODS, PRESETS, Fqt, LayerOverride, Method, Psq, Qat
from fqt_core.config.preset import PresetName
from fqt_core.config.setting import KEPT_PARTS, LEAST_BUDGET, settings
from fqt_core.errors import ConfigurationError


@pytest.mark.parametrize(
    ("name", "options", "field", "message"),
    [
        (
            "fqt",
            {"rounding": "dither"},
            "rounding",
            "'dither' needs groups 'pixel'; use that, or rounding 'stochastic'",
        ),
        ("fqt", {"pruning": "none", "keep": 0.5}, "keep", "leave out keep, or use pruning 'systematic'"),
        ("fqt", {"bits": 3}, "bits", "1, 2, 4, 8 or 'auto'"),
        ("fqt", {"bits": "auto", "preset": "fast"}, "bits", "leave out preset, or bits"),
        ("fqt", {"bits": "auto", "keep": 0.5}, "keep", "leave out keep, or give bits as 1, 2, 4 or 8"),
        ("fqt", {"bits": "auto", "clip": 2}, "clip", "leave out clip, or give bits"),
        ("fqt", {"bits": "auto", "pruning": "topk"}, "pruning", "needs pruning 'systematic' or 'bernoulli'"),
        ("fqt", {"bits": "auto", "budget": 0.1}, "budget", "greater than or equal to 0.25"),
        ("fqt", {"bits": "auto", "budget": 9}, "budget", "less than or equal to 8"),
        ("fqt", {"budget": 1}, "budget", "a budget is for bits 'auto'"),
        ("fqt", {"bits": "auto", "overrides": [{"pattern": "*", "clip": 2}]}, "", "overrides.0: where bits are 'auto'"),
        ("fqt", {"clip": 0}, "clip", "greater than 0"),
        ("fqt", {"preset": "slow"}, "preset", "'fast', 'balanced' or 'accurate'"),
        ("fqt", {"overrides": [{"pattern": ""}]}, "overrides", "at least 1 character"),
        ("fqt", {"overrides": [{"pattern": "*", "precision": "qat", "bits": 2}]}, "overrides", "leave out bits"),
        ("fqt", {"overrides": [{"pattern": "*", "rounding": "dither"}]}, "", "overrides.0: rounding 'dither' needs"),
        ("psq", {"overrides": [{"pattern": "*", "keep": 0.5}]}, "", "overrides.0: method 'psq' has no keep"),
        ("fp32", {"overrides": []}, "overrides", "Extra inputs"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    name: str, options: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        Method(name, **options)
    (fault,) = caught.value.errors()
    assert field in {"", *fault["loc"]}
    assert message in fault["msg"]


def test_bits_and_the_kept_share_are_apart() -> None:
    method = Method("fqt", bits=8, keep=0.25)
    for quantizer in (method.input_gradient, method.weight_gradient):
        assert quantizer is not None
        assert (quantizer.bits, quantizer.keep, quantizer.average_bits) == (8, 0.25, 2)
    assert Method("fqt", bits=8).average_bits == 1
    assert Method("fqt", bits=8, pruning="none").average_bits == 8
    assert Method("psq", bits=2).average_bits == 2
    assert Method("qat").average_bits == Method("fp32").average_bits == 32


def test_bits_that_are_chosen_cost_their_budget_and_leave_the_rest_to_the_user() -> None:
    overrides = [{"pattern": "a", "bits": 2}, {"pattern": "b", "precision": "full"}]
    method = Fqt(bits="auto", pruning="bernoulli", overrides=overrides)
    assert method.chooses_bits
    assert (method.average_bits, Fqt(bits="auto", budget=2).average_bits) == (1, 2)
    assert method.for_layer("a") == Fqt(bits=2, pruning="bernoulli")
    assert method.for_layer("b") is None
    open_layer = method.for_layer("c")
    assert open_layer is not None
    assert open_layer.chooses_bits
    with pytest.raises(ConfigurationError, match="chosen by a run"):
        open_layer.input_gradient  # noqa: B018 - asking is what fails
    settled = method.settled([LayerOverride(pattern="*", bits=8, keep=0.25)])
    assert settled.for_layer("a") == method.for_layer("a")
    assert settled.for_layer("c") == Fqt(bits=8, keep=0.25, pruning="bernoulli")
    for groups in ("sample-channel", "pixel"):
        first, *_, last = settings(groups)
        assert (first.bits, first.keep, first.clip, last.exact) == (8, 1, None, True)
        assert min(setting.cost for setting in settings(groups)) == LEAST_BUDGET * KEPT_PARTS


def test_pixel_rows_serve_both_products() -> None:
    method = Method("fqt", groups="pixel", rounding="dither", bits=2, clip=2.5)
    assert method.input_gradient == method.weight_gradient
    assert str(method.input_gradient) == "2 bits, 0.5 kept (systematic), pixel rows, dither, clip 2.5"


def test_presets_fill_in_what_is_not_given() -> None:
    assert get_args(PresetName) == tuple(PRESETS)
    for name, preset in PRESETS.items():
        method = Fqt(preset=name)
        assert {option: getattr(method, option) for option in preset.options} == dict(preset.options)
        assert set(preset.options) == {"bits", "groups", "pruning", "keep", "rounding", "clip"}
    assert Fqt(preset="accurate", bits=8).bits == 8
    assert Fqt(preset="fast").average_bits == 1


OVERRIDDEN = Method(
    "fqt",
    preset="fast",
    overrides=[
        {"pattern": "a.*.conv1", "bits": 8, "pruning": "none"},
        {"pattern": "a.*", "precision": "qat"},
        {"pattern": "[bc]", "precision": "full"},
        {"pattern": "d", "clip": 2},
    ],
)


@pytest.mark.parametrize(
    "method", [OVERRIDDEN, *(row() for row in METHODS.values()), Fqt(bits="auto", budget=2)], ids=lambda m: m.name
)  # type: ignore[call-arg]
def test_a_method_survives_json(method: Any) -> None:
    assert Method(**json.loads(method.model_dump_json())) == method


def test_the_first_override_that_matches_counts() -> None:
    first = OVERRIDDEN.for_layer("a.0.conv1")
    assert isinstance(first, Fqt)
    assert (first.bits, first.pruning, first.keep, first.overrides) == (8, "none", None, ())
    assert OVERRIDDEN.for_layer("a.0.conv2") == Qat()
    assert OVERRIDDEN.for_layer("b") is None
    clipped, plain = OVERRIDDEN.for_layer("d"), OVERRIDDEN.for_layer("A.0")
    assert isinstance(clipped, Fqt)
    assert isinstance(plain, Fqt)
    assert (clipped.clip, clipped.bits, plain.clip, plain.bits) == (2, 4, None, 4)


def test_the_arithmetic_is_that_of_the_least_exact_layer() -> None:
    assert Method("fqt", overrides=[{"pattern": "*", "precision": "full"}]).arithmetic == "integer"
    assert OVERRIDDEN.arithmetic == "float"
    assert Psq(weight_groups="channel").arithmetic == "integer"
    assert Psq().arithmetic == "simulated"
