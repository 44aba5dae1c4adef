"""Runs chains of binarised convolutions as one, in bits and integers from the first sign to the last normalisation.

Between the layers of a chain travel bits; the integers before each normalisation are what backward needs besides them,
and gradients of samples that were pruned are never there. A network offers its chains (:class:`Chained`); where one
cannot be fused, its layers run one by one, as those of any converted network do, and the conversion report says why.
"""

from fqt_core.fused.block import Block, Chain, Halving, Shortcut, device_obstacle, obstacle
from fqt_core.fused.chain import run_chain
from fqt_core.fused.chained import Chained, run_fused, with_stem

__all__ = [
    "Block",
    "Chain",
    "Chained",
    "Halving",
    "Shortcut",
    "device_obstacle",
    "obstacle",
    "run_chain",
    "run_fused",
    "with_stem",
]
