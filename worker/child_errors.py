"""What an error of a training child means for its job: a code, words, and the field of the spec that can mend it."""

from __future__ import annotations

import errno

from fqt_core.config.method_base import Task
from fqt_core.errors import (
    CheckpointError,
    ConfigurationError,
    ConversionError,
    DataError,
    DatasetChangedError,
    DeviceMemoryError,
    FqtError,
    InitialWeightsError,
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
    (DeviceMemoryError, "out_of_memory", "architecture.width"),
    (DatasetChangedError, "dataset_changed", "dataset"),
    (DataError, "dataset_unusable", "dataset"),
    (ConfigurationError, "invalid_configuration", None),
    (ConversionError, "cannot_convert", "method"),
    (InitialWeightsError, "initial_weights_unusable", "initial_weights"),
    # The supervisor has checked the bytes, so the file is whole but of another version: repeating does not help.
    (CheckpointError, "checkpoint_unusable", None),
    (FqtError, "training_failed", None),
)


# How memory that ran out is told in words only: by torch's allocators (Linux, Windows, CUDA), C++ and the C library.
_OUT_OF_MEMORY = ("can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory", "bad_alloc")


def explain(error: Exception, task: Task = "images") -> Failed | None:
    """The job's failure, for good; ``None`` for an error that means nothing to users and may not happen again."""
    if isinstance(error, UnusableInputError):
        return Failed(code=error.code, message=str(error), param=error.param)
    if _out_of_memory(error):
        return out_of_memory(str(error), task)
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        message = (
            f"training writes a larger file than a job may ({error}); use a smaller width, or give the jobs of the "
            "worker more (FQT_CHILD_DISK_BYTES)"
        )
        return Failed(code="out_of_disk", message=message)
    for kind, code, param in _MEANINGS:
        if isinstance(error, kind):
            return Failed(code=code, message=str(error), param=param)
    return None


def out_of_memory(reason: str, task: Task = "images") -> Failed:
    """The failure of a job whose training met the limit of its memory; ``reason`` is what was said about it."""
    first = next(iter(reason.splitlines()), "") or "the limit was reached"
    own = "give each job of the worker more memory (FQT_CHILD_MEMORY_BYTES, FQT_SLOTS)"
    smaller, param = "batch_size, width or image_size, a larger training.accumulate", "training.batch_size"
    if task == "tabular":
        smaller, param = "table", "dataset"
    message = (
        f"training needs more memory than there is ({first}); use a smaller {smaller}, or "
        f"{'a GPU with more memory' if 'CUDA' in first else own}"
    )
    return Failed(code="out_of_memory", message=message, param=param)


def tells_out_of_memory(text: str) -> bool:
    """Whether a message, or a line that a process left behind, says that memory ran out."""
    return any(words in text.lower() for words in _OUT_OF_MEMORY)


def _out_of_memory(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and tells_out_of_memory(str(error)))
