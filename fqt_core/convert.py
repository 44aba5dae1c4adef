"""Turns a full-precision network into one for another method, by swapping modules in place."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

from torch import nn
from torch.nn.parameter import UninitializedParameter

from fqt_core import ops
from fqt_core.config import LayerOverride, LgLsq, Lsq, MethodConfig
from fqt_core.config.method_base import UNCHOSEN
from fqt_core.conversion.eligibility import Filter, keep_reasons
from fqt_core.conversion.flow import Flow, feeds_a_sign
from fqt_core.conversion.report import Action, ConversionReport, ConversionRow
from fqt_core.errors import ConfigurationError, ConversionError
from fqt_core.fused import Block, Chained, obstacle
from fqt_core.layers import (
    BinaryConv2d,
    BinaryLayer,
    BinaryLinear,
    IntegerLayer,
    PackedConv2d,
    PackedLinear,
    QuantizedLayer,
    SteppedLayer,
)
from fqt_core.layers.products import isa_of
from fqt_core.models.layout import BinaryLayout
from fqt_core.models.order import weight_layers
from fqt_core.random import PhiloxState

__all__ = ["ConversionReport", "ConversionRow", "convert_"]


def convert_(
    model: nn.Module, method: MethodConfig, *, filter_fn: Filter | None = None, seed: int = 0
) -> ConversionReport:
    """Convert ``model`` to ``method``, in place.

    Each ``nn.Conv2d`` and ``nn.Linear`` becomes its binarised form and keeps its parameters (the same objects), except
    the first and the last weight layer by order of definition, those that a
    :class:`~fqt_core.models.layout.BinaryLayout` reserves, and those that are not supported. Activations of the ReLU
    family that feed a binarised layer give way to the identity, for their sign is constant. Modules with a
    ``BinaryLayout`` rearrange themselves. A method whose layers multiply bytes swaps layers and nothing else; ``fp32``
    changes nothing.

    Why the identity: on scikit-learn's digits (16x16 pixels, ResNet-18 at width 1/4, 4 epochs, QAT, two seeds) it
    reached 97.2 and 98.1 % of the validation images; hardtanh 95.3 and 94.2 %, for it clips what the shortcuts carry;
    a PReLU per channel starting as the identity 96.9 and 98.3 %, for more parameters and half as much time again.

    Each layer gets the method that its name has by the method's overrides. Sets ``model.fqt_state``, the random state
    that all converted layers share (not for ``fp32``), ``model.fqt_method``, the method as a whole, and
    ``model.fqt_report``, what is returned.

    Args:
        model: any tree of modules. A module that is used in several places is converted once, in all of them.
        method: the method.
        filter_fn: called with name and module of each layer that could be converted; False keeps it.
        seed: of everything that the method draws, from 0 to 2**63 - 1.

    Raises:
        ConversionError: the network is converted already, no layer of it can be binarised, or the method is none of
            networks; it is left unchanged.
        ConfigurationError: the seed is out of range, an override's pattern matches no layer that can be binarised, or
            bits are ``auto``, which only a run can choose.
    """
    if not 0 <= seed < 2**63:
        raise ConfigurationError(f"seed must be at least 0 and below 2**63, got {seed}")
    if method.chooses_bits:
        raise ConfigurationError(UNCHOSEN)
    if method.task != "images":
        raise ConversionError(f"method {method.name!r} grows trees from a table; it has nothing to do with a network")
    _refuse_converted(model)
    if method.converts and not method.binarises:
        return _convert_to_bytes(model, method, filter_fn, seed)
    if not method.converts:
        rows = [_kept(name, module, "full precision") for name, module in weight_layers(model).items()]
        return _finish(model, method, rows, ("nothing was changed: the method trains in full precision",))
    layers = weight_layers(model)
    _check_overrides(method, keep_reasons(model, None))
    reasons = keep_reasons(model, filter_fn)
    state = PhiloxState(seed=seed)
    swaps = _binarised(layers, reasons, method, state)
    if not swaps:
        raise ConversionError(_nothing(reasons, "binarised"))
    rows = _rearrange(model)
    flow = feeds_a_sign(model, swaps)
    rows += _flow_rows(model, flow)
    replacements: dict[int, nn.Module] = {id(layers[name]): layer for name, layer in swaps.items()}
    replacements.update({id(model.get_submodule(name)): nn.Identity() for name in flow.activations | flow.dropouts})
    swap_modules(model, replacements)
    chained = _chained(model)
    rows += _chain_rows(model)
    rows += [
        _converted(name, layers[name], swaps[name], chained, method.override_of(name))
        if name in swaps
        else _kept(name, layers[name], reason)
        for name, reason in reasons.items()
    ]
    model.fqt_state = cast(Any, state)
    order = {name: number for number, (name, _) in enumerate(model.named_modules())}
    rows.sort(key=lambda row: order.get(row.name, -1))
    return _finish(model, method, rows, (*_notes(flow), *_fallbacks(rows)))


def _convert_to_bytes(model: nn.Module, method: MethodConfig, filter_fn: Filter | None, seed: int) -> ConversionReport:
    """The part of :func:`convert_` for methods whose layers multiply bytes: only layers are swapped."""
    layers, reasons = weight_layers(model), keep_reasons(model, filter_fn, binary=False)
    state = PhiloxState(seed=seed)
    kind: type[QuantizedLayer] = SteppedLayer if isinstance(method, Lsq | LgLsq) else IntegerLayer
    swaps: dict[str, QuantizedLayer] = {}
    for name, module in layers.items():
        if reasons[name]:
            continue
        try:
            swaps[name] = kind(cast(Any, module), method=method, state=state, layer_index=len(swaps), name=name)
        except ConversionError as error:
            reasons[name] = str(error).removeprefix(f"{name}: ")
    if not swaps:
        raise ConversionError(_nothing(reasons, "quantised"))
    swap_modules(model, {id(layers[name]): layer for name, layer in swaps.items()})
    model.fqt_state = cast(Any, state)
    rows = [
        _to_bytes(name, layers[name], swaps[name]) if name in swaps else _kept(name, layers[name], reason)
        for name, reason in reasons.items()
    ]
    return _finish(model, method, rows, tuple(_fallbacks(rows)))


def _to_bytes(name: str, module: nn.Module, layer: QuantizedLayer) -> ConversionRow:
    method = layer.method
    quantizers = dict.fromkeys(str(one or "full precision") for one in (method.input_gradient, method.weight_gradient))
    sizes = (_size(module.weight), method.arithmetic)
    return ConversionRow(name, type(module).__name__, "converted", "", *sizes, layer.isa(), "; ".join(quantizers))


def _nothing(reasons: Mapping[str, str], what: str) -> str:
    listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "it has no weight layers"
    return (
        f"no layer of the network can be {what} ({listed}); it needs an nn.Conv2d or nn.Linear between its "
        "first and its last weight layer, or use method 'fp32'"
    )


def _refuse_converted(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, BinaryLayer | QuantizedLayer | PackedConv2d | PackedLinear):
            kind = "inference"
            if isinstance(module, BinaryLayer | QuantizedLayer):
                kind = f"method {module.method.name!r}"
            how = "quantised" if isinstance(module, QuantizedLayer) else "binarised"
            raise ConversionError(
                f"the network is converted already: layer {name!r} is {how} for {kind}; build the network afresh, "
                "convert that one, and load the weights of this one (export.save_weights, models.load_weights)"
            )


def _binarised(
    layers: Mapping[str, nn.Module], reasons: dict[str, str], method: MethodConfig, state: PhiloxState
) -> dict[str, BinaryLayer]:
    """The new layers by name. What turns out not to be supported is added to ``reasons``."""
    swaps: dict[str, BinaryLayer] = {}
    for name, module in layers.items():
        if reasons[name]:
            continue
        own, override = method.for_layer(name), method.override_of(name)
        if own is None:
            assert override is not None
            reasons[name] = f"full precision by override {override.pattern!r}"
            continue
        kind: type[BinaryConv2d | BinaryLinear] = BinaryConv2d if isinstance(module, nn.Conv2d) else BinaryLinear
        options: dict[str, Any] = {"method": own, "state": state, "layer_index": len(swaps), "name": name}
        try:
            swaps[name] = kind.from_float(cast(Any, module), **options)
        except ConversionError as error:
            reasons[name] = str(error).removeprefix(f"{name}: ")
    return swaps


def _check_overrides(method: MethodConfig, reasons: Mapping[str, str]) -> None:
    """Refuse a pattern that no layer's name matches."""
    names = [name for name, reason in reasons.items() if not reason]
    for number, override in enumerate(method.exceptions):
        if not any(override.matches(name) for name in names):
            raise ConfigurationError(
                f"overrides.{number}: pattern {override.pattern!r} matches no layer that can be binarised; these can: "
                f"{', '.join(names) or 'none'}"
            )


