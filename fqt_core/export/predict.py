"""Predicts the classes of images with a finished model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from fqt_core.config import ArchitectureConfig, MethodConfig
from fqt_core.data.batches import Preprocessing
from fqt_core.data.images import decode_image, to_array
from fqt_core.errors import ConfigurationError, DataError

AnyImage: TypeAlias = Path | str | Image.Image | Tensor | npt.NDArray[np.uint8]

_BATCH = 64


@dataclass(frozen=True)
class Prediction:
    """Of one image: the most probable class, and the ``top`` ones as (label, probability), most probable first."""

    label: str
    probability: float
    top: tuple[tuple[str, float], ...]


class PackedModel:
    """A model from a file, for prediction only.

    Attributes:
        network: the network, in evaluation mode; its binarised layers hold one bit per weight.
        classes: names of its outputs.
        preprocessing: how pixels become its input.
        architecture, method: what it was built and trained with.
        spec: the job's description, as recorded.
        metrics: figures recorded with it.
    """

    def __init__(
        self,
        network: nn.Module,
        classes: Sequence[str],
        preprocessing: Preprocessing,
        *,
        architecture: ArchitectureConfig,
        method: MethodConfig,
        spec: dict[str, Any] | None,
        metrics: dict[str, Any] | None,
    ) -> None:
        self.network = network.eval()
        self.classes = list(classes)
        self.preprocessing = preprocessing
        self.architecture = architecture
        self.method = method
        self.spec = spec
        self.metrics = metrics

    @property
    def nbytes(self) -> int:
        """Memory of its tensors."""
        return sum(value.nbytes for value in self.network.state_dict().values())

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """uint8 (N, channels, image_size, image_size) to float32 (N, classes)."""
        result: Tensor = self.network(self.preprocessing(images))
        return result

    def predict(self, images: Sequence[AnyImage] | Tensor | npt.NDArray[np.uint8], *, top: int = 5) -> list[Prediction]:
        """Predict the classes of images, each resized and converted as the training images were.

        Args:
            images: paths of PNG, JPEG, WebP or BMP files, Pillow images, uint8 arrays (C, H, W) with C of 1 or 3, or
                one uint8 array (N, C, H, W).
            top: how many classes to name, at most; at least 1.

        Raises:
            ConfigurationError: ``top`` is less than 1.
            DataError: an image cannot be read, or is no image; the message names it.
        """
        if top < 1:
            raise ConfigurationError(f"top must be at least 1, got {top}")
        if isinstance(images, Tensor | np.ndarray) and images.ndim != 4:
            raise DataError(f"images: an array must be (N, C, H, W), got {images.ndim} dimensions")
        predictions: list[Prediction] = []
        for start in range(0, len(images), _BATCH):
            batch = [self._pixels(images[i], i) for i in range(start, min(start + _BATCH, len(images)))]
            predictions += self._name(self.logits(torch.from_numpy(np.stack(batch))), top)
        return predictions

    def _name(self, logits: Tensor, top: int) -> list[Prediction]:
        values, indices = torch.softmax(logits, 1).topk(min(top, len(self.classes)))
        ranked = [
            tuple((self.classes[index], value) for index, value in zip(row_indices, row_values, strict=True))
            for row_indices, row_values in zip(indices.tolist(), values.tolist(), strict=True)
        ]
        return [Prediction(*row[0], row) for row in ranked]

    def _pixels(self, image: AnyImage, index: int) -> npt.NDArray[np.uint8]:
        """One image as uint8 (channels, image_size, image_size)."""
        channels, size = self.preprocessing.channels, self.preprocessing.image_size
        if isinstance(image, str | Path):
            try:
                data = Path(image).read_bytes()
            except OSError as error:
                raise DataError(f"{image}: cannot be read: {error.strerror or error}", where=str(image)) from error
            return decode_image(data, channels=channels, image_size=size, where=str(image))
        if isinstance(image, Image.Image):
            return to_array(image, channels, size)
        array = image.cpu().numpy() if isinstance(image, Tensor) else image
        where = f"images[{index}]"
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[0] not in {1, 3} or 0 in array.shape:
            got = f"{array.dtype} {tuple(array.shape)}"
            raise DataError(f"{where}: an array must be uint8 (C, H, W) with 1 or 3 channels, got {got}", where=where)
        if array.shape == (channels, size, size):
            return array
        return to_array(Image.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0)), channels, size)
