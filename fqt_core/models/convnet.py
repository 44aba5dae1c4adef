"""A small network for small images, plain or with the shortcuts of Bi-Real Net (Liu et al., arXiv 1808.00278)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fqt_core.config import Convnet
from fqt_core.config.plan import CONVNET_BLOCKS, convnet_widths
from fqt_core.fused import Block, Chain, Chained, Shortcut, run_fused, with_stem
from fqt_core.models.resnet import Downsample
from fqt_core.ops.threads import alone_behind


class ConvnetBlock(nn.Module):
    """``relu(bn(conv(x)))``, or ``relu(bn(conv(x)) + shortcut(x))``; binarised, a sign stands for the ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, shortcut: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu: nn.Module = nn.ReLU(inplace=True)
        self.shortcut = shortcut
        self.downsample = Downsample(in_channels, out_channels, stride) if shortcut and stride > 1 else None

    def block(self) -> Block | None:
        """The block of a chain; ``None`` if the shortcut's arrangement stands in the way."""
        if not self.shortcut:
            return Block(self.conv, self.bn)
        if self.downsample is None:
            return Block(self.conv, self.bn, shortcut=Shortcut())
        if self.downsample.pool is None:
            return None
        return Block(self.conv, self.bn, shortcut=Shortcut(self.downsample.halving()))

    def forward(self, x: Tensor) -> Tensor:
        """float (N, C, H, W) to float (N, D, H', W')."""
        y = self.bn(self.conv(x))
        if self.shortcut:
            y = y + (x if self.downsample is None else self.downsample(x))
        result: Tensor = self.relu(y)
        return result


class ConvnetNetwork(nn.Module, Chained):
    """A 5x5 convolution, five of 3x3 (two of them halve the resolution), a 2x2 average pool, a linear head."""

    def __init__(self, config: Convnet, num_classes: int) -> None:
        super().__init__()
        channels, *widths = convnet_widths(config)
        size = config.image_size
        self.conv = nn.Conv2d(config.channels, channels, 5, padding=2, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.relu: nn.Module = nn.ReLU(inplace=True)
        self.blocks = nn.Sequential()
        for outputs, (_, stride) in zip(widths, CONVNET_BLOCKS, strict=True):
            self.blocks.append(ConvnetBlock(channels, outputs, stride, shortcut=config.shortcuts))
            channels, size = outputs, -(-size // stride)
        self.avgpool = nn.AvgPool2d(2)
        self.head = nn.Linear(channels * (size // 2) ** 2, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def chain(self) -> Chain:
        """See :class:`Chained`. The last activation comes after it."""
        own = [module for module in self.blocks if isinstance(module, ConvnetBlock)]
        if not all(isinstance(activation, nn.Identity) for activation in [self.relu, *(m.relu for m in own[:-1])]):
            return Chain()
        blocks = [block for module in own if (block := module.block()) is not None]
        return Chain(tuple(blocks), self.bn) if len(blocks) == len(own) else Chain()

    def forward(self, images: Tensor) -> Tensor:
        """float (N, channels, H, W) to logits, float (N, num_classes)."""
        chain, x = with_stem(self.chain(), [self.conv], images), images
        if chain.stem is None:
            if chain.blocks:
                x = x.contiguous(memory_format=torch.channels_last)  # the chain's channels are side by side too
            x = self.conv(x)
        fused = run_fused(chain, x)
        if fused is None:
            x = self.blocks(self.relu(self.bn(x)))
        else:
            last = self.blocks[-1]
            assert isinstance(last, ConvnetBlock)
            x = last.relu(fused)
        pooled = torch.flatten(self.avgpool(x), 1)
        alone_behind(pooled, self.head)
        logits: Tensor = self.head(pooled)
        return logits
