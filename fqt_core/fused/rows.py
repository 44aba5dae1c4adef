"""A gradient that is there for some samples only."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fqt_core import ops


@dataclass(frozen=True)
class RowGradient:
    """A gradient, float32 (H, W, k, C), of the samples ``index``, int64 (k,), rising; zero for all others."""

    rows: Tensor
    index: Tensor

    def spread(self, samples: int) -> Tensor:
        """The gradient of all samples, float32 (H, W, samples, C)."""
        if len(self.index) == samples:
            return self.rows
        height, width, _, channels = self.rows.shape
        result = self.rows.new_zeros((height, width, samples, channels))
        ops.hwnc_add_rows(result, self.rows, self.index)
        return result
