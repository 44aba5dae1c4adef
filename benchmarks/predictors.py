"""The sides of a comparison of inference, each a ResNet or VGG in evaluation mode that is ready to classify images.

The numbers that batch normalisation takes are those of one training-mode pass over noise: with the initial ones, mean 0
and variance 1, activations would grow from layer to layer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.errors import BenchmarkError
from benchmarks.machine import has_vnni
from benchmarks.setting import Setting
from fqt_core import export
from fqt_core.config import MethodConfig
from fqt_core.convert import convert_
from fqt_core.models import build
from fqt_core.training import seeded_init

CLASSES = 1000

Variant = tuple[str, Callable[[], Any]]
"""A way to run a side, by name; calling it classifies the images."""

_SEED = 0
_WARM_UP_IMAGES = 4
_CALIBRATION_IMAGES = 16


class Predictor:
    """A side. ``file_bytes``: the size of the file that it would be deployed as."""

    file_bytes: int

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._generator = torch.Generator().manual_seed(_SEED)
        self._images = self._noise(setting.batch)

    def variants(self) -> Iterator[Variant]:
        """The ways to run it that are worth a trial."""
        raise NotImplementedError

    def _noise(self, count: int) -> Tensor:
        config = self._setting.architecture
        shape = (count, config.channels, config.image_size, config.image_size)
        return torch.randn(shape, generator=self._generator)

    def _network(self, method: MethodConfig | None = None) -> nn.Module:
        with seeded_init(_SEED):
            network: nn.Module = build(self._setting.architecture, num_classes=CLASSES)
        if method is not None:
            convert_(network, method, seed=_SEED)
        with torch.no_grad():
            network.train()(self._noise(_WARM_UP_IMAGES))
        return network.eval()


class Packed(Predictor):
    """Ours: a trained network, written to a model file and loaded from it."""

    def __init__(self, setting: Setting, method: MethodConfig, folder: Path) -> None:
        super().__init__(setting)
        path, config = folder / "model.fqt", setting.architecture
        preprocessing = {
            "image_size": config.image_size,
            "channels": config.channels,
            "mean": [0.0] * config.channels,
            "std": [1.0] * config.channels,
        }
        classes = [str(number) for number in range(CLASSES)]
        report = export.save_packed(self._network(method), path, classes=classes, preprocessing=preprocessing)
        self.file_bytes = report.bytes
        self._model = export.load(path).network

    def variants(self) -> Iterator[Variant]:
        """See :class:`Predictor`."""
        yield "packed", lambda: self._model(self._images)


class TorchFp32(Predictor):
    """The same architecture in PyTorch's own arithmetic."""

    def __init__(self, setting: Setting, folder: Path) -> None:
        super().__init__(setting)
        self._model = self._network()
        self.file_bytes = export.save_weights(self._model, folder / "model.safetensors")

    def variants(self) -> Iterator[Variant]:
        """As it is and with convolutions and normalisations made one, in each memory format; then in oneDNN's own."""
        # Here, since importing it warns of TorchScript's end, which is of no concern to the other sides.
        from torch.fx.experimental.optimization import fuse  # noqa: PLC0415

        fused = fuse(copy.deepcopy(self._model))
        for prefix, model in (("", self._model), ("fused ", fused)):
            yield f"{prefix}contiguous", _call(model, self._images)
            yield (
                f"{prefix}channels_last",
                _call(
                    copy.deepcopy(model).to(memory_format=torch.channels_last),  # type: ignore[call-overload]
                    self._images.contiguous(memory_format=torch.channels_last),
                ),
            )
        script = torch.jit.optimize_for_inference(torch.jit.trace(self._model, self._images))  # type: ignore[no-untyped-call]
        yield "TorchScript", _call(script, self._images)


def _call(model: nn.Module, images: Tensor) -> Callable[[], Any]:
    return lambda: model(images)


class OnnxInt8(Predictor):
    """The same architecture in onnxruntime, quantised to 8 bits with scales per channel of the weights."""

    def __init__(self, setting: Setting, folder: Path) -> None:
        super().__init__(setting)
        try:
            import onnxruntime  # noqa: PLC0415 - only this side needs it
        except ImportError as error:
            raise BenchmarkError(f"onnxruntime is missing ({error}); `make bench` installs it") from error
        path = self._quantized(folder)
        self.file_bytes = path.stat().st_size
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = setting.threads
        options.inter_op_num_threads = 1
        # Its threads would else wait in busy loops while another side has its turn.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def variants(self) -> Iterator[Variant]:
        """See :class:`Predictor`."""
        feed = {self._session.get_inputs()[0].name: self._images.numpy()}
        yield "QDQ", lambda: self._session.run(None, feed)

    def _quantized(self, folder: Path) -> Path:
        """The file of the quantised model."""
        from onnxruntime import quantization  # noqa: PLC0415
        from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415

        exported, prepared, quantized = (folder / f"{name}.onnx" for name in ("exported", "prepared", "quantized"))
        torch.onnx.export(
            self._network(), (self._images,), exported, input_names=["images"], external_data=False, verbose=False
        )
        quant_pre_process(exported, prepared)
        batches = -(-_CALIBRATION_IMAGES // self._setting.batch)
        feeds = iter([{"images": self._noise(self._setting.batch).numpy()} for _ in range(batches)])

        class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # it has no types
            def get_next(self) -> dict[str, Any] | None:
                return next(feeds, None)

        quantization.quantize_static(
            prepared,
            quantized,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            reduce_range=not has_vnni(),  # without VNNI, pairs of 8-bit products are added in 16 bits and overflow
        )
        return quantized
