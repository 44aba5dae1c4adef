"""Searches over the structure of a network, which a job runs instead of training it: one row each. Imports no torch."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from fqt_core.config.architecture import ArchitectureConfig, Convnet, Vgg16
from fqt_core.config.method_base import Arithmetic, MethodConfig
from fqt_core.config.plan import convnet_widths, layer_plan, vgg16_widths

TOO_TIGHT = "even with each layer's narrowest choice the network is beyond it; raise it, or give more choices"
_STEP = 8
"""Widths are multiples of it, as everywhere."""


class Nce(BaseModel):
    """Neural channel expansion: wider layers where one bit hurts, within a budget."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: ClassVar[str] = "Neural channel expansion (NCE)"
    summary: ClassVar[str] = (
        "Searches the width of each convolution under one-bit weights and activations: layers that prefer their widest "
        "choice get a wider one, and the network found stays within a budget of multiply-accumulates and parameters."
    )
    source: ClassVar[str] = "arXiv 2212.10878"
    arithmetic: ClassVar[Arithmetic] = "simulated"

    name: Literal["nce"] = "nce"
    macs_budget: float = Field(
        default=1.0,
        ge=0.1,
        le=4,
        description="Most multiply-accumulates of the network that is found, as a share of those of `architecture`.",
    )
    parameters_budget: float = Field(
        default=1.0, ge=0.1, le=4, description="The same for parameters: learned scales are not counted."
    )
    choices: int = Field(
        default=5, ge=2, le=8, description="Widths that each layer begins with: its own, and narrower ones."
    )
    threshold: float = Field(
        default=0.3,
        gt=0,
        lt=1,
        description="A layer whose widest choice is more probable than this at the end of an epoch gets a wider one.",
    )
    limit: float = Field(default=2.0, ge=1, le=4, description="No layer gets wider than so many times its own width.")
    warmup_epochs: int = Field(
        default=1, ge=0, le=10_000, description="Epochs in which weights are trained, and no choice yet."
    )
    structure_learning_rate: float = Field(default=0.05, gt=0, le=10, description="Adam's, of the choices' scores.")
    budget_weight: float = Field(
        default=2.0, ge=0, le=1000, description="λ of each budget in the loss of the choices' scores."
    )

    def narrowest(self, architecture: ArchitectureConfig) -> ArchitectureConfig:
        """The network with every layer at its narrowest choice."""
        return with_widths(architecture, [choices_of(width, self)[0] for width in widths_of(architecture)])

    def widest(self, architecture: ArchitectureConfig) -> ArchitectureConfig:
        """The network with every layer as wide as it may become."""
        return with_widths(architecture, [choices_of(width, self)[-1] for width in widths_of(architecture)])


AnySearch: TypeAlias = Nce

SEARCHES: dict[str, type[AnySearch]] = {"nce": Nce}


def obstacles(architecture: ArchitectureConfig, method: MethodConfig) -> dict[str, str]:
    """What keeps widths from being searched: dotted names of fields, and why. Empty: nothing."""
    found = {}
    if not isinstance(architecture, Convnet | Vgg16):
        found["architecture.name"] = "widths are searched for convnet and vgg16 only"
    elif getattr(architecture, "shortcuts", False):
        found["architecture.shortcuts"] = "shortcuts need equal channels at both ends: leave them out"
    elif getattr(architecture, "stem", "small") != "small":
        found["architecture.stem"] = "widths are searched with stem 'small' only"
    if not method.binarises:
        found["method.name"] = "widths are searched for methods with one-bit weights and activations, such as qat"
    elif method.exceptions:
        found["method.overrides"] = "a search treats all layers alike: leave overrides to the training job"
    return found


def beyond_budget(architecture: ArchitectureConfig, num_classes: int, search: Nce) -> list[str]:
    """Budgets that not even the narrowest network fits, by the names of their options."""
    whole, least = (layer_plan(net, num_classes) for net in (architecture, search.narrowest(architecture)))
    counts = {"macs_budget": (least.macs, whole.macs), "parameters_budget": (least.parameters, whole.parameters)}
    return [name for name, (count, full) in counts.items() if count > full * getattr(search, name)]


def widths_of(architecture: ArchitectureConfig) -> list[int]:
    """Channels of each convolution of a network whose widths can be searched."""
    return convnet_widths(architecture) if isinstance(architecture, Convnet) else vgg16_widths(_vgg16(architecture))


def with_widths(architecture: ArchitectureConfig, widths: list[int]) -> ArchitectureConfig:
    """The network with these channels in place of its own."""
    return type(architecture).model_validate(architecture.model_dump() | {"width": 1.0, "widths": widths})


def step_of(width: int) -> int:
    """From one choice of a layer of this width to the next: an eighth of it, in multiples of 8."""
    return max(_STEP, round(width / 8 / _STEP) * _STEP)


def choices_of(width: int, search: Nce) -> list[int]:
    """All widths that a layer may ever have: those that it begins with, and those that it may be expanded to."""
    step = step_of(width)
    begin = [width - step * back for back in range(search.choices - 1, -1, -1) if width - step * back >= _STEP]
    return [*begin, *range(width + step, int(width * search.limit) + 1, step)]


def _vgg16(architecture: ArchitectureConfig) -> Vgg16:
    assert isinstance(architecture, Vgg16), "obstacles() said so otherwise"
    return architecture
