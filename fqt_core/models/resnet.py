"""ResNet-18 (He et al., arXiv 1512.03385), which becomes a Bi-Real Net (Liu et al., arXiv 1808.00278) at one bit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fqt_core.config import Resnet18
from fqt_core.config.plan import RESNET18_STAGES, scaled
from fqt_core.fused import Block, Chain, Chained, Halving, Shortcut, run_fused, with_stem
from fqt_core.models.layout import BinaryLayout
from fqt_core.ops.threads import alone_behind


class Downsample(nn.Module, BinaryLayout):
    """The shortcut where the resolution halves: 1x1 convolution of stride 2 (``0``) and batch normalisation (``1``).

    Binarised, a 2x2 average pool takes the stride's place, as in Bi-Real Net: the shortcut is the one way on which
    full-precision values travel, and a strided 1x1 convolution would throw away three of four. For the same reason its
    convolution stays in full precision; it has 1/9 of the weights of the one that it goes around.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.pool: nn.Module | None = None
        self.add_module("0", nn.Conv2d(in_channels, out_channels, 1, stride, bias=False))
        self.add_module("1", nn.BatchNorm2d(out_channels))

    def binarize_layout_(self) -> str:
        """See :class:`BinaryLayout`."""
        convolution = self.get_submodule("0")
        assert isinstance(convolution, nn.Conv2d)
        if self.pool is None:
            # An odd side is rounded up, as the strided convolution beside it does; the last window then is smaller.
            self.pool = nn.AvgPool2d(2, 2, ceil_mode=True)
            convolution.stride = (1, 1)
        return "average pool and 1x1 convolution instead of a strided one"

    def full_precision_layers(self) -> dict[str, str]:
        """See :class:`BinaryLayout`."""
        return {"0": "carries the full-precision shortcut"}

    def forward(self, x: Tensor) -> Tensor:
        """float (N, C, H, W) to float (N, D, ceil(H / 2), ceil(W / 2))."""
        if self.pool is not None:
            x = self.pool(x)
        result: Tensor = self.get_submodule("1")(self.get_submodule("0")(x))
        return result

    def halving(self) -> Halving:
        """The same as a chain runs it, once :meth:`binarize_layout_` was called."""
        convolution, norm = self.get_submodule("0"), self.get_submodule("1")
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        return Halving(convolution, norm, self)


