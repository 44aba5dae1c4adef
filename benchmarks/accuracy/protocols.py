"""What is trained on what, and how long. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fqt_core.config import ArchitectureConfig, Convnet, Resnet18, TrainConfig, Vgg16

_EASY = ("Trouser", "Sandal", "Sneaker", "Bag", "Ankle boot")
_HARD = ("T-shirt/top", "Pullover", "Dress", "Coat", "Shirt")
_HEAD_RATE = 3e-3
_PRETRAINING_RATE = 3e-3


@dataclass(frozen=True)
class Protocol:
    """Pre-training on the classes ``before``, fine-tuning on the classes ``after``.

    ``train_images`` and ``validation_images`` are how many fine-tuning gets, drawn per seed (``None``: all that are
    left); ``test_share`` is set aside for the test where the data set has no part of its own for it. ``rates`` is the
    grid of learning rates of everything but the head, whose rate is fixed. ``levels``: validation accuracies, 0 to 1,
    whose times are told; such a protocol keeps the curves of its losses as well.
    """

    name: str
    dataset: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    networks: Mapping[str, ArchitectureConfig]
    train_images: int | None
    validation_images: int
    pretraining_epochs: int
    epochs: int
    batch_size: int
    rates: tuple[float, ...]
    test_share: float = 0.0
    levels: tuple[float, ...] = ()

    def pretraining(self, seed: int) -> TrainConfig:
        """How the network is pre-trained. Without validation: the last weights are kept."""
        return self._training(seed, self.pretraining_epochs, _PRETRAINING_RATE)

    def fine_tuning(self, seed: int, rate: float) -> TrainConfig:
        """How it is fine-tuned; the best epoch on the validation images is kept."""
        return self._training(seed, self.epochs, rate)

    def _training(self, seed: int, epochs: int, rate: float) -> TrainConfig:
        return TrainConfig(
            epochs=epochs,
            batch_size=self.batch_size,
            learning_rate=rate,
            head_learning_rate=_HEAD_RATE,
            validation_fraction=0.0,
            seed=seed,
        )


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="digits",
            dataset="digits",
            before=("0", "1", "2", "3", "4"),
            after=("5", "6", "7", "8", "9"),
            networks={
                "plain": Convnet(image_size=16, channels=1, width=0.5),
                "bireal": Convnet(image_size=16, channels=1, width=0.5, shortcuts=True),
            },
            train_images=None,
            validation_images=150,
            pretraining_epochs=6,
            epochs=6,
            batch_size=32,
            rates=(3e-3, 6e-3),
            test_share=0.3,
        ),
        Protocol(
            name="fashion-hard",
            dataset="fashion-mnist",
            before=_EASY,
            after=_HARD,
            networks={
                "plain": Convnet(image_size=28, channels=1),
                "bireal": Convnet(image_size=28, channels=1, shortcuts=True),
            },
            train_images=6_400,
            validation_images=5_000,
            pretraining_epochs=2,
            epochs=6,
            batch_size=64,
            rates=(3e-4, 1e-3, 3e-3, 6e-3, 12e-3),
        ),
        Protocol(
            name="fashion-resnet18",
            dataset="fashion-mnist",
            before=_EASY,
            after=_HARD,
            networks={"resnet18": Resnet18(image_size=32, channels=1)},
            train_images=None,
            validation_images=3_000,
            pretraining_epochs=1,
            epochs=4,
            batch_size=128,
            rates=(1e-3, 3e-3),
            levels=(0.7, 0.75, 0.8),
        ),
        Protocol(
            name="fashion-vgg16",
            dataset="fashion-mnist",
            before=_EASY,
            after=_HARD,
            networks={"vgg16": Vgg16(image_size=32, channels=1)},
            train_images=None,
            validation_images=3_000,
            pretraining_epochs=2,
            epochs=4,
            batch_size=128,
            rates=(1e-3, 3e-3),
            levels=(0.7, 0.75, 0.8),
        ),
    )
}
