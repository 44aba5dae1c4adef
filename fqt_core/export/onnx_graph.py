"""Writes a model as ONNX, for runtimes that know no one-bit products.

A binarised convolution becomes a float convolution of the signs of its input with weights of ±1, kept as int8: its
sums are the very integers, the arithmetic that finds them is float32. Each normalisation after one is folded as the
fused chain of :mod:`fqt_core.fused` folds it, ``h = a · y + b`` with the same ``a`` and ``b``.
"""

from __future__ import annotations

import copy
import json
import tempfile
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fqt_core import ops
from fqt_core.convert import swap_modules
from fqt_core.data.batches import Preprocessing
from fqt_core.errors import ConfigurationError
from fqt_core.export.load import load
from fqt_core.export.pack import save_packed
from fqt_core.export.predict import PackedModel
from fqt_core.files import write_atomically
from fqt_core.fused import Block, Chained, obstacle
from fqt_core.fused.normalization import normalize
from fqt_core.layers import PackedConv2d, PackedLinear, QuantizedLayer
from fqt_core.layers.products import ConvProduct

if TYPE_CHECKING:
    import onnx

OPSET = 18
INPUT, OUTPUT = "images", "logits"
ARITHMETIC = "float32; binarised layers multiply signs with weights of +1 and -1"


@dataclass(frozen=True)
class OnnxReport:
    """What was written. ``input``: ``uint8`` pixels, or ``float32`` where the model has no preprocessing of its own."""

    path: str
    bytes: int
    opset: int
    input: str
    shape: tuple[int, int, int]
    arithmetic: str

    def to_json(self) -> dict[str, Any]:
        """Everything as a plain dict."""
        return {**asdict(self), "shape": list(self.shape)}


def to_onnx(model: nn.Module | PackedModel | Path | str, path: Path | str) -> OnnxReport:
    """Write a network as an ONNX file of opset 18, atomically. The network is not changed.

    The graph maps ``images`` (N, channels, image_size, image_size), N free, to ``logits``, float32 (N, classes). Its
    metadata ``fqt`` is JSON: classes, preprocessing, architecture, method, arithmetic.

    Args:
        model: a model file or what :func:`load` made of it: its graph takes uint8 pixels and preprocesses them. Or a
            network from :func:`fqt_core.models.build`, converted or not: its graph takes what the network takes.
        path: the file; its folder has to exist.

    Raises:
        CheckpointError: the model file cannot be read.
        ConfigurationError: the network was not built here, a weight is not finite, or the package onnx is missing.
        OSError: the file cannot be written; nothing is left behind.
    """
    if isinstance(model, nn.Module):
        packed, pixels = _packed(model), False
    else:
        packed, pixels = model if isinstance(model, PackedModel) else load(model), True
    channels, size = packed.preprocessing.channels, packed.preprocessing.image_size
    graph = _Graph(float_network(packed.network), packed.preprocessing if pixels else None)
    example = torch.zeros((2, channels, size, size), dtype=torch.uint8 if pixels else torch.float32)
    exported = _export(graph.eval(), example)
    _describe(exported, packed, pixels=pixels)
    content = exported.SerializeToString(deterministic=True)
    write_atomically(Path(path), content)
    kind = "uint8" if pixels else "float32"
    return OnnxReport(str(path), len(content), OPSET, kind, (channels, size, size), ARITHMETIC)


