"""The networks that can be trained: names, options and bounds. Torch-free, so that the API can validate with it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field

Stem: TypeAlias = Literal["small", "imagenet"]


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


class Vgg16(_Published):
    """VGG-16 with batch normalisation, laid out for binarised training."""

    title: ClassVar[str] = "VGG-16"
    summary: ClassVar[str] = (
        "13 convolutions in a chain, batch normalisation before each sign. Start `fqt` from a `qat` job's weights: "
        "without shortcuts, strong pruning hardly learns from scratch."
    )

    name: Literal["vgg16"] = "vgg16"


class Resnet18(_Published):
    """ResNet-18 with a full-precision shortcut around every binary convolution (Bi-Real Net)."""

    title: ClassVar[str] = "ResNet-18"
    summary: ClassVar[str] = "17 convolutions with a full-precision shortcut around each binary one (Bi-Real Net)."

    name: Literal["resnet18"] = "resnet18"


class Convnet(ArchitectureConfig):
    """A small network of six convolutions, for small images and quick comparisons of methods."""

    title: ClassVar[str] = "Small convolutional network"
    summary: ClassVar[str] = "6 convolutions of 32 to 64 channels: trains in seconds on thousands of small images."

    name: Literal["convnet"] = "convnet"
    shortcuts: bool = Field(
        default=False, description="A full-precision shortcut around each binary convolution, as in Bi-Real Net."
    )


AnyArchitecture = Annotated[Vgg16 | Resnet18 | Convnet, Field(discriminator="name")]

ARCHITECTURES: dict[str, type[ArchitectureConfig]] = {
    row.model_fields["name"].default: row for row in get_args(get_args(AnyArchitecture)[0])
}
