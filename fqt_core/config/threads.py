"""How many threads work is worth. Imports no torch.

Threads of a job look for new work for a short while only, and then sleep, since those that spin take the core from the
one that they wait for as soon as the machine is busy with anything else. Waking one takes some 100 µs, so that short
pieces of work are done sooner by fewer. Kernels have threads of their own (``csrc/cpu/pool.h``); what is said here of
waiting (:data:`WAITING`) is for PyTorch's.
"""

from __future__ import annotations

from fqt_core.config.architecture import ArchitectureConfig
from fqt_core.config.cost import step_cost
from fqt_core.config.method_base import MethodConfig
from fqt_core.config.plan import layer_plan

WORTH_A_THREAD = 1 << 17
"""Numbers that a simple loop goes through in 100 µs or so, with a few operations on each."""

WAITING = {"GOMP_SPINCOUNT": "5000"}
"""Environment of a process that trains: how often PyTorch's threads look before they sleep while they wait.

About a quarter of a millisecond, which bridges the gaps between a step's pieces of work. By default they look sixty
times as long, and take the core from the one that they wait for, or from a kernel's threads; to sleep at once costs a
fifth of the speed of steps that are PyTorch's alone.
"""

# Multiply-accumulates in the time of one such number; those of codes are the kernels', those of floats PyTorch's.
_CODE_MACS, _FLOAT_MACS = 512, 64
_PRODUCTS = 3  # of a layer, in a step


def worthwhile_threads(config: ArchitectureConfig, method: MethodConfig, *, images: int, most: int) -> int:
    """How many threads a training step is worth, 1 to ``most``: the same on every machine.

    A step is pieces of work, one after the other: passes over a layer's outputs or weights, and its products. Many of a
    network's pieces are shorter than those of the mean layer, so that of these a thread is to get twice what it is
    worth.

    Args:
        config: the network.
        method: what it is trained with.
        images: of a micro-batch.
        most: threads that there are, at least 1.

    Raises:
        ConfigurationError: see :func:`fqt_core.config.plan.layer_plan`.
    """
    layers = layer_plan(config, num_classes=1, binarises=method.binarises).weight_layers
    cost = step_cost(config, 1, method, images=images)
    products = cost.float_macs // _FLOAT_MACS + (cost.binary_macs + cost.byte_macs) // _CODE_MACS
    passes = sum(images * layer.gradient_elements + layer.weights for layer in layers)
    return max(1, min(most, (passes + products // _PRODUCTS) // len(layers) // (2 * WORTH_A_THREAD)))
