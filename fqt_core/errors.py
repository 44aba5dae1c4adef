"""Errors of the library. Every error that ``fqt_core`` raises on purpose is an :class:`FqtError`."""

from __future__ import annotations


class FqtError(Exception):
    """Something went wrong in fqt_core."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])


class ConfigurationError(FqtError, ValueError):
    """An option has a value that is not allowed."""


class ConversionError(FqtError):
    """A network could not be converted to the chosen method."""


class DataError(FqtError, ValueError):
    """The data set cannot be used. ``where`` names the file or member, ``remedy`` what to do about it."""

    def __init__(self, message: str, *, where: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.where = where
        self.remedy = remedy


class NonFiniteGradientError(FqtError, ArithmeticError):
    """A gradient holds an infinity or a NaN. ``layer`` and ``step`` say where."""

    def __init__(self, layer: str, step: int) -> None:
        super().__init__(
            f"the gradient of layer {layer!r} is not finite at step {step}; "
            "lower the learning rate or check the data for extreme values"
        )
        self.layer = layer
        self.step = step


class CheckpointError(FqtError):
    """A checkpoint or model file is damaged, or does not belong to this network."""
