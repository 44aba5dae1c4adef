"""The two sides of a comparison, each ready to take whole training steps: forward, backward, optimiser."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.setting import CLASSES, Setting
from fqt_core.config import MethodConfig
from fqt_core.convert import convert_
from fqt_core.models import build
from fqt_core.training import seeded_init
from fqt_core.training.optimizer import build_optimizer
from fqt_core.training.schedule import Schedule, set_learning_rate
from fqt_core.training.statistics import QuantizerStatistics
from fqt_core.training.step import training_step

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}

CPU = torch.device("cpu")

_SEED = 0
_BATCHES = 4
"""Batches of noise that steps take in turn: on a single one the gradient would soon be near zero."""

_TOTAL_STEPS = 10_000
"""Of the learning rate's schedule, of which a measurement sees the beginning."""


class Side:
    """A network, its optimiser, and data. ``step`` is what is timed."""

    def __init__(
        self,
        setting: Setting,
        memory_format: torch.memory_format = torch.contiguous_format,
        device: torch.device = CPU,
    ) -> None:
        with seeded_init(_SEED):
            self.model: nn.Module = build(setting.architecture, num_classes=CLASSES)
        self.optimizer: torch.optim.Optimizer
        generator = torch.Generator().manual_seed(_SEED)
        shape = (setting.batch, setting.architecture.channels, setting.image_size, setting.image_size)
        self._batches = cycle(
            [
                (
                    torch.randn(shape, generator=generator).to(device).contiguous(memory_format=memory_format),
                    torch.randint(CLASSES, shape[:1], generator=generator).to(device),
                )
                for _ in range(_BATCHES)
            ]
        )

    def step(self) -> None:
        """Take one training step."""
        raise NotImplementedError

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Images float32 (N, 3, H, W), and labels int64 (N,)."""
        return next(self._batches)

    def optimizer_bytes(self) -> int:
        """Bytes of the optimiser's state."""
        tensors = [value for state in self.optimizer.state.values() for value in state.values()]
        return sum(value.numel() * value.element_size() for value in tensors if isinstance(value, Tensor))


class Ours(Side):
    """The project's network and step, put together as :class:`fqt_core.training.Trainer` does it."""

    def __init__(self, setting: Setting, method: MethodConfig, *, device: torch.device = CPU) -> None:
        super().__init__(setting, device=device)
        convert_(self.model, method, seed=_SEED)
        self.model.to(device)
        self._config = setting.training
        self.optimizer = build_optimizer(self.model, self._config)
        self._schedule = Schedule(self._config.schedule, 0, _TOTAL_STEPS)
        self.statistics = QuantizerStatistics(self.model)
        self._steps = 0

    def step(self) -> None:
        """See :class:`Side`."""
        set_learning_rate(self.optimizer, self._schedule.factor(self._steps))
        self.statistics.collect(False)
        training_step(
            self.model,
            self.optimizer,
            self.next_batch(),
            seed=self._config.seed,
            step=self._steps,
            classes=CLASSES,
            layers=self.statistics.layers.values(),
        )
        self._steps += 1


class Baseline(Side):
    """The same architecture in PyTorch's own arithmetic, with as little around it as can be."""

    def __init__(self, setting: Setting, *, bfloat16: bool, memory_format: str, device: torch.device = CPU) -> None:
        chosen = FORMATS[memory_format]
        super().__init__(setting, chosen, device)
        self.model.to(device, memory_format=chosen)  # type: ignore[call-overload]  # not in its stubs
        self._bfloat16 = bfloat16
        self._device = device
        groups = build_optimizer(self.model, setting.training).param_groups
        rows = [{name: group[name] for name in ("params", "lr", "weight_decay")} for group in groups]
        self.optimizer = torch.optim.Adam(rows, fused=True)

    def step(self) -> None:
        """See :class:`Side`."""
        images, labels = self.next_batch()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._bfloat16):
            loss = functional.cross_entropy(self.model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


def fast_bfloat16() -> bool:
    """Whether oneDNN has bf16 products for the instruction sets that this process may use."""
    supported: Callable[[], bool] = torch.ops.mkldnn._is_mkldnn_bf16_supported
    return supported()
