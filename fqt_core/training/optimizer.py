"""Optimisers with the paper's parameter groups, and optimiser state as named tensors.

Groups: the head (the last weight layer) has a learning rate of its own, as in the paper's protocol; so have the latents
of binarised layers. The L2 penalty is on the weights of convolutions and linear layers only; biases, batch
normalisation and learned scales α have none (pulling those to zero has no regularising effect, only a cost).
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from fqt_core.config import TrainConfig
from fqt_core.errors import CheckpointError, ConfigurationError
from fqt_core.layers import BinaryLayer, QuantizedLayer
from fqt_core.layers.quantized import OwnRate
from fqt_core.models.order import weight_layers
from fqt_core.training.adam import BinaryAdam
from fqt_core.training.muon import Muon

Part: TypeAlias = Literal["body", "head", "latents"]

_ADAM_KEYS = frozenset({"step", "exp_avg", "exp_avg_sq"})
_MOMENTUM_KEYS = frozenset({"momentum_buffer"})


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

    Every group carries ``base_lr``, the learning rate before the schedule; ``rate`` is an
    :class:`~fqt_core.layers.quantized.OwnRate` for parameters that have one. For a network with binarised layers,
    ``adam`` is :class:`~fqt_core.training.adam.BinaryAdam`.

    Raises:
        ConfigurationError: nothing is to be trained, or Muon is asked for where nothing is binarised.
    """
    layers = [module for module in model.modules() if isinstance(module, BinaryLayer)]
    if config.optimizer == "muon" and not layers:
        raise ConfigurationError(
            "training.optimizer: muon is for the weights of binarised layers, and the network has none; use adam or sgd"
        )
    rates: dict[Part, float] = {
        "body": config.learning_rate,
        "head": config.head_learning_rate,
        "latents": config.latent_learning_rate,
    }
    rows: list[dict[str, Any]] = []
    for (part, decays, own), parameters in sorted(_groups(model, layers, config.optimizer).items()):
        decay = config.weight_decay if decays else 0.0
        rows.append({"params": parameters, "lr": rates[part], "base_lr": rates[part], "weight_decay": decay})
        if own:
            rows[-1]["rate"] = _rate(model, own)
        if config.optimizer == "muon":
            rows[-1]["orthogonal"] = part == "latents"
    if not rows:
        raise ConfigurationError("no parameter of the network wants a gradient")
    if config.optimizer == "muon":
        return Muon(rows, momentum=config.settled_momentum)
    if config.optimizer == "adam":
        return BinaryAdam(rows, layers) if layers else torch.optim.Adam(rows)
    return torch.optim.SGD(rows, lr=config.learning_rate, momentum=config.settled_momentum)


def _rate(model: nn.Module, name: str) -> OwnRate:
    """What the learning rate of a quantised layer's parameter is multiplied by."""
    layer, parameter = model.get_submodule(name.rpartition(".")[0]), model.get_parameter(name)
    assert isinstance(layer, QuantizedLayer)
    return layer.own_rate(parameter)


def _groups(
    model: nn.Module, layers: list[BinaryLayer], optimizer: str
) -> dict[tuple[Part, bool, str], list[nn.Parameter]]:
    """Parameters that want a gradient by part of the network, and whether they have the L2 penalty.

    Those with a rate of their own (:meth:`~fqt_core.layers.QuantizedLayer.own_rates`) are by themselves, by name.
    """
    head, latents = head_name(model), {id(layer.weight) for layer in layers}
    own = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, QuantizedLayer)
        for parameter in module.own_rates(optimizer)
    }
    groups: dict[tuple[Part, bool, str], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part: Part = "body"
            if id(parameter) in latents:
                part = "latents"
            elif name.rpartition(".")[0] == head:
                part = "head"
            by_itself = name if id(parameter) in own else ""
            groups.setdefault((part, parameter.dim() >= 2, by_itself), []).append(parameter)
    return groups


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state: ``<parameter name>/<key>`` to tensor."""
    return {
        f"{name}/{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def load_optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what :func:`optimizer_tensors` gave.

    Raises:
        CheckpointError: a tensor belongs to no parameter, is not what the optimiser keeps of it, or has another shape.
    """
    keys = {id(p): _state_keys(optimizer, group) for group in optimizer.param_groups for p in group["params"]}
    parameters = {name: p for name, p in model.named_parameters() if id(p) in keys}
    for full_name, tensor in tensors.items():
        name, _, key = full_name.rpartition("/")
        parameter = parameters.get(name)
        if parameter is None or key not in keys[id(parameter)]:
            raise CheckpointError(f"the checkpoint's optimiser state {full_name!r} does not belong to this network")
        expected = torch.Size(()) if key == "step" else parameter.shape
        if tensor.shape != expected or tensor.dtype != torch.float32:
            raise CheckpointError(f"the checkpoint's optimiser state {full_name!r} has shape {tuple(tensor.shape)}")
        # Adam counts its steps on the CPU. Everything else lies in memory as its parameter does.
        optimizer.state[parameter][key] = (
            tensor.clone() if key == "step" else torch.empty_like(parameter, requires_grad=False).copy_(tensor)
        )


def _state_keys(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> frozenset[str]:
    """What the optimiser keeps of each parameter of a group."""
    return _MOMENTUM_KEYS if isinstance(optimizer, torch.optim.SGD) or group.get("orthogonal") else _ADAM_KEYS