def onnx_differences(model: PackedModel, path: Path | str, *, images: int = 8, seed: int = 0) -> list[float]:
    """How far onnxruntime is from ``model``: for each of so many random images, the largest difference of a logit.

    Rounding alone makes about 1e-6. Both round the sums of the first convolution in an order of their own, though, and
    where one of its values is within that of zero, its sign may differ, and then so do the logits of that image.

    Raises:
        ConfigurationError: the package onnxruntime is missing.
    """
    try:
        import onnxruntime  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError("comparing an ONNX file needs the package onnxruntime") from error
    inputs = model.preprocessing
    shape = (images, inputs.channels, inputs.image_size, inputs.image_size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run([OUTPUT], {INPUT: pixels.numpy()})
    return [float(row) for row in (torch.from_numpy(found) - model.logits(pixels)).abs().amax(1)]


def _packed(model: nn.Module) -> PackedModel:
    """A copy of a network as a model file holds it, with preprocessing that is not used."""
    config, classes = getattr(model, "config", None), getattr(model, "num_classes", 0)
    channels, size = getattr(config, "channels", 1), getattr(config, "image_size", 1)
    unused = Preprocessing(size, channels, (0.0,) * channels, (1.0,) * channels)
    with tempfile.TemporaryDirectory(prefix="fqt-onnx-") as folder:
        path = Path(folder) / "model.safetensors"
        save_packed(model, path, classes=[str(index) for index in range(classes)], preprocessing=unused)
        return load(path)


class _Graph(nn.Module):
    """Pixels, or what the network takes, to logits."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, preprocessing: Preprocessing | None) -> None:
        super().__init__()
        self.network = network
        self.normalized = preprocessing is None
        if preprocessing is not None:
            view = (1, preprocessing.channels, 1, 1)
            self.register_buffer("mean", torch.tensor(preprocessing.mean, dtype=torch.float32).view(view))
            self.register_buffer("std", torch.tensor(preprocessing.std, dtype=torch.float32).view(view))

    def forward(self, images: Tensor) -> Tensor:
        # As in Preprocessing.normalize, so that the floats are the same.
        x = images if self.normalized else (images.to(torch.float32) / 255 - self.mean) / self.std
        logits: Tensor = self.network(x)
        return logits


def float_network(network: nn.Module) -> nn.Module:
    """A copy of a network with packed layers, in plain float layers that make the same integers."""
    result = copy.deepcopy(network)
    replacements: dict[int, nn.Module] = {}
    for module in result.modules():
        if isinstance(module, Chained) and not obstacle(chain := module.chain()):
            for block in chain.blocks:
                replacements |= _block(block)
            if chain.entry is not None:
                replacements[id(chain.entry)] = _affine(chain.entry, None, None)
    for module in result.modules():
        if id(module) not in replacements and isinstance(module, PackedConv2d | PackedLinear):
            replacements[id(module)] = SignProduct(module, whole=True)
        elif isinstance(module, QuantizedLayer):
            replacements[id(module)] = module.simulated()
    swap_modules(result, replacements)
    return result


def _block(block: Block) -> dict[int, nn.Module]:
    """What stands for the modules of one block: a product without its scale, which goes into the normalisation."""
    conv, norm = block.conv, block.norm
    assert isinstance(conv, PackedConv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    alpha = None if conv.alpha is None else conv.alpha.abs()  # the product takes its sign
    return {id(conv): SignProduct(conv, whole=False), id(norm): _affine(norm, alpha, conv.bias)}


def _affine(norm: nn.BatchNorm2d, alpha: Tensor | None, bias: Tensor | None) -> Affine:
    constants = normalize(norm, alpha, bias, None)
    return Affine(constants.a, constants.b)


class Affine(nn.Module):
    """``a · y + b`` per channel."""

    a: Tensor
    b: Tensor

    def __init__(self, a: Tensor, b: Tensor) -> None:
        super().__init__()
        self.register_buffer("a", a.view(1, -1, 1, 1))
        self.register_buffer("b", b.view(1, -1, 1, 1))

    def forward(self, y: Tensor) -> Tensor:
        """float (N, D, H, W) to the same shape."""
        return y * self.a + self.b


class SignProduct(nn.Module):
    """The product of a packed layer: signs of the input with ±1 weights, int8 (D, C / groups, kh, kw) or (D, C).

    ``whole``: with scale and bias; else the sums alone, negated where the scale is negative.
    """

    weight: Tensor
    alpha: Tensor | None
    bias: Tensor | None

    def __init__(self, layer: PackedConv2d | PackedLinear, *, whole: bool) -> None:
        super().__init__()
        product = layer.product
        signs = ops.unpack_sign(layer.weight_bits, product.weight_channels)
        alpha, bias = (layer.alpha, layer.bias) if whole else (None, None)
        if not whole and layer.alpha is not None:
            turned = torch.where(layer.alpha < 0, -1.0, 1.0)
            signs = signs * turned.view(-1, *([1] * (signs.dim() - 1)))
        self.register_buffer("weight", signs.to(torch.int8))
        view = (1, -1, *([1] * (signs.dim() - 2)))
        self.register_buffer("alpha", None if alpha is None else alpha.view(view))
        self.register_buffer("bias", None if bias is None else bias.view(view))
        self.product = product

    def forward(self, x: Tensor) -> Tensor:
        """float (N, C, H, W) or (N, C) to the layer's output."""
        signs, weight, product = torch.where(x >= 0, 1.0, -1.0), self.weight.to(torch.float32), self.product
        if isinstance(product, ConvProduct):
            around = product.stride, product.padding, product.dilation, product.groups
            y = functional.conv2d(signs, weight, None, *around)
        else:
            y = functional.linear(signs, weight)
        # They are integers already. Without this, a runtime would draw the factor after them into the weights, and sum
        # what is not: a sum of zero would get a sign by chance.
        y = torch.round(y)
        y = y if self.alpha is None else y * self.alpha
        return y if self.bias is None else y + self.bias


def _export(graph: nn.Module, example: Tensor) -> onnx.ModelProto:
    try:
        import onnx  # noqa: F401, PLC0415
        import onnxscript  # noqa: F401, PLC0415
    except ImportError as error:
        raise ConfigurationError("export to ONNX needs the packages onnx and onnxscript") from error
    free: Callable[[str], Any] = torch.export.Dim
    with warnings.catch_warnings(), redirect_stdout(StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter, about its own parts
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: free("N")},),
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def _describe(exported: onnx.ModelProto, packed: PackedModel, *, pixels: bool) -> None:
    """Say what the model is, and drop what the exporter tells of this machine's files."""
    for part in (*exported.graph.node, *exported.graph.value_info, *exported.graph.input, *exported.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    del exported.graph.metadata_props[:]
    del exported.metadata_props[:]
    exported.graph.name = packed.architecture.name
    exported.producer_name, exported.producer_version = "fqt", ""
    record = {
        "classes": packed.classes if pixels else None,
        "preprocessing": packed.preprocessing.to_json() if pixels else None,
        "architecture": packed.architecture.model_dump(mode="json"),
        "method": packed.method.model_dump(mode="json"),
        "arithmetic": ARITHMETIC,
    }
    entry = exported.metadata_props.add()
    entry.key, entry.value = "fqt", json.dumps(record, sort_keys=True, ensure_ascii=False)
