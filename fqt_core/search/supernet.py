"""The network of all choices: every convolution at the widths that were drawn for it, with shared weights.

Weights and activations are one bit where the network's are, by values in floating point (simulated): the sign with its
straight-through window, and weights times the mean of their channel's |Θ| over the channels in use. Gradients are in
full precision, as in the paper. Each choice has batch normalisation of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fqt_core.config import ArchitectureConfig
from fqt_core.config.plan import LayerPlan, LayerShape, layer_plan
from fqt_core.config.search import Nce, choices_of, widths_of
from fqt_core.errors import ConfigurationError
from fqt_core.search.choices import mixed


def sign(x: Tensor) -> Tensor:
    """+1 or -1; the gradient is that of clamping to [-1, 1]."""
    clamped = x.clamp(-1, 1)
    return clamped + (torch.where(x >= 0, 1.0, -1.0) - clamped).detach()


def one_bit(weight: Tensor) -> Tensor:
    """Weights (D, C, k, k) as α sign(Θ), α the mean |Θ| of an output channel; the gradient of sign is the identity."""
    scale = weight.detach().abs().mean((1, 2, 3), keepdim=True)
    signs = torch.where(weight >= 0, 1.0, -1.0)
    return scale * (weight + (signs - weight).detach())


class Stage(nn.Module):
    """One convolution with what follows it, at any of its choices.

    ``scores`` are α of all choices that the layer may ever have, of which the first ``active`` take part.
    """

    def __init__(self, shape: LayerShape, inputs: int, choices: list[int], begin: int) -> None:
        super().__init__()
        self.shape = shape
        self.choices = choices
        self.active = begin
        self.pools = False
        self.relu = False
        self.weight = nn.Parameter(torch.empty(choices[-1], inputs, shape.kernel_size, shape.kernel_size))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in choices)
        self.scores = nn.Parameter(torch.zeros(len(choices)))

    @property
    def probabilities(self) -> Tensor:
        """Softmax over the scores of the choices that take part."""
        return torch.softmax(self.scores[: self.active], 0)

    @property
    def expected_width(self) -> Tensor:
        """Σ p c, with the gradient to the scores."""
        widths = torch.tensor([float(width) for width in self.choices[: self.active]])
        return (self.probabilities * widths).sum()

    def expand(self) -> None:
        """Let the next wider choice take part, with the score of the one that was the widest."""
        with torch.no_grad():
            self.scores[self.active] = self.scores[self.active - 1]
        self.active += 1

    def forward(self, x: Tensor, drawn: Sequence[int]) -> Tensor:
        """(N, C, H, W) to (N, D, H', W'), D the greatest of the widths that were drawn (numbers of choices)."""
        widths = [self.choices[place] for place in drawn]
        weight = self.weight[: max(widths), : x.shape[1]]
        if self.shape.binary:
            x, weight = sign(x), one_bit(weight)
        y = functional.conv2d(x, weight, stride=self.shape.stride, padding=self.shape.padding)
        if self.pools:
            y = functional.max_pool2d(y, 2)
        outputs = [self.norms[place](y[:, :width]) for place, width in zip(drawn, widths, strict=True)]
        result = mixed(outputs, self.scores[list(drawn)])
        return functional.relu(result) if self.relu else result


class Supernet(nn.Module):
    """Stages in a chain, an average pool and a linear head."""

    def __init__(self, architecture: ArchitectureConfig, num_classes: int, search: Nce) -> None:
        """See :func:`fqt_core.config.search.obstacles` for the networks that it takes.

        Raises:
            ConfigurationError: a layer that it does not know.
        """
        super().__init__()
        layers = layer_plan(architecture, num_classes)
        self.stages = nn.ModuleList()
        inputs: int = architecture.channels
        widths = iter(widths_of(architecture))
        for layer in layers:
            if layer.kind == "conv2d":
                width = next(widths)
                choices = choices_of(width, search)
                self.stages.append(Stage(layer, inputs, choices, choices.index(width) + 1))
                inputs = choices[-1]
            elif layer.kind == "max_pool":
                self._last.pools = True
            elif layer.kind == "relu":
                self._last.relu = True
            elif layer.kind not in {"batch_norm", "avg_pool", "linear"}:
                raise ConfigurationError(f"architecture: widths cannot be searched beside a layer {layer.kind!r}")
        self.pooled = _pooled(layers)
        self.head = nn.Linear(inputs * self.pooled**2, num_classes)

    @property
    def _last(self) -> Stage:
        stage = self.stages[-1]
        assert isinstance(stage, Stage)
        return stage

    def each(self) -> Iterator[Stage]:
        """The stages, from the first to the last."""
        for stage in self.stages:
            assert isinstance(stage, Stage)
            yield stage

    def weights(self) -> list[nn.Parameter]:
        """All parameters but the scores."""
        return [parameter for name, parameter in self.named_parameters() if not name.endswith(".scores")]

    def scores(self) -> list[nn.Parameter]:
        """The scores of each stage."""
        return [stage.scores for stage in self.each()]

    def clamp_(self) -> None:
        """Keep the latents of one-bit weights in [-1, 1]."""
        with torch.no_grad():
            for stage in self.each():
                if stage.shape.binary:
                    stage.weight.clamp_(-1, 1)

    def forward(self, images: Tensor, drawn: Sequence[Sequence[int]]) -> Tensor:
        """float (N, channels, H, W) to logits (N, classes), with the choices drawn for each stage."""
        x = images
        for stage, choices in zip(self.each(), drawn, strict=True):
            x = stage(x, choices)
        x = functional.adaptive_avg_pool2d(x, self.pooled)
        features = x.shape[1] * self.pooled**2
        return functional.linear(torch.flatten(x, 1), self.head.weight[:, :features], self.head.bias)


def _pooled(layers: LayerPlan) -> int:
    return next(layer.output_size for layer in layers if layer.kind == "avg_pool")