def _size(value: object) -> int:
    """Elements of a parameter; 0 while its shape is not known."""
    return value.numel() if isinstance(value, nn.Parameter) and not isinstance(value, UninitializedParameter) else 0


def _kept(name: str, module: nn.Module, reason: str) -> ConversionRow:
    return ConversionRow(name, type(module).__name__, "kept", reason, _size(module.weight), "float", "torch")


def _converted(
    name: str,
    module: nn.Module,
    layer: BinaryLayer,
    chained: Collection[nn.Module],
    override: LayerOverride | None,
) -> ConversionRow:
    kind, quantizer = type(module).__name__, layer.method.input_gradient
    gradient = "full precision" if quantizer is None else str(quantizer)
    if override is not None:
        gradient += f", by override {override.pattern!r}"
    isa, reason = ops.slowest(Block.operations), ""
    if layer not in chained:
        pixel_rows = quantizer is not None and quantizer.groups == "pixel"
        isa, reason = isa_of(layer.product, pixel_rows=pixel_rows), layer.product.portable_because
    sizes = (_size(module.weight), layer.method.arithmetic)
    return ConversionRow(name, kind, "converted", reason, *sizes, isa, gradient)


def _chained(model: nn.Module) -> set[nn.Module]:
    """The layers that run in chains."""
    chains = [module.chain() for module in model.modules() if isinstance(module, Chained)]
    return {block.conv for chain in chains if not obstacle(chain) for block in chain.blocks}


