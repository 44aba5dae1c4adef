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
    if settled.type == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("device: this machine has no CUDA device that torch can use; choose cpu or auto")
    return settled
