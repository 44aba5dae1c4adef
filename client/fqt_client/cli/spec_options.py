"""Options that stand for fields of the job spec, for the commands that have them."""

from __future__ import annotations

from typing import Annotated

import typer

from fqt_client.cli import complete

ArchitectureOption = Annotated[
    str | None,
    typer.Option(
        "--architecture", "-a", help="The network; see `fqt architectures`.", autocompletion=complete.architectures
    ),
]
WidthOption = Annotated[float | None, typer.Option("--width", help="Multiplier of every channel count.")]
ImageSizeOption = Annotated[int | None, typer.Option("--image-size", help="Side in pixels of the network's input.")]
ChannelsOption = Annotated[int | None, typer.Option("--channels", help="1 for grey images, 3 for RGB.")]
EpochsOption = Annotated[int | None, typer.Option("--epochs", "-e", help="Passes over the training images.")]
BatchSizeOption = Annotated[int | None, typer.Option("--batch-size", help="Images per step.")]
LearningRateOption = Annotated[float | None, typer.Option("--learning-rate", help="Learning rate of the body.")]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="JOB|MODEL",
        help="Start from the weights of this job or model; `last` works.",
        autocompletion=complete.jobs,
    ),
]
