"""A finished network that another one learns from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fqt_core.data.batches import Preprocessing
from fqt_core.errors import ConfigurationError
from fqt_core.export import PackedModel


class Teacher:
    """Gives the teacher's logits for the student's batches: in evaluation mode, without a graph.

    A packed model brings its own preprocessing. Its pixels are those of the student (augmented alike), so images must
    have the same size and channels; what differs in mean and deviation is converted.

    Attributes:
        digest: SHA-256 (hex) over names, types, shapes and bytes of the teacher's tensors and its preprocessing:
            part of what a run is.
    """

    def __init__(
        self,
        source: nn.Module | PackedModel,
        *,
        classes: Sequence[str],
        preprocessing: Preprocessing,
        device: torch.device | str = "cpu",
    ) -> None:
        """Prepare.

        Args:
            source: a packed model; or a module that takes the student's very inputs and has its classes. It is moved to
                ``device`` and put into evaluation mode.
            classes: what the student's outputs stand for.
            preprocessing: how the student's inputs were made.
            device: where the student is trained.

        Raises:
            ConfigurationError: the teacher tells other classes apart, or takes other images.
        """
        self._affine: tuple[Tensor, Tensor] | None = None
        if isinstance(source, PackedModel):
            _check(source, classes, preprocessing)
            self._affine = _affine(preprocessing, source.preprocessing, torch.device(device))
            source = source.network
        self._network = source.to(device).eval()
        self._classes = len(classes)
        self.digest = _digest(self._network, self._affine)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """The student's inputs, float (n, c, s, s), to logits float (n, classes).

        Raises:
            ConfigurationError: the network gives another number of classes.
        """
        if self._affine is not None:
            slope, offset = self._affine
            images = images * slope + offset
        logits: Tensor = self._network(images)
        if tuple(logits.shape) != (len(images), self._classes):
            raise ConfigurationError(
                f"teacher: its output has shape {tuple(logits.shape)}, but there are {self._classes} classes; "
                "use a teacher that was trained for the same classes"
            )
        return logits


def _check(model: PackedModel, classes: Sequence[str], preprocessing: Preprocessing) -> None:
    if model.classes != list(classes):
        raise ConfigurationError(
            f"teacher: it tells {_listed(model.classes)} apart, not {_listed(classes)}; use a teacher of the same "
            "classes, and name them in its order"
        )
    theirs, ours = model.preprocessing, preprocessing
    if (theirs.channels, theirs.image_size) != (ours.channels, ours.image_size):
        raise ConfigurationError(
            f"teacher: it takes images of {theirs.channels} x {theirs.image_size} x {theirs.image_size}, this network "
            f"{ours.channels} x {ours.image_size} x {ours.image_size}; both have to agree in channels and image_size"
        )


def _listed(classes: Sequence[str]) -> str:
    shown = ", ".join(classes[:5])
    return f"[{shown}, … {len(classes)} in all]" if len(classes) > 5 else f"[{shown}]"


def _affine(ours: Preprocessing, theirs: Preprocessing, device: torch.device) -> tuple[Tensor, Tensor] | None:
    """Slope and offset per channel, (c, 1, 1), from our inputs to theirs; ``None`` if they are the same."""
    if (ours.mean, ours.std) == (theirs.mean, theirs.std):
        return None
    mean, std, mean_there, std_there = (
        torch.tensor(values, dtype=torch.float64).view(-1, 1, 1)
        for values in (ours.mean, ours.std, theirs.mean, theirs.std)
    )
    slope, offset = std / std_there, (mean - mean_there) / std_there
    return slope.to(device, torch.float32), offset.to(device, torch.float32)


def _digest(network: nn.Module, affine: tuple[Tensor, Tensor] | None) -> str:
    digest = hashlib.sha256()
    tensors = dict(network.state_dict())
    if affine is not None:
        tensors |= dict(zip(("(slope)", "(offset)"), affine, strict=True))
    for name, value in tensors.items():
        tensor = value.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