class BasicBlock(nn.Module, BinaryLayout):
    """Two 3x3 convolutions with one shortcut around both; binarised, with one around each (Bi-Real Net).

    Full precision: ``relu2(bn2(conv2(relu1(bn1(conv1(x))))) + shortcut(x))``.
    Binarised: ``h = relu1(bn1(conv1(x)) + shortcut(x))``, then ``relu2(bn2(conv2(h)) + h)``, where the conversion takes
    away each ReLU that stands before a sign.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1: nn.Module = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu2: nn.Module = nn.ReLU(inplace=True)
        self.downsample = Downsample(in_channels, out_channels, stride) if stride > 1 else None
        self.shortcut_around_each = False

    def binarize_layout_(self) -> str:
        """See :class:`BinaryLayout`."""
        self.shortcut_around_each = True
        if isinstance(self.relu2, nn.ReLU):
            self.relu2.inplace = False  # behind a chain it acts on a view, of which autograd would make copies then
        return "a shortcut around each convolution"

    def blocks(self) -> list[Block]:
        """The two blocks of a chain; none if the arrangement or an activation stands in the way (but for the last)."""
        if not self.shortcut_around_each or not isinstance(self.relu1, nn.Identity):
            return []
        first = Shortcut()
        if self.downsample is not None:
            if self.downsample.pool is None:
                return []
            first = Shortcut(self.downsample.halving())
        return [
            Block(self.conv1, self.bn1, shortcut=first),
            Block(self.conv2, self.bn2, shortcut=Shortcut()),
        ]

    def forward(self, x: Tensor) -> Tensor:
        """float (N, C, H, W) to float (N, D, H', W')."""
        shortcut = x if self.downsample is None else self.downsample(x)
        h = self.bn1(self.conv1(x))
        if self.shortcut_around_each:
            h = shortcut = self.relu1(h + shortcut)
        else:
            h = self.relu1(h)
        result: Tensor = self.relu2(self.bn2(self.conv2(h)) + shortcut)
        return result


class Resnet18Network(nn.Module, BinaryLayout, Chained):
    """ResNet-18 for images of any size from 8 pixels. Names are those of torchvision's ``resnet18``.

    ``stem="imagenet"`` has the published 7x7 convolution of stride 2 and a max-pool; ``stem="small"`` has a 3x3
    convolution of stride 1 and no pool. Binarised, the max-pool comes before the batch normalisation (see
    :class:`fqt_core.models.vgg.Features`).
    """

    def __init__(self, config: Resnet18, num_classes: int) -> None:
        super().__init__()
        widths = [scaled(channels, config.width) for channels in RESNET18_STAGES]
        small = config.stem == "small"
        kernel, stride = (3, 1) if small else (7, 2)
        self.conv1 = nn.Conv2d(config.channels, widths[0], kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu: nn.Module = nn.ReLU(inplace=True)
        self.maxpool: nn.Module = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        channels = widths[0]
        for stage, outputs in enumerate(widths, start=1):
            blocks = nn.Sequential(
                BasicBlock(channels, outputs, 2 if stage > 1 else 1), BasicBlock(outputs, outputs, 1)
            )
            self.add_module(f"layer{stage}", blocks)
            channels = outputs
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        self.pool_first = False
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def binarize_layout_(self) -> str:
        """See :class:`BinaryLayout`."""
        if isinstance(self.maxpool, nn.Identity):
            return "nothing to rearrange"
        self.pool_first = True
        return "max-pool moved before the batch normalisation"

    def _basic_blocks(self) -> list[BasicBlock]:
        stages = [self.get_submodule(f"layer{stage}") for stage in range(1, len(RESNET18_STAGES) + 1)]
        return [block for stage in stages for block in stage.children() if isinstance(block, BasicBlock)]

    def chain(self) -> Chain:
        """See :class:`Chained`. The last activation comes after it."""
        basic = self._basic_blocks()
        blocks = [block.blocks() for block in basic]
        signs = all(isinstance(activation, nn.Identity) for activation in [self.relu, *(b.relu2 for b in basic[:-1])])
        if not (signs and all(blocks)):
            return Chain()
        return Chain(tuple(block for pair in blocks for block in pair), self.bn1)

    def forward(self, images: Tensor) -> Tensor:
        """float (N, channels, H, W) to logits, float (N, num_classes)."""
        blocks, pool_first = self._basic_blocks(), self.pool_first or isinstance(self.maxpool, nn.Identity)
        chain = self.chain() if pool_first else Chain()
        before = [self.conv1, *([self.maxpool] if pool_first and not isinstance(self.maxpool, nn.Identity) else [])]
        chain, x = with_stem(chain, before, images), images
        if chain.stem is None:
            if chain.blocks:
                x = x.contiguous(memory_format=torch.channels_last)  # the chain's channels are side by side too
            for module in before:
                x = module(x)
        fused = run_fused(chain, x)
        if fused is not None:
            # Averaged as the chain has it in memory, (H', W', N, D): so its gradient comes back in that layout as well.
            pooled = blocks[-1].relu2(fused).permute(2, 3, 0, 1).mean((0, 1))
        else:
            x = self.relu(self.bn1(x))
            x = x if pool_first else self.maxpool(x)
            for block in blocks:
                x = block(x)
            pooled = torch.flatten(self.avgpool(x), 1)
        alone_behind(pooled, self.fc)
        logits: Tensor = self.fc(pooled)
        return logits
