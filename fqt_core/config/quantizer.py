"""How one gradient path is quantised: what a method's row resolves to, and the allowed values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Bits: TypeAlias = Literal[1, 2, 4, 8]
BitsOrAuto: TypeAlias = Literal[1, 2, 4, 8, "auto"]
Pruning: TypeAlias = Literal["none", "topk", "bernoulli", "systematic"]
Groups: TypeAlias = Literal["sample", "channel", "pixel", "tensor", "householder"]
Rounding: TypeAlias = Literal["stochastic", "dither"]


@dataclass(frozen=True)
class GradientQuantizer:
    """How one gradient path is quantised (ALGORITHM: affine, per group).

    ``groups`` is the axis that pruning chooses from and, but for ``pixel``, that shares a scale; all share one with
    ``tensor``, and with ``householder`` samples are mixed first, which goes without pruning; ``bits`` (1 to 8) the code
    width; ``keep`` the fraction of groups that is kept (1.0 keeps all); ``pruning`` how the kept ones are chosen;
    ``clip`` narrows a group's range to mean ± clip·σ (of pixel rows: to ± clip times its root mean square);
    ``rounding`` what makes the codes unbiased.
    """

    groups: Groups
    bits: int
    keep: float = 1.0
    pruning: Pruning = "none"
    clip: float | None = None
    rounding: Rounding = "stochastic"

    @property
    def average_bits(self) -> float:
        """Bits per gradient element, averaged over kept and dropped groups."""
        return self.bits * self.keep

    def __str__(self) -> str:
        parts = [f"{self.bits} bit{'s' if self.bits > 1 else ''}"]
        if self.pruning != "none":
            parts.append(f"{self.keep:.4g} kept ({self.pruning})")
        if self.groups == "pixel":
            parts.append("pixel rows")
        if self.groups == "householder":
            parts.append("block Householder")
        if self.rounding != "stochastic":
            parts.append(self.rounding)
        if self.clip is not None:
            parts.append(f"clip {self.clip:g}")
        return ", ".join(parts)
