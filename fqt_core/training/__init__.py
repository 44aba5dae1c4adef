"""Training: the event generator, its optimisers, schedule and checkpoints, and runs put together from a description."""

from fqt_core.training.device import resolve_device
from fqt_core.training.evaluation import Evaluation, evaluate
from fqt_core.training.seeding import seeded_init
from fqt_core.training.session import Session, prepare
from fqt_core.training.trainer import Trainer

__all__ = ["Evaluation", "Session", "Trainer", "evaluate", "prepare", "resolve_device", "seeded_init"]
