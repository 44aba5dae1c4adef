"""Loads weights from elsewhere into a network, as far as they fit, and says what was taken and what not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from fqt_core.errors import CheckpointError
from fqt_core.layers import BinaryLayer
from fqt_core.models.order import weight_layers
from fqt_core.quantizers.scale import mean_scale
from fqt_core.tables import table
from fqt_core.tensorfile import read_tensors

Action: TypeAlias = Literal["taken", "adapted", "skipped", "fresh"]

_COUNTER = "num_batches_tracked"
_RGB = 3


@dataclass(frozen=True)
class WeightRow:
    """What became of one tensor.

    ``taken`` as it was; ``adapted`` and then taken (``reason`` says how); ``skipped``: the source has it, the network
    does not take it; ``fresh``: the network has it, the source does not, so it keeps its initial value.
    """

    name: str
    action: Action
    reason: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class WeightReport:
    """What :func:`load_weights` did, tensor by tensor."""

    rows: tuple[WeightRow, ...]

    def names(self, action: Action) -> list[str]:
        """Names of the tensors with this action."""
        return [row.name for row in self.rows if row.action == action]

    @property
    def taken(self) -> list[str]:
        """Names of the tensors that the network has now, adapted ones included."""
        return [row.name for row in self.rows if row.action in {"taken", "adapted"}]

    @property
    def skipped(self) -> dict[str, str]:
        """Names of the source's tensors that were not taken, each with the reason."""
        return {row.name: row.reason for row in self.rows if row.action == "skipped"}

    def to_json(self) -> list[dict[str, Any]]:
        """The rows as plain dicts."""
        return [{**asdict(row), "shape": list(row.shape)} for row in self.rows]

    def __str__(self) -> str:
        counts = Counter(row.action for row in self.rows)
        total = ", ".join(f"{count} {action}" for action, count in sorted(counts.items()))
        rows = [
            (row.name, "x".join(map(str, row.shape)), row.action, row.reason)
            for row in self.rows
            if row.action != "taken"
        ]
        return table(("tensor", "shape", "action", "reason"), rows) + f"\n{total}"


def load_weights(
    model: nn.Module, source: Path | str | Mapping[str, Tensor], *, classes: Sequence[str] | None = None
) -> WeightReport:
    """Copy all tensors that fit from ``source`` into ``model``, in place, before or after its conversion.

    Tensors are matched by name and shape, so torchvision's ``vgg16_bn`` and ``resnet18`` fit the networks here. A head
    of another size is skipped; so is one for other classes, where both are known. The first convolution is adapted
    between RGB and grey. A learned scale α that the source lacks starts anew from the weights that were taken.

    Args:
        model: the network.
        source: a safetensors file, or a state dict.
        classes: what the network's outputs stand for, to be compared with what the file records.

    Raises:
        CheckpointError: no safetensors file, a damaged one, a tensor that is not finite, or nothing fits.
    """
    tensors: Mapping[str, Tensor]
    metadata: dict[str, Any] = {}
    if isinstance(source, Mapping):
        tensors, where = source, "the state dict"
    else:
        tensors, metadata = read_tensors(Path(source))
        where = str(source)
    if any(name.endswith(".weight_bits") for name in tensors):
        raise CheckpointError(
            f"{where}: a packed model with one bit per weight, which training cannot go on from; use the file of "
            "full-precision weights that was written beside it"
        )
    targets = {name: value for name, value in model.state_dict(keep_vars=True).items() if not name.endswith(_COUNTER)}
    loader = _Loader(model, targets, _same_classes(metadata, classes))
    rows = [loader.row(name, tensor, where) for name, tensor in tensors.items() if not name.endswith(_COUNTER)]
    if not loader.values:
        raise CheckpointError(
            f"{where}: none of its {len(tensors)} tensors fits the network by name and shape; "
            "it holds the weights of another architecture"
        )
    with torch.no_grad():
        for name, value in loader.values.items():
            targets[name].copy_(value)
    rows += _missing(model, targets, loader.values)
    return WeightReport(tuple(rows))


