"""Finds what stands in front of a sign and makes it constant: a ReLU, whose output is never negative.

``sign(0) = +1``, so a binarised layer behind a ReLU sees +1 everywhere. The network is traced symbolically and walked
upwards from each binarised layer, through everything that keeps non-negative values non-negative (pools, dropout,
reshaping, concatenation, sums of non-negative values). A network that cannot be traced is judged by the order of
definition instead: an activation is taken to feed the next weight layer.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from fqt_core.models.order import weight_layers

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Softplus)
"""Activations that are replaced: their outputs are never negative, and without them the sign sees their input."""

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
"""Replaced as well: a dropped value is 0, whose sign is +1, so dropout would push all values one way."""

_POSITIVE_GATES = (nn.Sigmoid, nn.Hardsigmoid, nn.Softmax)
_PASSING_MODULES = (
    nn.Identity,
    nn.Flatten,
    nn.Unflatten,
    nn.ZeroPad2d,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
    nn.ChannelShuffle,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
)
_PASSING_FUNCTIONS: frozenset[Any] = frozenset(
    {
        torch.flatten,
        torch.reshape,
        torch.squeeze,
        torch.unsqueeze,
        torch.transpose,
        torch.permute,
        torch.mean,
        functional.max_pool2d,
        functional.avg_pool2d,
        functional.adaptive_avg_pool2d,
        functional.adaptive_max_pool2d,
        functional.dropout,
        operator.getitem,
    }
)
_PASSING_METHODS = frozenset({"flatten", "reshape", "view", "squeeze", "unsqueeze", "transpose", "permute", "mean"})
_SUMS: frozenset[Any] = frozenset({operator.add, operator.iadd, torch.add})
_CONCATENATIONS: frozenset[Any] = frozenset({torch.cat, torch.concat})
_RELU_FUNCTIONS: frozenset[Any] = frozenset({functional.relu, functional.relu6, functional.softplus, torch.relu})
_RELU_METHODS = frozenset({"relu", "relu_"})


@dataclass
class Flow:
    """Names of modules that feed a sign: ``activations`` and ``dropouts`` can be replaced, ``gates`` cannot.

    ``functional`` names binarised layers that are fed by an activation called as a function, which no module swap can
    reach. ``calls`` says how often each module is called. ``traced`` is False if the order of definition had to do;
    ``obstacle`` then says why.
    """

    activations: set[str] = field(default_factory=set)
    dropouts: set[str] = field(default_factory=set)
    gates: set[str] = field(default_factory=set)
    functional: set[str] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)
    traced: bool = True
    obstacle: str = ""


def feeds_a_sign(model: nn.Module, binarised: Collection[str]) -> Flow:
    """Find the modules of ``model`` that make the input of a layer named in ``binarised`` constant."""
    tracer = _Tracer()
    try:
        graph = tracer.trace(model)
    except Exception as error:  # noqa: BLE001 - a network may raise anything when it is run on symbols
        flow = _by_definition_order(model, binarised)
        flow.traced, flow.obstacle = False, f"{type(error).__name__}: {error}".splitlines()[0]
        return flow
    flow = Flow(calls=Counter(str(node.target) for node in graph.nodes if node.op == "call_module"))
    modules = dict(model.named_modules())
    inputs = {
        str(node.target): node.all_input_nodes[0]
        for node in graph.nodes
        if node.op == "call_module" and node.target in binarised and node.all_input_nodes
    }
    found = -1
    while len(flow.activations) > found:  # what is to be replaced may uncover the next one above it
        found = len(flow.activations)
        for layer, node in inputs.items():
            _Walk(modules, flow, layer).up(node)
    return flow


class _Tracer(fx.Tracer):
    """Enters containers only: a module without children is one step, whoever wrote it."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if next(m.children(), None) is None:
            return True
        return super().is_leaf_module(m, module_qualified_name)


class _Walk:
    """Walks upwards from the input of one binarised layer."""

    def __init__(self, modules: dict[str, nn.Module], flow: Flow, layer: str) -> None:
        self._modules, self._flow, self._layer = modules, flow, layer
        self._found: list[tuple[set[str], str]] = []
        self._in_sum = False

    def up(self, node: fx.Node) -> None:
        """Record what makes ``node`` non-negative, if it is, and what dropout there is on the way."""
        self._non_negative(node)
        for names, name in self._found:
            names.add(name)

    def _non_negative(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return self._module(node)
        if node.op == "call_method":
            if node.target in _RELU_METHODS:
                return self._source(self._flow.functional, self._layer)
            return node.target in _PASSING_METHODS and self._first(node)
        return node.op == "call_function" and self._function(node)

    def _function(self, node: fx.Node) -> bool:
        if node.target in _RELU_FUNCTIONS:
            return self._source(self._flow.functional, self._layer)
        if node.target in _SUMS:
            return self._sum(node.all_input_nodes)
        if node.target in _CONCATENATIONS:  # each part is of use by itself
            return sum(self._non_negative(part) for part in node.all_input_nodes) > 0
        return node.target in _PASSING_FUNCTIONS and self._first(node)

    def _module(self, node: fx.Node) -> bool:
        name = str(node.target)
        module = self._modules[name]
        if isinstance(module, ACTIVATIONS) and name not in self._flow.activations:
            return self._source(self._flow.activations, name)
        if isinstance(module, _POSITIVE_GATES):
            return self._source(self._flow.gates, name)
        if isinstance(module, DROPOUTS) and not self._in_sum:
            self._source(self._flow.dropouts, name)
        passing = isinstance(module, (*ACTIVATIONS, *DROPOUTS, *_PASSING_MODULES))
        return passing and self._first(node)

    def _first(self, node: fx.Node) -> bool:
        return bool(node.all_input_nodes) and self._non_negative(node.all_input_nodes[0])

    def _sum(self, terms: Iterable[fx.Node]) -> bool:
        """A sum is non-negative if all terms are; a dropped term only leaves the others."""
        before, outside = len(self._found), self._in_sum
        self._in_sum = True
        result = all(self._non_negative(term) for term in terms)
        self._in_sum = outside
        if not result:
            del self._found[before:]
        return result

    def _source(self, names: set[str], name: str) -> bool:
        self._found.append((names, name))
        return True


def _by_definition_order(model: nn.Module, binarised: Collection[str]) -> Flow:
    flow = Flow()
    layers = weight_layers(model)
    waiting: list[tuple[set[str], str]] = []
    for name, module in model.named_modules():
        if isinstance(module, ACTIVATIONS):
            waiting.append((flow.activations, name))
        elif isinstance(module, DROPOUTS):
            waiting.append((flow.dropouts, name))
        elif isinstance(module, _POSITIVE_GATES):
            waiting.append((flow.gates, name))
        elif name in layers:
            if name in binarised:
                for names, waiting_name in waiting:
                    names.add(waiting_name)
            waiting = []
    return flow
