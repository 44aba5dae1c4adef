"""Per-layer figures of the quantisers, and how many weights changed sign since the last report."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from fqt_core.errors import CheckpointError
from fqt_core.layers import BinaryLayer


class QuantizerStatistics:
    """Watches the binarised layers of a network.

    It remembers the weights' signs (packed, one bit each) as they were at the last report; the memory goes into
    checkpoints, so that a resumed run reports the same figures.
    """

    def __init__(self, model: nn.Module) -> None:
        self.layers: dict[str, BinaryLayer] = {
            name: module for name, module in model.named_modules() if isinstance(module, BinaryLayer)
        }
        self._signs = {name: _packed_signs(layer) for name, layer in self.layers.items()}

    def collect(self, wanted: bool) -> None:
        """Say whether the next backward pass is to fill the layers' figures."""
        for layer in self.layers.values():
            layer.collect_statistics = wanted

    def report(self) -> dict[str, dict[str, float]]:
        """Figures per layer of the last backward pass, with ``flipped_share`` (0 to 1) since the last report."""
        figures = {}
        for name, layer in self.layers.items():
            signs = _packed_signs(layer)
            flipped = int(np.bitwise_count(signs ^ self._signs[name]).sum())
            self._signs[name] = signs
            figures[name] = {**layer.statistics, "flipped_share": flipped / layer.weight.numel()}
        return figures

    def tensors(self) -> dict[str, Tensor]:
        """The remembered signs: layer name to uint8."""
        return {name: torch.from_numpy(signs) for name, signs in self._signs.items()}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Put back what :meth:`tensors` gave.

        Raises:
            CheckpointError: other layers, or layers of other sizes.
        """
        if tensors.keys() != self._signs.keys() or any(
            tensor.dtype != torch.uint8 or tuple(tensor.shape) != self._signs[name].shape
            for name, tensor in tensors.items()
        ):
            raise CheckpointError("the checkpoint's binarised layers are not those of this network")
        self._signs = {name: tensor.numpy().copy() for name, tensor in tensors.items()}


def _packed_signs(layer: BinaryLayer) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.packbits((layer.weight.detach() >= 0).cpu().numpy().reshape(-1))
