"""The loss: label smoothing and distillation against their definitions, and teachers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fqt_core import export
from fqt_core.config import DistillationConfig, Method, Resnet18
from fqt_core.convert import convert_
from fqt_core.data import ImageDataset
from fqt_core.data.batches import Preprocessing, TrainingData
from fqt_core.errors import CheckpointError, ConfigurationError
from fqt_core.export import PackedModel
from fqt_core.models import build
from fqt_core.training import Trainer
from fqt_core.training.objective import Objective
from fqt_core.training.session import prepare
from fqt_core.training.teacher import Teacher

from .nets import CLASSES, config, network, pictures, sha256, stop_after, train

NET = Resnet18(width=0.0625, image_size=8, channels=1)
OURS = Preprocessing(8, 1, (0.3,), (0.2,))


def packed(path: Path, *, classes: list[str] = CLASSES, seed: int = 0, size: int = 8) -> Path:
    """A packed model with preprocessing of its own."""
    torch.manual_seed(seed)
    model = build(NET.model_copy(update={"image_size": size}), num_classes=len(classes))
    convert_(model, Method("qat"), seed=seed)
    export.save_packed(model, path, classes=classes, preprocessing=Preprocessing(size, 1, (0.5,), (0.25,)))
    return path


def logits(seed: int, count: int = 7) -> Tensor:
    return torch.randn(count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Fixed(nn.Module):
    """Gives these logits whatever comes."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.register_buffer("values", values)

    def forward(self, x: Tensor) -> Tensor:
        """The first rows."""
        return self.values[: len(x)]  # type: ignore[index]


LABELS = torch.arange(7) % 3
IMAGES = torch.zeros(7, 1, 8, 8)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_label_smoothing_mixes_labels_with_the_uniform_distribution(smoothing: float) -> None:
    mixed = (1 - smoothing) * nn.functional.one_hot(LABELS, 3).double() + smoothing / 3
    expected = -(mixed * logits(0).log_softmax(1)).sum(1).mean()
    assert Objective(smoothing)(logits(0), IMAGES, LABELS).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("weight", [0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_is_its_definition(weight: float, temperature: float) -> None:
    teacher = Teacher(Fixed(logits(1)), classes=CLASSES, preprocessing=OURS)
    objective = Objective(0.1, teacher, DistillationConfig(weight=weight, temperature=temperature))
    student = logits(0).requires_grad_()
    found = objective(student, IMAGES, LABELS)
    p, q = (logits(1) / temperature).softmax(1), (student / temperature).softmax(1)
    divergence = (p * (p.log() - q.log())).sum(1).mean()
    cross_entropy = nn.functional.cross_entropy(student, LABELS, label_smoothing=0.1)
    expected = (1 - weight) * cross_entropy + weight * temperature**2 * divergence
    assert found.item() == pytest.approx(expected.item())
    (gradient,) = torch.autograd.grad(found, student)
    (wanted,) = torch.autograd.grad(expected, student)
    assert torch.allclose(gradient, wanted)


def test_a_teacher_like_the_student_leaves_the_labels_alone() -> None:
    teacher = Teacher(Fixed(logits(0)), classes=CLASSES, preprocessing=OURS)
    found = Objective(0.0, teacher, DistillationConfig(weight=0.5))(logits(0), IMAGES, LABELS)
    assert found.item() == pytest.approx(0.5 * nn.functional.cross_entropy(logits(0), LABELS).item())


def test_a_packed_teacher_sees_its_own_preprocessing(tmp_path: Path) -> None:
    model = export.load(packed(tmp_path / "model.safetensors"))
    pixels = torch.from_numpy(pictures(20).images)
    expected = model.logits(pixels)
    found = Teacher(model, classes=CLASSES, preprocessing=OURS)(OURS(pixels))
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": ["left", "top", "right"]}, r"it tells \[left, top, right\] apart, not \[left, right, top\]"),
        ({"size": 16}, "it takes images of 1 x 16 x 16, this network 1 x 8 x 8"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(tmp_path: Path, options: dict[str, object], words: str) -> None:
    model = export.load(packed(tmp_path / "model.safetensors", **options))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=f"teacher: {words}"):
        Trainer(network(), pictures(), config(), teacher=model)


def test_a_module_of_other_outputs_is_refused_at_its_first_batch() -> None:
    with pytest.raises(ConfigurationError, match=r"teacher: its output has shape \(16, 4\), but there are 3 classes"):
        train(network(), config(), teacher=network(classes=4))


def test_options_for_a_teacher_want_one() -> None:
    with pytest.raises(ConfigurationError, match=r"training\.distillation: there is no teacher"):
        Trainer(network(), pictures(), config(distillation=DistillationConfig()))


def test_the_student_comes_to_agree_with_the_teacher() -> None:
    """Labels are shuffled and have no weight, so what is learned can only come from the teacher."""
    teacher = network(seed=1)
    wanted = config(epochs=8, learning_rate=1e-2, head_learning_rate=1e-2)
    train(teacher, wanted, pictures(300))
    data = pictures(300)
    shuffled = ImageDataset(data.images, np.roll(data.labels, 1), data.classes)
    student = network("qat", seed=2)
    train(
        student, wanted.model_copy(update={"distillation": DistillationConfig(weight=1.0)}), shuffled, teacher=teacher
    )
    images = TrainingData(data, wanted).preprocessing(torch.from_numpy(data.images))
    with torch.no_grad():
        agreement = (student(images).argmax(1) == teacher(images).argmax(1)).double().mean().item()
    assert agreement > 0.6  # chance is a third


def test_the_teacher_is_left_as_it_is_and_is_part_of_what_a_run_is(tmp_path: Path) -> None:
    teacher, other = network(seed=1), network(seed=2)
    before = sha256(teacher)
    events = stop_after(network(), config(), 3, tmp_path, teacher=teacher)
    assert sha256(teacher) == before
    assert not teacher.training
    path = events[-2].path  # type: ignore[union-attr]
    with pytest.raises(CheckpointError, match=r"teacher: .* in the checkpoint, .* now"):
        Trainer(network(), pictures(), config(), teacher=other, resume_from=path)
    with pytest.raises(CheckpointError, match="teacher"):
        Trainer(network(), pictures(), config(), resume_from=path)


def test_a_session_takes_a_packed_file(tmp_path: Path) -> None:
    path = packed(tmp_path / "model.safetensors")
    options = {"architecture": NET, "method": Method("fqt"), "training": config(epochs=1), "data": pictures()}
    losses = []
    for teacher in (None, path):
        session = prepare(**options, teacher=teacher)  # type: ignore[arg-type]
        losses.append([event.loss for event in session.trainer if event.type == "step"])
    assert losses[0] != losses[1]


def test_an_unpacked_model_is_asked_for_its_classes_only_when_it_speaks() -> None:
    assert not isinstance(Fixed(logits(0)), PackedModel)
    with pytest.raises(ConfigurationError, match="trained for the same classes"):
        Teacher(Fixed(torch.zeros(9, 5)), classes=CLASSES, preprocessing=OURS)(IMAGES)
