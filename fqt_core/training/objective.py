"""What training minimises: cross-entropy, with smoothed labels if asked for, and what a teacher says."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from fqt_core.config import DistillationConfig, TrainConfig
from fqt_core.data.batches import TrainingData
from fqt_core.errors import ConfigurationError
from fqt_core.export import PackedModel
from fqt_core.ops.threads import all_threads
from fqt_core.training.teacher import Teacher


@dataclass(frozen=True)
class Objective:
    """``(1 - w) · CE + w · T² · KL(softmax(teacher / T) ‖ softmax(student / T))``; without a teacher, CE alone.

    CE is against labels of which a share ``label_smoothing`` is spread evenly over all classes. The factor T² keeps the
    size of the gradients independent of T. Source: G. Hinton et al., "Distilling the knowledge in a neural network",
    arXiv 1503.02531.
    """

    label_smoothing: float = 0.0
    teacher: Teacher | None = None
    distillation: DistillationConfig = field(default_factory=DistillationConfig)

    @classmethod
    def of(
        cls,
        config: TrainConfig,
        teacher: nn.Module | PackedModel | None,
        data: TrainingData,
        device: torch.device | str,
    ) -> Objective:
        """The objective of a run.

        Raises:
            ConfigurationError: the teacher does not fit the data, or options for one are set, and there is none.
        """
        if teacher is None:
            if config.distillation is not None:
                raise ConfigurationError("training.distillation: there is no teacher to learn from; name one")
            return cls(config.label_smoothing)
        learned_from = Teacher(teacher, classes=data.classes, preprocessing=data.preprocessing, device=device)
        return cls(config.label_smoothing, learned_from, config.distillation or DistillationConfig())

    def __call__(self, logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of a batch.

        Args:
            logits: of the student, float (n, classes).
            images: what they were computed from, float (n, c, s, s).
            labels: int64 (n,).

        Returns:
            float scalar.
        """
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        if self.teacher is None:
            return loss
        weight, temperature = self.distillation.weight, self.distillation.temperature
        student = functional.log_softmax(logits / temperature, 1)
        with all_threads():
            answer = self.teacher(images)
        teacher = functional.log_softmax(answer / temperature, 1)
        divergence = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
        return torch.lerp(loss, temperature**2 * divergence, weight)
