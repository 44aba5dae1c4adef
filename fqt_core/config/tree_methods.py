"""Methods that grow trees from a table instead of training a network: one row each (see :mod:`.method`)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from fqt_core.config.method_base import FULL_BITS, Arithmetic, MethodConfig, Task


class Gbdt(MethodConfig):
    """Gradient boosted trees by LightGBM, whose histograms add up quantised gradients."""

    title: ClassVar[str] = "Gradient boosted trees with quantised gradients (LightGBM)"
    summary: ClassVar[str] = (
        "For tables: boosted trees whose histograms are sums of small integers, gradients being rounded "
        "stochastically; beside them, in the same job, the same trees from gradients in full precision."
    )
    source: ClassVar[str] = "arXiv 2207.09682; LightGBM"
    task: ClassVar[Task] = "tabular"

    name: Literal["gbdt"] = "gbdt"
    iterations: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description="Boosting iterations: one tree each, or one per class with more than two.",
    )
    learning_rate: float = Field(default=0.1, gt=0, le=1, description="What each tree's leaves are multiplied by.")
    num_leaves: int = Field(default=31, ge=2, le=4096, description="Leaves of a tree at most.")
    max_depth: int | None = Field(default=None, ge=1, le=100, description="Depth of a tree at most; null: any.")
    min_data_in_leaf: int = Field(default=20, ge=1, le=1_000_000, description="Rows of a leaf at least.")
    lambda_l2: float = Field(default=0, ge=0, le=1e6, description="L2 penalty of leaf values.")
    max_bin: int = Field(default=255, ge=2, le=1023, description="Bins that a column's values are sorted into at most.")
    use_quantized_grad: bool = Field(
        default=True, description="Quantise gradients and hessians; false: full precision only, and nothing to compare."
    )
    num_grad_quant_bins: int = Field(
        default=4,
        ge=2,
        le=64,
        multiple_of=2,
        description="Bins B of the quantised gradients: codes -B/2 to B/2, of hessians 0 to B. 4 is what the paper "
        "calls 2 bits, 32 what it calls 5.",
    )
    stochastic_rounding: bool = Field(
        default=True, description="Round quantised gradients stochastically; false: to the nearest code, with a bias."
    )
    quant_train_renew_leaf: bool = Field(
        default=True,
        description="Fit each leaf's value anew with the gradients in full precision, once the tree is grown.",
    )
    compare: bool = Field(
        default=True, description="Grow the same trees with gradients in full precision as well, and compare both."
    )
    bagging_fraction: float = Field(
        default=1,
        gt=0,
        le=1,
        description="Share of the rows that each tree is grown on; less than 1 in full precision only.",
    )
    feature_fraction: float = Field(
        default=1,
        gt=0,
        le=1,
        description="Share of the columns that each tree may use; less than 1 in full precision only.",
    )

    @field_validator("bagging_fraction", "feature_fraction")
    @classmethod
    def _parts_crash_with_quantised_gradients(cls, fraction: float, info: ValidationInfo) -> float:
        if fraction < 1 and info.data.get("use_quantized_grad"):
            raise ValueError(
                f"{info.field_name} below 1 with quantised gradients sums the wrong rows and may crash in LightGBM 4.6 "
                "and 4.7 (pull request 7397 of LightGBM mends it): use 1, or use_quantized_grad false"
            )
        return fraction

    @property
    def arithmetic(self) -> Arithmetic:
        """See :class:`MethodConfig`: that of the histograms."""
        return "integer" if self.use_quantized_grad else "float"

    @property
    def forward_bits(self) -> int:
        """See :class:`MethodConfig`: there is no network, so none of its layers is converted."""
        return FULL_BITS

    @property
    def compares(self) -> bool:
        """Whether there is a run in full precision besides the quantised one."""
        return self.compare and self.use_quantized_grad