def _same_classes(metadata: Mapping[str, Any], classes: Sequence[str] | None) -> bool:
    recorded = metadata.get("classes")
    return recorded is None or classes is None or list(recorded) == list(classes)


class _Loader:
    """Decides tensor by tensor; ``values`` collects what is to be copied."""

    def __init__(self, model: nn.Module, targets: Mapping[str, Tensor], same_classes: bool) -> None:
        layers = list(weight_layers(model))
        self.first, self.head = (layers[0], layers[-1]) if layers else ("", "")
        self.targets = targets
        self.same_classes = same_classes
        self.values: dict[str, Tensor] = {}

    def row(self, name: str, tensor: Tensor, where: str) -> WeightRow:
        """Decide on one tensor of the source.

        Raises:
            CheckpointError: the network wants the tensor, and it holds values that are not finite.
        """
        if name in self.targets and tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{where}: tensor {name!r} holds values that are not finite; it cannot be used")
        value, reason = self._fit(name, tensor)
        if value is None:
            return WeightRow(name, "skipped", reason, tuple(tensor.shape))
        self.values[name] = value
        return WeightRow(name, "adapted" if reason else "taken", reason, tuple(tensor.shape))

    def _fit(self, name: str, tensor: Tensor) -> tuple[Tensor | None, str]:
        """The value to copy, and what was done to it; or ``None``, and why not."""
        if reason := self._unwanted(name, tensor):
            return None, reason
        target = self.targets[name]
        if tensor.shape == target.shape:
            return tensor, "" if tensor.dtype == target.dtype else f"converted from {tensor.dtype}"
        if name == f"{self.first}.weight" and (stem := _adapt_stem(tensor, tuple(target.shape))) is not None:
            return stem
        if self._in_head(name):
            return None, f"the head has {target.shape[0]} outputs here, not {_first(tensor)}; it starts fresh"
        return None, f"the network's has shape {'x'.join(map(str, target.shape))}"

    def _unwanted(self, name: str, tensor: Tensor) -> str:
        """Why a tensor is not taken whatever its shape; empty if nothing speaks against it."""
        if name not in self.targets:
            return "the network has no tensor of this name"
        if not tensor.is_floating_point():
            return f"{tensor.dtype} is no floating-point type"
        if self._in_head(name) and not self.same_classes:
            return "the head was trained for other classes; it starts fresh"
        return ""

    def _in_head(self, name: str) -> bool:
        return name.rpartition(".")[0] == self.head


def _first(tensor: Tensor) -> int:
    return tensor.shape[0] if tensor.dim() else 1


def _adapt_stem(tensor: Tensor, target: tuple[int, ...]) -> tuple[Tensor, str] | None:
    """Fit a first convolution (D, C, kh, kw) for grey images to RGB, or the other way round.

    Both give the same output for a grey image that is shown as RGB.
    """
    shape = tuple(tensor.shape)
    if len(shape) != 4 or len(target) != 4 or (shape[0], *shape[2:]) != (target[0], *target[2:]):
        return None
    if (shape[1], target[1]) == (_RGB, 1):
        return tensor.float().sum(1, keepdim=True), "RGB weights summed up for grey images"
    if (shape[1], target[1]) == (1, _RGB):
        return (tensor.float() / _RGB).expand(-1, _RGB, -1, -1), "grey weights spread evenly over RGB"
    return None


def _missing(model: nn.Module, targets: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> list[WeightRow]:
    rows: list[WeightRow] = []
    scales = {
        f"{name}.alpha": (f"{name}.weight", module)
        for name, module in model.named_modules()
        if isinstance(module, BinaryLayer) and module.alpha is not None
    }
    for name, target in targets.items():
        if name in values:
            continue
        reason = "keeps its initial value"
        if name in scales and scales[name][0] in values:
            with torch.no_grad():
                target.copy_(mean_scale(scales[name][1].weight))
            reason = "starts as the mean magnitude of the weights that were taken"
        rows.append(WeightRow(name, "fresh", reason, tuple(target.shape)))
    return rows
