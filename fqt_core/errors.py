"""Errors of the library. Every error that ``fqt_core`` raises on purpose is an :class:`FqtError`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class FqtError(Exception):
    """Something went wrong in fqt_core."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])


class ConfigurationError(FqtError, ValueError):
    """An option has a value that is not allowed."""


class StopRequestedError(FqtError):
    """The run was asked to stop before its first step: there is no checkpoint, and nothing to go on from."""


class ConversionError(FqtError):
    """A network could not be converted to the chosen method."""


@dataclass(frozen=True)
class DataFault:
    """One thing that is wrong with a data set: ``where`` (file or member; empty: as a whole), what, and the remedy."""

    where: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        return f"{where}{self.message}" + (f"; {self.remedy}" if self.remedy else "")


class DataError(FqtError, ValueError):
    """The data set cannot be used. ``where`` names the file or member, ``remedy`` what to do about it.

    ``faults`` lists everything that was found before giving up, the first one included.
    """

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        remedy: str | None = None,
        faults: Sequence[DataFault] = (),
    ) -> None:
        super().__init__(message)
        self.where = where
        self.remedy = remedy
        self.faults = tuple(faults)


class DatasetChangedError(DataError):
    """A folder does not hold what was looked through, or was written to while it was read."""


class NonFiniteGradientError(FqtError, ArithmeticError):
    """A gradient holds an infinity or a NaN. ``layer`` and ``step`` say where."""

    def __init__(self, layer: str, step: int) -> None:
        super().__init__(
            f"the gradient of layer {layer!r} is not finite at step {step}; "
            "lower the learning rate or check the data for extreme values"
        )
        self.layer = layer
        self.step = step


class NonFiniteLossError(FqtError, ArithmeticError):
    """The loss is infinite or NaN. ``layer`` is the first one whose output is not finite, ``step`` says when."""

    def __init__(self, layer: str, step: int) -> None:
        super().__init__(
            f"the loss is not finite at step {step}; the first values that are not finite come out of layer {layer!r}; "
            "lower the learning rate or check the data for extreme values"
        )
        self.layer = layer
        self.step = step


class DeviceMemoryError(FqtError):
    """A device's memory does not hold the smallest micro-batch. ``images`` says of how many images that is."""

    def __init__(self, images: int, reason: str) -> None:
        super().__init__(
            f"the device's memory does not hold a micro-batch of {images} image{'s' if images > 1 else ''} ({reason}); "
            "use a smaller width or image_size, or a GPU with more memory"
        )
        self.images = images


class CheckpointError(FqtError):
    """A checkpoint or model file is damaged, or does not belong to this network."""


class InitialWeightsError(CheckpointError):
    """The weights that a run is to start from cannot be used."""
