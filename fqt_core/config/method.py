"""The methods that a network can be trained with, or trees be grown: one row per method, each a frozen config that
survives JSON.

A row names the quantisers of the forward pass and of the two gradient paths, and declares the arithmetic that its
products run in. Adding a method is adding a class here and to :data:`AnyMethod`; everything else (JSON schema, form,
validation, documentation) reads the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, TypeAdapter, ValidationInfo, field_validator, model_validator

from fqt_core.config.byte_methods import AdaptiveInt8, LgLsq, Lsq, StatQuant, UnifiedInt8
from fqt_core.config.method_base import FULL_BITS, UNCHOSEN, Arithmetic, MethodConfig, OneBitForward, Qat
from fqt_core.config.override import LayerOverride
from fqt_core.config.preset import PRESETS, PresetName
from fqt_core.config.quantizer import Bits, BitsOrAuto, GradientQuantizer, Groups, Pruning, Rounding
from fqt_core.config.setting import DEFAULT_BUDGET, LEAST_BUDGET, MOST_BUDGET
from fqt_core.config.tree_methods import Gbdt
from fqt_core.errors import ConfigurationError


class Fp32(MethodConfig):
    """Full precision everywhere: plain PyTorch, for comparison."""

    title: ClassVar[str] = "Full precision (FP32)"
    summary: ClassVar[str] = "Weights, activations and gradients in 32-bit floating point."
    source: ClassVar[str] = "PyTorch"

    name: Literal["fp32"] = "fp32"

    @property
    def arithmetic(self) -> Arithmetic:
        """See :class:`MethodConfig`."""
        return "float"

    @property
    def forward_bits(self) -> int:
        """See :class:`MethodConfig`."""
        return FULL_BITS


class Psq(OneBitForward):
    """1-bit forward pass, per-sample quantised gradients without pruning: the paper's baseline."""

    title: ClassVar[str] = "Per-sample quantised gradients (PSQ)"
    summary: ClassVar[str] = "Weights and activations at one bit, gradients at `bits` bits with one scale per sample."
    source: ClassVar[str] = "arXiv 2010.14298; baseline of arXiv 2408.14267"

    name: Literal["psq"] = "psq"
    bits: Bits = Field(default=1, description="Bits per gradient element.")
    weight_groups: Literal["sample", "channel"] = Field(
        default="sample",
        description="Scale groups of the weight gradient. `sample` is the paper's baseline (its scale stands inside "
        "the sum, so that product is simulated in floating point); `channel` runs in integers.",
    )
    clip: float | None = Field(
        default=None, gt=0, le=10, description="Narrow each group's range to mean ± clip·σ before quantising."
    )

    @property
    def _arithmetic(self) -> Arithmetic:
        return "simulated" if self.weight_groups == "sample" else "integer"

    @property
    def input_gradient(self) -> GradientQuantizer:
        """See :class:`MethodConfig`."""
        return GradientQuantizer("sample", self.bits, clip=self.clip)

    @property
    def weight_gradient(self) -> GradientQuantizer:
        """See :class:`MethodConfig`."""
        return GradientQuantizer(self.weight_groups, self.bits, clip=self.clip)


