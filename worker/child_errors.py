"""What an error of a training child means for its job: a code, words, and the field of the spec that can mend it."""

from __future__ import annotations

from fqt_core.errors import (
    CheckpointError,
    ConfigurationError,
    ConversionError,
    DataError,
    FqtError,
    NonFiniteGradientError,
    NonFiniteLossError,
)
from fqt_core.events import Failed


class UnusableInputError(Exception):
    """What the job names cannot be used here. ``code`` is for programs, ``param`` the field of the spec."""

    def __init__(self, message: str, code: str, param: str) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


# What an error means for the job: a code for programs, and the field of the spec that can mend it.
_MEANINGS: tuple[tuple[type[Exception], str, str | None], ...] = (
    (NonFiniteGradientError, "non_finite_gradient", "training.learning_rate"),
    (NonFiniteLossError, "non_finite_loss", "training.learning_rate"),
    (DataError, "dataset_unusable", "dataset"),
    (ConfigurationError, "invalid_configuration", None),
    (ConversionError, "cannot_convert", "method"),
    # The supervisor has checked the bytes, so the file is whole but of another version: repeating does not help.
    (CheckpointError, "checkpoint_unusable", None),
    (FqtError, "training_failed", None),
)


def explain(error: Exception) -> Failed | None:
    """The job's failure, for good; ``None`` for an error that means nothing to users and may not happen again."""
    if isinstance(error, UnusableInputError):
        return Failed(code=error.code, message=str(error), param=error.param)
    if _out_of_memory(error):
        message = f"training needs more memory than there is: {str(error) or 'the limit was reached'}"
        return Failed(code="out_of_memory", message=message, param="training.batch_size")
    for kind, code, param in _MEANINGS:
        if isinstance(error, kind):
            return Failed(code=code, message=str(error), param=param)
    return None


def _out_of_memory(error: Exception) -> bool:
    """Whether memory ran out; torch says so in words only, on the CPU."""
    words = isinstance(error, RuntimeError) and ("not enough memory" in str(error) or "out of memory" in str(error))
    return isinstance(error, MemoryError) or words
