"""Which activations feed a sign."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fqt_core.config import Method
from fqt_core.conversion.flow import Flow, feeds_a_sign
from fqt_core.convert import convert_


class _Net(nn.Module):
    """Stem, something, one binarised layer, head; the ``body`` stands between stem and binarised layer."""

    def __init__(self, body: Callable[[_Net, Tensor], Tensor]) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.relu, self.relu6, self.softplus = nn.ReLU(), nn.ReLU6(), nn.Softplus()
        self.leaky, self.gate, self.dropout = nn.LeakyReLU(), nn.Sigmoid(), nn.Dropout()
        self.pool = nn.MaxPool2d(3, 1, 1)
        self.middle, self.head = nn.LazyConv2d(4, 1), nn.Conv2d(4, 2, 1)
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.middle(self.body(self, self.norm(self.stem(x)))))
        return result


def _flow(body: Callable[[_Net, Tensor], Tensor]) -> Flow:
    return feeds_a_sign(_Net(body), {"middle"})


CASES: dict[str, tuple[Callable[[_Net, Tensor], Tensor], set[str]]] = {
    "nothing": (lambda net, x: x, set()),
    "direct": (lambda net, x: net.relu(x), {"relu"}),
    "relu6": (lambda net, x: net.relu6(x), {"relu6"}),
    "softplus": (lambda net, x: net.softplus(x), {"softplus"}),
    "leaky": (lambda net, x: net.leaky(x), set()),
    "pool": (lambda net, x: net.pool(net.relu(x)), {"relu"}),
    "reshape": (lambda net, x: net.relu(x).permute(0, 2, 1, 3).reshape(x.shape), {"relu"}),
    "pool function": (lambda net, x: functional.max_pool2d(net.relu(x), 2), {"relu"}),
    "normalised after": (lambda net, x: net.norm(net.relu(x)), set()),
    "shortcut around": (lambda net, x: net.relu(x) + x, set()),
    "sum of two": (lambda net, x: net.relu(x) + net.relu6(x), {"relu", "relu6"}),
    "relu after sum": (lambda net, x: net.relu6(net.relu(x) + x), {"relu6"}),
    "chain": (lambda net, x: net.relu6(net.pool(net.relu(x))), {"relu", "relu6"}),
    "one part": (lambda net, x: torch.cat([net.relu(x), x], 1), {"relu"}),
    "gated": (lambda net, x: x * net.relu(x), set()),
}


@pytest.mark.parametrize("case", CASES)
def test_activations_that_feed_a_sign(case: str) -> None:
    body, expected = CASES[case]
    flow = _flow(body)
    assert flow.traced
    assert flow.activations == expected


def test_a_gate_is_named_but_not_replaced() -> None:
    flow = _flow(lambda net, x: net.gate(x))
    assert flow.gates == {"gate"}
    assert not flow.activations


def test_dropout_in_front_of_a_sign_is_found_also_behind_negative_values() -> None:
    assert _flow(lambda net, x: net.dropout(x)).dropouts == {"dropout"}
    assert _flow(lambda net, x: net.pool(net.dropout(net.relu(x)))).dropouts == {"dropout"}
    assert _flow(lambda net, x: x + net.dropout(x)).dropouts == set()
    assert _flow(lambda net, x: net.relu(x) + net.dropout(net.relu6(x))).dropouts == set()


@pytest.mark.parametrize(
    "body", [lambda net, x: functional.relu(x), lambda net, x: torch.relu(x), lambda net, x: x.relu()]
)
def test_activations_called_as_functions_are_reported(body: Callable[[_Net, Tensor], Tensor]) -> None:
    model = _Net(body)
    model(torch.randn(1, 1, 5, 5))
    report = convert_(model, Method("qat"))
    (note,) = [note for note in report.notes if not note.startswith("on ")]  # beside what is said of kernels
    assert note.startswith("middle: an activation called as a function feeds its sign")
    assert note in str(report)


def test_a_network_that_cannot_be_traced_is_judged_by_order() -> None:
    def body(net: _Net, x: Tensor) -> Tensor:
        return net.relu(x) if x.sum() > 0 else x

    flow = _flow(body)
    assert not flow.traced
    assert "control flow" in flow.obstacle
    # In order of definition all of these stand between the stem and the middle layer.
    assert flow.activations == {"relu", "relu6", "softplus"}
    assert flow.dropouts == {"dropout"}
    assert flow.gates == {"gate"}
    model = _Net(body)
    model(torch.ones(1, 1, 5, 5))
    report = convert_(model, Method("qat"))
    assert "could not be traced" in report.notes[0]
    assert isinstance(model.relu, nn.Identity)


def test_a_relu_shared_with_a_full_precision_layer_is_replaced_everywhere() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
            self.relu = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.c(self.relu(self.b(self.relu(self.a(x)))))
            return result

    model = Shared()
    report = convert_(model, Method("qat"))
    assert isinstance(model.relu, nn.Identity)
    row = next(row for row in report.rows if row.name == "relu")
    assert row.action == "replaced"
    assert "uses it in 2 places, and loses it in all of them" in row.reason
