"""What operations are verified and measured on: arguments of layers' shapes, and how much work they are.

:data:`CASES` has a row for each operation of :data:`fqt_core.ops.OPERATIONS`. Work is counted in multiply-accumulates
for products (taps outside the image are none), and else in bytes: each byte that has to be read or written counts once.
"""

from __future__ import annotations

from fqt_core.verification.cases import (
    chain_gradients,
    chains,
    entries,
    groups,
    int8,
    latents,
    packing,
    pixels,
    products,
    stems,
)
from fqt_core.verification.cases.layer import GROUPED, LAYERS, SHAPES, Case, CaseTable, Layer

__all__ = ["CASES", "GROUPED", "LAYERS", "SHAPES", "Case", "Layer"]

CASES: CaseTable = {
    **packing.CASES,
    **products.CASES,
    **groups.CASES,
    **latents.CASES,
    **pixels.CASES,
    **int8.CASES,
    **chains.CASES,
    **chain_gradients.CASES,
    **entries.CASES,
    **stems.CASES,
}
"""By operation: its cases for a layer."""
