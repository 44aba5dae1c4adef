"""VGG-16 with batch normalisation. Source: Simonyan and Zisserman, arXiv 1409.1556."""

from __future__ import annotations

from itertools import islice, pairwise

import torch
from torch import Tensor, nn

from fqt_core.config import Vgg16
from fqt_core.config.plan import VGG16_HIDDEN, VGG16_POOLED, VGG16_STAGES, scaled, vgg16_widths
from fqt_core.fused import Block, Chain, Chained, run_fused, with_stem
from fqt_core.layers import BinaryConv2d, PackedConv2d
from fqt_core.models.layout import BinaryLayout
from fqt_core.ops.threads import alone_behind

_DROPOUT = 0.5


class Features(nn.Sequential, BinaryLayout, Chained):
    """Convolution, batch normalisation, ReLU and now and then a max-pool, numbered as torchvision numbers them.

    Binarised, each pool comes before the batch normalisation, as in XNOR-Net (arXiv 1603.05279): the largest of four
    values around zero is positive 15 times out of 16, so the sign of a pooled normalised value hardly says anything.
    On scikit-learn's digits (16x16 pixels, width 1/4, 4 epochs, QAT) it makes the difference between 87 % and chance.
    """

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__(*modules)
        self.order = list(range(len(modules)))

    def binarize_layout_(self) -> str:
        """See :class:`BinaryLayout`."""
        order = list(range(len(self)))
        pools = [index for index in order if isinstance(self[index], nn.MaxPool2d)]
        for index in pools:
            order[index - 2 : index + 1] = [index, index - 2, index - 1]
        self.order = order
        for module in self:
            if isinstance(module, nn.ReLU):
                module.inplace = False  # behind a chain it acts on a view, of which autograd would make copies then
        return f"{len(pools)} max-pools moved before their batch normalisation"

    def chain(self) -> Chain:
        """See :class:`Chained`."""
        return self._parts()[2]

    def _parts(self) -> tuple[list[nn.Module], slice, Chain]:
        """The modules in order, which of them the chain takes the place of, and the chain (as far as there is one)."""
        registered = list(self)
        modules = [module for index in self.order if not isinstance(module := registered[index], nn.Identity)]
        binary = [index for index, module in enumerate(modules) if isinstance(module, BinaryConv2d | PackedConv2d)]
        blocks: list[Block] = []
        at = begin = binary[0] if binary else len(modules)
        while at <= (binary[-1] if binary else -1):
            pool = isinstance(modules[at + 1], nn.MaxPool2d)
            blocks.append(Block(modules[at], modules[at + 1 + pool], pool))
            at += 2 + pool
        norm = modules[begin - 1] if begin > 0 else None
        entry = norm if blocks and isinstance(norm, nn.BatchNorm2d) else None
        return modules, slice(begin - (entry is not None), at), Chain(tuple(blocks), entry)

    def forward(self, x: Tensor, head: nn.Module | None = None) -> Tensor:
        """float (N, C, H, W) to float (N, D, H', W'), which ``head`` takes then, if it is said to."""
        modules, span, chain = self._parts()
        before = modules[: span.start]
        chain = with_stem(chain, before, x)
        if chain.stem is None:
            if chain.blocks:
                x = x.contiguous(memory_format=torch.channels_last)  # the chain's channels are side by side as well
            for module in before:
                x = module(x)
        fused = run_fused(chain, x)
        rest = modules[span.start :] if fused is None else modules[span.stop :]
        x = x if fused is None else fused
        if fused is not None and head is not None:
            alone_behind(x, head)
        for module in rest:
            x = module(x)
        return x


class Classifier(nn.Sequential, BinaryLayout):
    """The published head: two hidden layers with ReLU and dropout, then one output per class.

    Binarised, batch normalisation takes the place of each ReLU, so that the next sign sees values around zero.
    """

    def binarize_layout_(self) -> str:
        """See :class:`BinaryLayout`."""
        changed = 0
        for index, (layer, activation) in enumerate(pairwise(self)):
            if isinstance(layer, nn.Linear) and isinstance(activation, nn.ReLU):
                self[index + 1] = nn.BatchNorm1d(layer.out_features, device=layer.weight.device)
                changed += 1
        return f"{changed} ReLUs became batch normalisation"


class Vgg16Network(nn.Module):
    """VGG-16 for images of any size from 8 pixels; a pool that would leave less than one pixel is skipped.

    With ``stem="imagenet"`` the modules, names and shapes are those of torchvision's ``vgg16_bn``; with
    ``stem="small"`` the head is a global average pool and one linear layer, ``classifier``.
    """

    def __init__(self, config: Vgg16, num_classes: int) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        channels: int = config.channels
        size = config.image_size
        widths = iter(vgg16_widths(config))
        for _, depth in VGG16_STAGES:
            for outputs in islice(widths, depth):
                modules += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
                channels = outputs
            modules.append(nn.MaxPool2d(2, 2) if size >= 2 else nn.Identity())
            size = max(1, size // 2)
        self.features = Features(*modules)
        if config.stem == "small":
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.classifier: nn.Module = nn.Linear(channels, num_classes)
        else:
            self.avgpool = nn.AdaptiveAvgPool2d(VGG16_POOLED)
            hidden = scaled(VGG16_HIDDEN, config.width)
            self.classifier = Classifier(
                nn.Linear(channels * VGG16_POOLED**2, hidden),
                nn.ReLU(inplace=True),
                nn.Dropout(_DROPOUT),
                nn.Linear(hidden, hidden),
                nn.ReLU(inplace=True),
                nn.Dropout(_DROPOUT),
                nn.Linear(hidden, num_classes),
            )
        self._initialize()

    def _initialize(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """float (N, channels, H, W) to logits, float (N, num_classes)."""
        logits: Tensor = self.classifier(torch.flatten(self.avgpool(self.features(images, self.classifier)), 1))
        return logits
