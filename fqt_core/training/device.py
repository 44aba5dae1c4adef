"""Where a run trains."""

from __future__ import annotations

import torch

from fqt_core.errors import ConfigurationError


def resolve_device(device: torch.device | str) -> torch.device:
    """Settle ``auto``.

    Raises:
        ConfigurationError: CUDA is asked for, and there is none.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    settled = torch.device(device)
    if settled.type == "cuda" and (missing := missing_gpu()) is not None:
        raise ConfigurationError(f"device: {missing}; choose cpu or auto")
    return settled


def missing_gpu() -> str | None:
    """Why torch can use no GPU here; ``None`` if it can."""
    if torch.cuda.is_available():
        return None
    why = "torch is built without CUDA" if torch.version.cuda is None else "there is no GPU, or no driver for it"
    return f"this machine has no CUDA device that torch {torch.__version__} can use ({why})"
