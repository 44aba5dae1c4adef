"""Training: the event generator, its optimisers, schedule and checkpoints."""

from fqt_core.training.evaluation import Evaluation, evaluate
from fqt_core.training.seeding import seeded_init
from fqt_core.training.trainer import Trainer

__all__ = ["Evaluation", "Trainer", "evaluate", "seeded_init"]
