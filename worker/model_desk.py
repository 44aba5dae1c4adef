"""What a model child does with a question. Imports torch only when the first one needs it."""

from __future__ import annotations

import base64
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fqt_core.errors import CheckpointError, ConfigurationError, DataError, FqtError
from fqt_core.files import file_sha256
from fqt_core.tensorheader import check_header
from worker.child_errors import tells_out_of_memory
from worker.protocol import Answered

if TYPE_CHECKING:
    from fqt_core.export import PackedModel
    from fqt_core.trees.model import TreeModel

TOLERANCE = 1e-4
_CHECKED_IMAGES = 8
ONNX_FILE = "model.onnx"


class UnknownLayerError(FqtError):
    """A question about a layer that the network does not have."""


class ModelDesk:
    """Answers by ``kind``: ``predict``, ``rows``, ``layers``, ``layer``, ``inspect``, ``export``.

    Models that were read stay, within ``cache_bytes``.
    """

    def __init__(self, folder: Path, *, threads: int, cache_bytes: int) -> None:
        self._folder = folder
        self._threads = threads
        self._cache_bytes = cache_bytes
        self._models: OrderedDict[str, tuple[PackedModel | TreeModel, int]] = OrderedDict()

    def answer(self, header: dict[str, Any], payload: Sequence[bytes]) -> Answered:
        """The answer to one question, whatever becomes of it."""
        work = {
            "predict": self._predict,
            "rows": self._rows,
            "layers": self._layers,
            "layer": self._layer,
            "inspect": self._inspect,
            "export": self._export,
        }
        try:
            return Answered(ok=True, values=work[header["kind"]](header, payload))
        except DataError as error:
            return _failure("invalid_image", str(error), error.where)
        except CheckpointError as error:
            # Without the path: it is that of this machine.
            return _failure("invalid_model", str(error).removeprefix(f"{header['path']}: "))
        except FqtError as error:
            return _failure("no_layer" if isinstance(error, UnknownLayerError) else "failed", str(error))
        except MemoryError:
            return _failure("out_of_memory", "it needs more memory than a predictor has (FQT_PREDICTOR_MEMORY_BYTES)")
        except RuntimeError as error:
            if not tells_out_of_memory(str(error)):
                raise
            return _failure("out_of_memory", "it needs more memory than a predictor has (FQT_PREDICTOR_MEMORY_BYTES)")

    def _predict(self, header: dict[str, Any], payload: Sequence[bytes]) -> dict[str, Any]:
        import numpy as np  # noqa: PLC0415

        from fqt_core.data.images import decode_image  # noqa: PLC0415

        model = self._model(header)
        inputs = model.preprocessing
        images = [
            decode_image(data, channels=inputs.channels, image_size=inputs.image_size, where=f"images.{index}")
            for index, data in enumerate(payload)
        ]
        found = model.predict(np.stack(images), top=header["top_k"])
        return {"predictions": [{"label": row.label, "probability": row.probability, "top": row.top} for row in found]}

    def _rows(self, header: dict[str, Any], payload: Sequence[bytes]) -> dict[str, Any]:
        from fqt_core.trees.model import TreeModel  # noqa: PLC0415

        model = self._kept(header, TreeModel.load)
        assert isinstance(model, TreeModel)
        rows = json.loads(payload[0])
        return {"predictions": model.predict(rows, top=header["top_k"], threads=self._threads)}

    def _layers(self, header: dict[str, Any], _payload: Sequence[bytes]) -> dict[str, Any]:
        model = self._model(header)
        from fqt_core.export import layers  # noqa: PLC0415

        return {"layers": [row.to_json() for row in layers(model)]}

    def _layer(self, header: dict[str, Any], _payload: Sequence[bytes]) -> dict[str, Any]:
        model = self._model(header)
        from fqt_core.export import layer_weights  # noqa: PLC0415

        try:
            facts, part = layer_weights(model, header["layer"], header["first"], header["count"])
        except ConfigurationError as error:
            raise UnknownLayerError(str(error)) from error
        told = {"first": part.first, "count": part.count, "scales": part.scales}
        return facts.to_json() | told | {"data": base64.b64encode(part.data).decode()}

    def _inspect(self, header: dict[str, Any], _payload: Sequence[bytes]) -> dict[str, Any]:
        path = Path(header["path"])
        check_header(path)  # before torch is there: most of what is wrong shows here
        self._settle()
        from fqt_core.export import inspect_model  # noqa: PLC0415

        return {"facts": inspect_model(path).model_dump(mode="json")}

    def _export(self, header: dict[str, Any], _payload: Sequence[bytes]) -> dict[str, Any]:
        model = self._model(header)
        from fqt_core.export import onnx_differences, to_onnx  # noqa: PLC0415

        path = self._folder / ONNX_FILE
        report = to_onnx(model, path)
        differences = sorted(onnx_differences(model, path, images=_CHECKED_IMAGES))
        within = sum(value < TOLERANCE for value in differences)
        if within <= _CHECKED_IMAGES // 2:
            path.unlink()
            raise FqtError(f"onnxruntime finds other logits: they differ by up to {differences[-1]:.2g}")
        told = {name: value for name, value in report.to_json().items() if name not in {"path", "bytes"}}
        checked = {
            "images": _CHECKED_IMAGES,
            "tolerance": TOLERANCE,
            "within": within,
            "median_difference": differences[_CHECKED_IMAGES // 2],
        }
        return {"file": ONNX_FILE, "details": told | {"checked": checked}}

    def _model(self, header: dict[str, Any]) -> PackedModel:
        """The model of a question, from the cache or its file.

        Raises:
            CheckpointError: the file is missing or damaged.
        """
        self._settle()
        from fqt_core.export import PackedModel, load  # noqa: PLC0415

        model = self._kept(header, load)
        assert isinstance(model, PackedModel)
        return model

    def _kept(self, header: dict[str, Any], load: Callable[[Path], PackedModel | TreeModel]) -> PackedModel | TreeModel:
        """The model from the cache, or read by ``load`` from a file with the right digest."""
        sha256 = header["sha256"]
        if sha256 in self._models:
            self._models.move_to_end(sha256)
            return self._models[sha256][0]
        path = Path(header["path"])
        try:
            damaged = file_sha256(path) != sha256
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
        if damaged:
            raise CheckpointError(f"{path}: the stored file is damaged")
        model = load(path)
        size = model.nbytes
        while self._models and sum(held for _, held in self._models.values()) + size > self._cache_bytes:
            self._models.popitem(last=False)
        if size <= self._cache_bytes:
            self._models[sha256] = (model, size)
        return model

    def _settle(self) -> None:
        import torch  # noqa: PLC0415

        torch.set_num_threads(self._threads)


def _failure(code: str, message: str, field: str | None = None) -> Answered:
    return Answered(ok=False, values={"code": code, "message": message, "field": field})
