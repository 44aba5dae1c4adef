"""Builds networks by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from pydantic import ValidationError
from torch import nn

from fqt_core.config import ARCHITECTURES, ArchitectureConfig, Convnet, Resnet18, Vgg16
from fqt_core.errors import ConfigurationError
from fqt_core.models.convnet import ConvnetNetwork
from fqt_core.models.resnet import Resnet18Network
from fqt_core.models.vgg import Vgg16Network

_BUILDERS: dict[str, Callable[[Any, int], nn.Module]] = {
    Vgg16.model_fields["name"].default: Vgg16Network,
    Resnet18.model_fields["name"].default: Resnet18Network,
    Convnet.model_fields["name"].default: ConvnetNetwork,
}

_MOST_CLASSES = 1_000_000


def build(name_or_config: str | ArchitectureConfig, *, num_classes: int, **options: Any) -> nn.Module:
    """Build a network with fresh weights, in training mode, in full precision.

    Args:
        name_or_config: a row of :data:`fqt_core.config.ARCHITECTURES`, or its name.
        num_classes: outputs of the head.
        **options: fields of the row, with a name only, e.g. ``stem="small", width=0.25, image_size=32, channels=1``.

    Returns:
        The network. Its attributes ``config`` and ``num_classes`` say what it is; export needs them.

    Raises:
        ConfigurationError: unknown name or option, a value out of bounds, or options beside a config.
    """
    config = _config(name_or_config, options)
    if not 1 <= num_classes <= _MOST_CLASSES:
        raise ConfigurationError(f"num_classes must be from 1 to {_MOST_CLASSES}, got {num_classes}")
    if config.name not in _BUILDERS:
        raise ConfigurationError(f"architecture {config.name!r} cannot be built; use one of {_names()}")
    model = _BUILDERS[config.name](config, num_classes)
    model.config = cast(Any, config)
    model.num_classes = cast(Any, num_classes)
    return model


def _names() -> str:
    return ", ".join(sorted(_BUILDERS))


def _config(name_or_config: str | ArchitectureConfig, options: dict[str, Any]) -> ArchitectureConfig:
    if isinstance(name_or_config, ArchitectureConfig):
        if options:
            raise ConfigurationError(
                f"options {', '.join(sorted(options))} were given beside a config; use config.model_copy(update=…)"
            )
        return name_or_config
    if name_or_config not in ARCHITECTURES:
        raise ConfigurationError(f"architecture {name_or_config!r} is unknown; use one of {_names()}")
    try:
        return ARCHITECTURES[name_or_config](name=name_or_config, **options)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ConfigurationError(f"options of architecture {name_or_config!r}: {faults}") from error
