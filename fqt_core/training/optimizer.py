"""Optimisers with the paper's parameter groups, the learning-rate schedule, and optimiser state as named tensors.

Groups: the head (the last weight layer) has a learning rate of its own, as in the paper's protocol. The L2 penalty is
on the weights of convolutions and linear layers only; biases, batch normalisation and learned scales α have none
(pulling those to zero has no regularising effect, only a cost).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from fqt_core.config import TrainConfig
from fqt_core.errors import CheckpointError, ConfigurationError
from fqt_core.layers import BinaryLayer
from fqt_core.models.order import weight_layers
from fqt_core.training.adam import BinaryAdam

_STATE_KEYS = {"adam": {"step", "exp_avg", "exp_avg_sq"}, "sgd": {"momentum_buffer"}}


def head_name(model: nn.Module) -> str:
    """Name of the last layer with a convolution's or linear layer's weight, in the order of registration.

    Raises:
        ConfigurationError: there is none.
    """
    names = list(weight_layers(model))
    if not names:
        raise ConfigurationError("the network has no convolution or linear layer to train")
    return names[-1]


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of ``config`` over all parameters that want a gradient.

    Every group carries ``base_lr``, the learning rate before the schedule. For a network with binarised layers,
    ``adam`` is :class:`~fqt_core.training.adam.BinaryAdam`.
    """
    head = head_name(model)
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            in_head = name.rpartition(".")[0] == head
            groups.setdefault((in_head, parameter.dim() >= 2), []).append(parameter)
    if not groups:
        raise ConfigurationError("no parameter of the network wants a gradient")
    rows: list[dict[str, Any]] = []
    for (in_head, decays), parameters in sorted(groups.items()):
        rate = config.head_learning_rate if in_head else config.learning_rate
        decay = config.weight_decay if decays else 0.0
        rows.append({"params": parameters, "lr": rate, "base_lr": rate, "weight_decay": decay})
    if config.optimizer == "adam":
        layers = [module for module in model.modules() if isinstance(module, BinaryLayer)]
        return BinaryAdam(rows, layers) if layers else torch.optim.Adam(rows)
    return torch.optim.SGD(rows, lr=config.learning_rate, momentum=config.momentum)


def schedule_factor(config: TrainConfig, step: int, total_steps: int) -> float:
    """What learning rates are multiplied by in step ``step`` (from 0): cosine from 1 towards 0, or constantly 1."""
    if config.schedule == "constant":
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * step / total_steps))


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Give every group its base rate times ``factor``."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state: ``<parameter name>/<key>`` to tensor."""
    return {
        f"{name}/{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def load_optimizer_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer, config: TrainConfig, tensors: dict[str, Tensor]
) -> None:
    """Put back what :func:`optimizer_tensors` gave.

    Raises:
        CheckpointError: a tensor belongs to no parameter, or has another shape.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for full_name, tensor in tensors.items():
        name, _, key = full_name.rpartition("/")
        parameter = parameters.get(name)
        if parameter is None or key not in _STATE_KEYS[config.optimizer]:
            raise CheckpointError(f"the checkpoint's optimiser state {full_name!r} does not belong to this network")
        expected = torch.Size(()) if key == "step" else parameter.shape
        if tensor.shape != expected or tensor.dtype != torch.float32:
            raise CheckpointError(f"the checkpoint's optimiser state {full_name!r} has shape {tuple(tensor.shape)}")
        # Adam counts its steps on the CPU. Everything else lies in memory as its parameter does.
        optimizer.state[parameter][key] = (
            tensor.clone() if key == "step" else torch.empty_like(parameter, requires_grad=False).copy_(tensor)
        )
