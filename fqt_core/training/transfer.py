"""How batches come to the device that trains on them."""

from __future__ import annotations

import torch
from torch import Tensor


def moved(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A tensor of the processor's on a device.

    To a GPU it goes by way of pinned memory, so that nothing waits: neither this process for the copy nor the GPU for
    pages. The pinned memory is torch's, which gives it to nobody else before the copy has ended.
    """
    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
