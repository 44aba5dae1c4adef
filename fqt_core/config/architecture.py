"""The networks that can be trained: names, options and bounds. Torch-free, so that the API can validate with it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Stem: TypeAlias = Literal["small", "imagenet"]
Channels: TypeAlias = Annotated[int, Field(ge=8, le=4096, multiple_of=8)]

_WIDTHS = (
    "Channels of each convolution, from the first to the last, multiples of 8, in place of the published ones; {count} "
    "of them. null: the published ones times `width`."
)


class ArchitectureConfig(BaseModel):
    """Base of all architecture rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: ClassVar[str]
    summary: ClassVar[str]

    name: str
    width: float = Field(default=1.0, ge=0.0625, le=4, description="Multiplier of every channel count.")
    image_size: int = Field(default=32, ge=8, le=512, description="Side in pixels that images are resized to (square).")
    channels: Literal[1, 3] = Field(default=3, description="1 for grey images, 3 for RGB; images are converted.")


class _Published(ArchitectureConfig):
    stem: Stem = Field(
        default="small",
        description="`small` keeps the resolution at the input (CIFAR shape, for images up to about 64 pixels); "
        "`imagenet` starts as the published network does.",
    )


class _Widths(BaseModel):
    """What networks share whose convolutions may each have a width of its own."""

    @field_validator("widths", check_fields=False)
    @classmethod
    def _in_place_of_width(cls, widths: list[int] | None, info: ValidationInfo) -> list[int] | None:
        if widths is not None and info.data.get("width", 1.0) != 1.0:
            raise ValueError("widths are whole numbers of channels, not multiplied by width: leave out one of both")
        if widths is not None and info.data.get("shortcuts"):
            raise ValueError("shortcuts need equal channels at both ends: leave out shortcuts, or widths")
        return widths


class Vgg16(_Published, _Widths):
    """VGG-16 with batch normalisation, laid out for binarised training."""

    title: ClassVar[str] = "VGG-16"
    summary: ClassVar[str] = (
        "13 convolutions in a chain, batch normalisation before each sign. Start `fqt` from a `qat` job's weights: "
        "without shortcuts, strong pruning hardly learns from scratch."
    )

    name: Literal["vgg16"] = "vgg16"
    widths: list[Channels] | None = Field(
        default=None, min_length=13, max_length=13, description=_WIDTHS.format(count=13)
    )


class Resnet18(_Published):
    """ResNet-18 with a full-precision shortcut around every binary convolution (Bi-Real Net)."""

    title: ClassVar[str] = "ResNet-18"
    summary: ClassVar[str] = "17 convolutions with a full-precision shortcut around each binary one (Bi-Real Net)."

    name: Literal["resnet18"] = "resnet18"


class Convnet(ArchitectureConfig, _Widths):
    """A small network of six convolutions, for small images and quick comparisons of methods."""

    title: ClassVar[str] = "Small convolutional network"
    summary: ClassVar[str] = "6 convolutions of 32 to 64 channels: trains in seconds on thousands of small images."

    name: Literal["convnet"] = "convnet"
    shortcuts: bool = Field(
        default=False, description="A full-precision shortcut around each binary convolution, as in Bi-Real Net."
    )
    widths: list[Channels] | None = Field(default=None, min_length=6, max_length=6, description=_WIDTHS.format(count=6))


AnyArchitecture = Annotated[Vgg16 | Resnet18 | Convnet, Field(discriminator="name")]

ARCHITECTURES: dict[str, type[ArchitectureConfig]] = {
    row.model_fields["name"].default: row for row in get_args(get_args(AnyArchitecture)[0])
}
