"""What `bits: auto` of ``fqt`` chooses from: settings of one layer's gradient quantiser. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fqt_core.config.quantizer import Bits

LEAST_BUDGET, MOST_BUDGET = 0.25, 8.0
"""Average bits per gradient element that can be asked for: all layers at the cheapest setting, or at dense 8 bits."""

DEFAULT_BUDGET = 1.0

EXACT_BITS = 32
"""What a layer costs whose gradient stays in full precision."""

KEPT_PARTS = 16
"""Kept fractions are multiples of 1 / this, so that costs are integers."""

MOST_IMAGES, FEWEST_IMAGES = 64, 4
"""Images of a probed batch; a smaller batch gives all that it has."""

MOST_PIXELS = 32 * 32 * 32
"""Pixels of a probed batch of more than the fewest images: layers run one by one, and their floats take memory."""


@dataclass(frozen=True)
class GradientSetting:
    """``kept`` sixteenths of a layer's gradient groups, at ``bits`` bits, ranges narrowed by ``clip`` (``None``: no).

    With ``bits`` of 32 the layer's gradient is in full precision.
    """

    bits: Bits | int
    kept: int = KEPT_PARTS
    clip: float | None = None

    @property
    def keep(self) -> float:
        """The kept fraction."""
        return self.kept / KEPT_PARTS

    @property
    def cost(self) -> int:
        """Sixteenths of a bit per gradient element, kept and dropped groups together."""
        return self.bits * self.kept

    @property
    def exact(self) -> bool:
        """Whether the gradient stays in full precision."""
        return self.bits == EXACT_BITS

    @property
    def options(self) -> dict[str, Any]:
        """As options of a method, or of an override; pruning stays as the method has it, unless all is kept."""
        if self.exact:
            return {"precision": "qat"}
        keeps = {"pruning": "none"} if self.kept == KEPT_PARTS else {"keep": self.keep}
        return {"bits": self.bits, "clip": self.clip, **keeps}

    def __str__(self) -> str:
        if self.exact:
            return "full precision"
        bits = f"{self.bits} bit{'s' if self.bits > 1 else ''}"
        kept = "all kept" if self.kept == KEPT_PARTS else f"{self.keep:.4g} kept"
        return f"{bits}, {kept}" + ("" if self.clip is None else f", clip {self.clip:g}")


# Codes of one bit are not among them: they need so narrow a clip that bias outweighs what they save (docs/methods.md).
_CODES: dict[str, tuple[tuple[Bits, float | None], ...]] = {
    "sample-channel": ((8, None), (4, None), (2, 3.0), (2, 2.0)),
    "pixel": ((8, None), (4, None), (2, 2.5)),
}
_KEPT: dict[str, tuple[int, ...]] = {"sample-channel": (1, 2, 3, 4, 6, 8, 12, 16), "pixel": (2, 4, 8, 16)}


def settings(groups: str) -> list[GradientSetting]:
    """All settings for a kind of groups (of the option ``groups``): dense 8 bits first, full precision last."""
    found = [GradientSetting(bits, kept, clip) for bits, clip in _CODES[groups] for kept in reversed(_KEPT[groups])]
    return [*(one for one in found if one.cost >= LEAST_BUDGET * KEPT_PARTS), GradientSetting(EXACT_BITS)]


def probed_images(batch_size: int, image_size: int) -> int:
    """How many images of a batch are probed for the choice; ``image_size`` is their side in pixels."""
    return min(batch_size, MOST_IMAGES, max(FEWEST_IMAGES, MOST_PIXELS // image_size**2))
