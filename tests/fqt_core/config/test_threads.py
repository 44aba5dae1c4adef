"""How many threads a training step is worth."""

from __future__ import annotations

import pytest

from fqt_core.config import Convnet, Method, Resnet18, Vgg16
from fqt_core.config.architecture import ArchitectureConfig
from fqt_core.config.threads import worthwhile_threads

SMALL = Resnet18(width=0.25, image_size=16, channels=1)


@pytest.mark.parametrize(
    ("network", "images", "most", "threads"),
    [
        (SMALL, 64, 2, 1),
        (Convnet(image_size=16, channels=1, width=0.5), 32, 8, 1),
        (Vgg16(image_size=32), 128, 2, 2),
        (Vgg16(image_size=32), 8, 2, 2),  # few images, but weights enough
        (Resnet18(image_size=224), 16, 16, 16),
        (Resnet18(image_size=32), 128, 1, 1),
    ],
)
def test_small_steps_are_one_threads(network: ArchitectureConfig, images: int, most: int, threads: int) -> None:
    assert worthwhile_threads(network, Method("fqt"), images=images, most=most) == threads


def test_more_images_are_never_worth_fewer_threads() -> None:
    worth = [worthwhile_threads(SMALL, Method("fqt"), images=images, most=64) for images in (1, 8, 64, 512, 4096)]
    assert worth == sorted(worth)
    assert worth[0] == 1
    assert worth[-1] > 1


def test_products_in_floating_point_are_worth_more_threads_than_bits() -> None:
    network = Resnet18(width=0.5, image_size=32)
    of_bits, of_floats = (worthwhile_threads(network, Method(name), images=64, most=64) for name in ("fqt", "fp32"))
    assert 1 < of_bits < of_floats
