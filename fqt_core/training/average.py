"""A running average of the weights (EMA), and batch normalisation estimated anew for it.

After step t (from 1) each parameter p, latents included, has an average a that starts as the initial p::

    a ← a + (1 - d_t) · (p - a),    d_t = min(decay, t / (t + 9))

The rising decay lets the average forget where it began (as TensorFlow's ``ExponentialMovingAverage`` does). The binary
weights of the average are the signs of averaged latents. Running means and variances belong to other weights, so they
are not averaged but estimated anew: see :func:`reestimate`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fqt_core.training.transfer import moved

_WARM = 9
"""After t steps the average looks back over about (t + 9) / 9 of them, until ``decay`` limits it."""


class WeightAverage:
    """The average of all parameters of a network that want a gradient, float, on the network's device."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Begin with the weights as they are."""
        self._decay = decay
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._averages = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take up the weights after step ``step`` (from 1)."""
        keep = min(self._decay, step / (step + _WARM))
        for name, parameter in self._parameters.items():
            self._averages[name].lerp_(parameter, 1 - keep)

    def exchange(self) -> None:
        """Averages and weights change places: the memory, not its content, so it costs nothing and undoes itself."""
        for name, parameter in self._parameters.items():
            parameter.data, self._averages[name] = self._averages[name], parameter.data

    def tensors(self) -> dict[str, Tensor]:
        """Parameter name to average."""
        return dict(self._averages)

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Put back what :meth:`tensors` gave, which has been checked to fit."""
        for name, average in self._averages.items():
            average.copy_(tensors[name])


@contextmanager
def averaged(model: nn.Module, average: WeightAverage) -> Iterator[None]:
    """For the time of a ``with`` block the network has the averaged weights; its buffers are restored as well."""
    saved = {name: buffer.clone() for name, buffer in model.named_buffers()}
    average.exchange()
    try:
        yield
    finally:
        average.exchange()
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(saved[name])


@torch.no_grad()
def reestimate(
    model: nn.Module,
    batches: Iterable[Tensor],
    *,
    device: torch.device | str = "cpu",
    should_stop: Callable[[], bool] | None = None,
) -> bool:
    """Make running means and variances those of ``batches``: the plain average over them, each counted alike.

    Only batch normalisation runs as in training; everything else (dropout) runs as in evaluation. Modes and momenta are
    restored.

    Returns:
        False if ``should_stop`` said so in between; the statistics are then of no use.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return True
    modes = {module: module.training for module in model.modules()}
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for an average in which all batches count alike
    try:
        for images in batches:
            if should_stop is not None and should_stop():
                return False
            model(moved(images, device))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in modes.items():
            module.training = training
    return True