class Fqt(OneBitForward):
    """1-bit fully quantised training: activation gradient pruning (AGP) and sample-channel joint quantisation (SCQ)."""

    title: ClassVar[str] = "1-bit fully quantised training (FQT)"
    summary: ClassVar[str] = (
        "Weights, activations and gradients at one bit on average: a fraction 1/bits of the gradient's groups is kept, "
        "at `bits` bits each; samples share a scale for dL/dX, channels for dL/dW."
    )
    source: ClassVar[str] = "arXiv 2408.14267"

    name: Literal["fqt"] = "fqt"
    preset: PresetName | None = Field(
        default=None,
        description="A named set of the options below; those that are given as well count more. "
        + " ".join(f"`{name}`: {preset.summary}" for name, preset in PRESETS.items()),
    )
    bits: BitsOrAuto = Field(
        default=4,
        description="Bits per element of a kept gradient group. `auto` chooses `bits`, `keep` and `clip` of each layer "
        "from a short probe before the first step, so that the gradients are least noisy within the `budget`.",
    )
    budget: float | None = Field(
        default=None,
        ge=LEAST_BUDGET,
        le=MOST_BUDGET,
        description="With bits `auto`: bits per gradient element on average over the layers that are chosen for; null: "
        f"{DEFAULT_BUDGET:g}.",
    )
    groups: Literal["sample-channel", "pixel"] = Field(
        default="sample-channel",
        description="What is kept or dropped: samples for dL/dX and channels for dL/dW (SCQ), or pixel rows, the "
        "channels of one sample and pixel, for both.",
    )
    pruning: Pruning = Field(
        default="systematic",
        description="How kept groups are chosen. `systematic` and `bernoulli` are unbiased; `topk` is biased; "
        "`none` keeps all groups.",
    )
    keep: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Fraction of gradient groups that is kept; null means 1/bits: one bit per element on average.",
    )
    rounding: Rounding = Field(
        default="stochastic",
        description="`stochastic`, or `dither`: subtractive dither, with less noise at the same bits; it needs groups "
        "`pixel`.",
    )
    clip: float | None = Field(
        default=None,
        gt=0,
        le=10,
        description="Narrow each range to mean ± clip·σ before quantising, of pixel rows to ± clip times the root mean "
        "square (2.5 is good with 2 bits): a small bias for much less variance. null: the whole range.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_preset(cls, options: Any) -> Any:
        name = options.get("preset") if isinstance(options, dict) and options.get("bits") != "auto" else None
        filled_in = next((preset.options for known, preset in PRESETS.items() if known == name), None)
        return options if filled_in is None else {**filled_in, **options}

    @field_validator("bits")
    @classmethod
    def _auto_goes_without_preset(cls, bits: BitsOrAuto, info: ValidationInfo) -> BitsOrAuto:
        if bits == "auto" and info.data.get("preset") is not None:
            raise ValueError("bits 'auto' chooses what a preset names: leave out preset, or bits")
        return bits

    @field_validator("budget")
    @classmethod
    def _budget_is_for_auto(cls, budget: float | None, info: ValidationInfo) -> float | None:
        if budget is not None and info.data.get("bits", "auto") != "auto":
            raise ValueError("a budget is for bits 'auto'; use that, or leave out budget")
        return budget

    @field_validator("keep", "clip")
    @classmethod
    def _auto_chooses_it(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("bits") == "auto":
            raise ValueError(f"bits 'auto' chooses it: leave out {info.field_name}, or give bits as 1, 2, 4 or 8")
        return value

    @field_validator("pruning")
    @classmethod
    def _auto_is_unbiased(cls, pruning: Pruning, info: ValidationInfo) -> Pruning:
        if info.data.get("bits") == "auto" and pruning not in {"systematic", "bernoulli"}:
            raise ValueError("bits 'auto' needs pruning 'systematic' or 'bernoulli'; which layers keep all it chooses")
        return pruning

    @field_validator("keep")
    @classmethod
    def _keep_needs_pruning(cls, keep: float | None, info: ValidationInfo) -> float | None:
        if info.data.get("pruning") == "none" and keep not in {None, 1.0}:
            raise ValueError(
                f"pruning 'none' keeps all groups, not {keep:g} of them: leave out keep, or use pruning 'systematic'"
            )
        return keep

    @field_validator("rounding")
    @classmethod
    def _dither_needs_pixel_rows(cls, rounding: Rounding, info: ValidationInfo) -> Rounding:
        if rounding == "dither" and info.data.get("groups") == "sample-channel":
            raise ValueError("rounding 'dither' needs groups 'pixel'; use that, or rounding 'stochastic'")
        return rounding

    @property
    def _arithmetic(self) -> Arithmetic:
        return "integer"

    @property
    def kept_fraction(self) -> float:
        """The fraction of groups kept, with the default resolved."""
        if self.pruning == "none":
            return 1.0
        return self.keep if self.keep is not None else 1.0 / self._settled_bits

    @property
    def chooses_bits(self) -> bool:
        """See :class:`MethodConfig`."""
        return self.bits == "auto"

    @property
    def settled_budget(self) -> float:
        """Average bits per gradient element that bits ``auto`` may spend, with the default resolved."""
        return DEFAULT_BUDGET if self.budget is None else self.budget

    @property
    def average_bits(self) -> float:
        """See :class:`MethodConfig`; while bits are still to be chosen, the budget."""
        return self.settled_budget if self.chooses_bits else super().average_bits

    def with_options(self, **options: Any) -> Fqt:
        """What bits ``auto`` leaves to the user, with options in place of what it chooses; without overrides."""
        return Fqt(**self.model_dump(include={"groups", "pruning", "rounding", "weight_scale"}) | options)

    def settled(self, overrides: Sequence[LayerOverride]) -> Fqt:
        """The method with the layers that were chosen for as overrides, behind those that the user gave."""
        return self.with_options(overrides=(*self.overrides, *overrides))

    @property
    def input_gradient(self) -> GradientQuantizer:
        """See :class:`MethodConfig`."""
        return self._quantizer("sample" if self.groups == "sample-channel" else "pixel")

    @property
    def weight_gradient(self) -> GradientQuantizer:
        """See :class:`MethodConfig`."""
        return self._quantizer("channel" if self.groups == "sample-channel" else "pixel")

    def _quantizer(self, groups: Groups) -> GradientQuantizer:
        return _quantizer(groups, self._settled_bits, self.kept_fraction, self.pruning, self.clip, self.rounding)

    @property
    def _settled_bits(self) -> Bits:
        if self.bits == "auto":
            raise ConfigurationError(UNCHOSEN)
        return self.bits

    def _changed(self, options: Mapping[str, Any]) -> MethodConfig:
        if not self.chooses_bits or not options:
            return super()._changed(options)
        if "bits" not in options:
            raise ValueError("where bits are 'auto', an override gives its bits too, or precision 'qat' or 'full'")
        return self.with_options(**options)


@lru_cache(maxsize=1024)
def _quantizer(
    groups: Groups, bits: Bits, keep: float, pruning: Pruning, clip: float | None, rounding: Rounding
) -> GradientQuantizer:
    """Asked for several times per layer and step."""
    return GradientQuantizer(groups, bits, keep, pruning, clip, rounding)


AnyMethod = Annotated[
    Fp32 | Qat | Psq | Fqt | StatQuant | UnifiedInt8 | AdaptiveInt8 | Lsq | LgLsq | Gbdt, Field(discriminator="name")
]

METHODS: dict[str, type[MethodConfig]] = {
    row.model_fields["name"].default: row for row in get_args(get_args(AnyMethod)[0])
}
_ADAPTER: TypeAdapter[MethodConfig] = TypeAdapter(AnyMethod)


def Method(name: str, **options: Any) -> MethodConfig:  # noqa: N802 - reads as the class it stands for
    """Build the config of the method ``name``, e.g. ``Method("fqt", bits=4, pruning="systematic")``.

    Raises:
        pydantic.ValidationError: unknown name, unknown option, or a value that is not allowed (a ``ValueError``).
    """
    return _ADAPTER.validate_python({"name": name, **options})