def _fallbacks(rows: Sequence[ConversionRow]) -> list[str]:
    """What runs on kernels for less than the chosen instruction set, and why."""
    slow: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.action == "converted" and row.isa != ops.isa():
            slow.setdefault((row.isa, row.reason or f"there are none for {ops.isa()}"), []).append(row.name)
    return [f"on {isa} kernels, for {reason}: {', '.join(names)}" for (isa, reason), names in sorted(slow.items())]


def _rearrange(model: nn.Module) -> list[ConversionRow]:
    return [
        ConversionRow(name, type(module).__name__, "rearranged", module.binarize_layout_())
        for name, module in model.named_modules()
        if isinstance(module, BinaryLayout)
    ]


def _chain_rows(model: nn.Module) -> list[ConversionRow]:
    """Which chains of layers run as one, and why others do not."""
    rows = []
    for name, module in model.named_modules():
        if isinstance(module, Chained):
            chain = module.chain()
            reason, action = obstacle(chain), "kept"
            if reason:
                reason = f"its layers run one by one: {reason}"
            else:
                reason, action = f"{len(chain.blocks)} binarised convolutions run as one chain", "fused"
            rows.append(ConversionRow(name, type(module).__name__, cast("Action", action), reason))
    return rows


def _flow_rows(model: nn.Module, flow: Flow) -> list[ConversionRow]:
    modules = dict(model.named_modules())

    def row(name: str, action: Action, reason: str) -> ConversionRow:
        return ConversionRow(name, type(modules[name]).__name__, action, reason)

    constant = "it feeds a sign, which would see +1 everywhere"
    dropped = "it feeds a sign, and the sign of a dropped 0 is +1"
    rows = [row(name, "kept", f"{constant}; take it out of the network") for name in flow.gates]
    for name in flow.activations | flow.dropouts:
        reason = f"by the identity: {constant if name in flow.activations else dropped}"
        if flow.calls[name] > 1:
            reason += f"; the network uses it in {flow.calls[name]} places, and loses it in all of them"
        rows.append(row(name, "replaced", reason))
    return rows


def _notes(flow: Flow) -> tuple[str, ...]:
    notes = [
        f"{name}: an activation called as a function feeds its sign, which sees +1 everywhere; use a module, such as "
        "nn.ReLU, so that it can be replaced"
        for name in sorted(flow.functional)
    ]
    if not flow.traced:
        notes.append(
            "the network could not be traced, so which activations feed a sign was judged by the order of definition "
            f"({flow.obstacle})"
        )
    return tuple(notes)


def swap_modules(model: nn.Module, replacements: Mapping[int, nn.Module]) -> None:
    """Put each replacement wherever its original stands; ``replacements`` is keyed by the original's identity."""
    for parent in list(model.modules()):
        for attribute, child in list(parent.named_children()):
            if id(child) in replacements:
                parent.register_module(attribute, replacements[id(child)])


def _finish(
    model: nn.Module, method: MethodConfig, rows: list[ConversionRow], notes: tuple[str, ...]
) -> ConversionReport:
    binary = {id(module.weight): module.weight.numel() for module in model.modules() if isinstance(module, BinaryLayer)}
    report = ConversionReport(
        method=method.name,
        arithmetic=method.arithmetic,
        isa=ops.isa() if method.converts else "torch",
        rows=tuple(rows),
        parameters=sum(_size(value) for value in model.parameters()),
        binary_parameters=sum(binary.values()),
        notes=notes,
    )
    model.fqt_method = cast(Any, method)
    model.fqt_report = cast(Any, report)
    return report
