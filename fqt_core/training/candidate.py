"""The network as it is validated and exported, and the best of it so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fqt_core.config import TrainConfig
from fqt_core.data.batches import TrainingData
from fqt_core.training.average import WeightAverage, averaged, reestimate
from fqt_core.training.checkpoint import check_tensors
from fqt_core.training.evaluation import Evaluation, evaluate
from fqt_core.training.replica import Replica
from fqt_core.training.state import RunState
from fqt_core.training.step import micro_batches

_SMALLEST_VALIDATION_BATCH = 64


class Candidate:
    """What a run would leave if it ended now: the weights as they are, or with ``config.ema`` their average.

    Attributes:
        best: state dict of the epoch with the best validation accuracy; ``None`` before the first validation.
    """

    def __init__(
        self,
        model: nn.Module,
        data: TrainingData,
        config: TrainConfig,
        *,
        device: torch.device,
        should_stop: Callable[[], bool],
        replica: Replica,
    ) -> None:
        """Begin with the weights as they are. ``should_stop`` is asked before every batch of a validation."""
        self.best: dict[str, Tensor] | None = None
        self._model = model
        self._data = data
        self._config = config
        self._device = device
        self._should_stop = should_stop
        self._replica = replica
        self._average = WeightAverage(model, config.ema.decay) if config.ema is not None else None

    def update(self, step: int) -> None:
        """Take notice of the weights after step ``step`` (from 1)."""
        if self._average is not None:
            self._average.update(step)

    def validate(self, state: RunState) -> tuple[Evaluation, bool] | None:
        """Loss and accuracy after the epoch at hand, and whether it is the best so far, which is then kept.

        ``None`` if asked to stop meanwhile. The data must have validation images.

        Raises:
            NonFiniteLossError: naming the step and the layer.
        """
        with self._shown(state, state.epoch, self._should_stop) as ready:
            size = state.fitting(self._config).micro_batch_size
            size = size if state.accumulate is not None else max(size, _SMALLEST_VALIDATION_BATCH)
            batches = self._data.validation_share(size)
            if not ready:
                return None
            result = evaluate(
                self._model,
                batches,
                step=state.step,
                device=self._device,
                should_stop=self._should_stop,
                replica=self._replica,
            )
            if result is None:
                return None
            best = state.best_accuracy is None or result.accuracy > state.best_accuracy
            if best:
                self._keep()
        return result, best

    def settle(self, state: RunState) -> None:
        """Make the network what the run leaves: the best epoch, or without validation what it is after the last."""
        if self.best is None and self._average is not None:
            with self._shown(state, state.epoch - 1, None):
                self._keep()
        if self.best is not None:
            self._model.load_state_dict(self.best)
        self._model.eval()

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """For checkpoints: ``best`` and ``average``."""
        average = {} if self._average is None else self._average.tensors()
        return {"best": self.best or {}, "average": average}

    def load_tensors(self, tensors: dict[str, dict[str, Tensor]], *, validated: bool) -> None:
        """Put back what :meth:`tensors` gave.

        Raises:
            CheckpointError: it is not of this network.
        """
        if validated:
            check_tensors(tensors["best"], self._model.state_dict(), "best weights")
            self.best = {name: tensor.to(self._device, copy=True) for name, tensor in tensors["best"].items()}
        if self._average is not None:
            check_tensors(tensors["average"], self._average.tensors(), "averaged weights")
            self._average.load_tensors(tensors["average"])

    def _keep(self) -> None:
        self.best = {name: tensor.detach().clone() for name, tensor in self._model.state_dict().items()}

    @contextmanager
    def _shown(self, state: RunState, epoch: int, should_stop: Callable[[], bool] | None) -> Iterator[bool]:
        """For the time of a ``with`` block the network is the candidate; False if asked to stop before it is ready."""
        if self._average is None:
            yield True
            return
        with averaged(self._model, self._average):
            batches = self._batches(epoch, state.fitting(self._config))
            ready = reestimate(self._model, batches, device=self._device, should_stop=should_stop)
            if ready:
                self._replica.average_buffers()
            yield ready

    def _batches(self, epoch: int, config: TrainConfig) -> Iterator[Tensor]:
        """The first training batches of ``epoch`` (from 0) once more, in the parts that the network was trained on."""
        count = self._config.ema.batches if self._config.ema is not None else 0
        for index in range(min(count, self._data.steps_per_epoch)):
            images, _ = self._data.train_batch(epoch, index)
            for part in micro_batches(len(images), self._data.micro_batches(index, config)):
                yield images[part]
