"""Every operation through torch's dispatcher, and every kernel by itself, with arguments that nobody means to give.

Whatever the layout of what comes in, the result is the reference's; whatever is wrong with it, there is an error of
Python and not a crash. The sanitizer build (``test_sanitized.py``) runs these tests too: no read outside goes unseen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fqt_core import ops
from fqt_core.ops import native
from fqt_core.verification.comparison import same_bits, tensors_in, with_tensors
from tests.fqt_core.all_cases import arguments_of, drawn

LAYOUTS = ("strided", "offset", "permuted", "expanded")
DTYPES = (torch.float16, torch.float32, torch.float64, torch.bool, torch.uint8, torch.int16, torch.int32, torch.int64)
NUMBERS = (-(2**63), -(2**62), -(2**31), -1, 0, 1, 2**40, 2**62, 2**63 - 64, 2**63 - 1)
"""None for which an allocation could succeed and then take the machine's memory."""
REFUSALS = (RuntimeError, TypeError, ValueError, AttributeError)
"""The last for ``None`` in a tensor's place, which torch hands to the reference."""


def kernels_of(operation: str) -> list[Callable[..., Any]]:
    """The operation as users call it, and each of its native kernels."""
    rows = sorted(isa for name, isa in native.KERNELS if name == operation)
    return [getattr(torch.ops.fqt, operation).default, *(native.kernel(operation, isa) for isa in rows)]


def written(operation: str) -> set[int]:
    """Places of the arguments that the operation changes."""
    arguments = getattr(torch.ops.fqt, operation).default._schema.arguments
    return {place for place, value in enumerate(arguments) if value.alias_info and value.alias_info.is_write}


def call(operation: str, kernel: Callable[..., Any], arguments: list[Any]) -> list[Tensor]:
    """What a kernel returns and what it changes. Other arguments keep their layout."""
    places = written(operation)
    own = [with_tensors(Tensor.clone, value) if place in places else value for place, value in enumerate(arguments)]
    return list(tensors_in((kernel(*own), [own[place] for place in sorted(places)])))


def relaid(tensor: Tensor, layout: str) -> Tensor:
    """The same values in another layout; ``expanded`` repeats the first of them."""
    if layout == "strided":
        out = tensor.new_zeros([*tensor.shape[:-1], 2 * tensor.shape[-1]])[..., ::2]
    elif layout == "offset":
        out = tensor.new_zeros(tensor.numel() + 3)[3:].view(tensor.shape)
    elif layout == "permuted":
        out = tensor.new_zeros(tensor.shape[::-1]).permute(*reversed(range(tensor.dim())))
    else:
        return tensor[:1].expand_as(tensor) if len(tensor) else tensor
    return out.copy_(tensor)


def resized(tensor: Tensor, dim: int, size: int) -> Tensor:
    """Cut, or filled up with zeros."""
    shape = [*tensor.shape]
    kept = min(size, shape[dim])
    shape[dim] = size - kept
    return torch.cat([tensor.narrow(dim, 0, kept), tensor.new_zeros(shape)], dim)


@st.composite
def wrong_tensors(draw: st.DrawFn, tensor: Tensor) -> Tensor | None:
    """What a tensor might be instead. Words keep their unused bits at zero, as their format asks."""
    dim = draw(st.integers(0, max(0, tensor.dim() - 1)))
    ways = ["dtype", "dim", "no dim", "size", "empty", "value", "none"]
    how = draw(st.sampled_from(ways if tensor.dim() else ["dtype", "dim", "none"]))
    if how == "dtype":
        return tensor.to(draw(st.sampled_from(DTYPES)))
    if how == "dim":
        return tensor.unsqueeze(dim)
    if how == "no dim":
        return tensor.sum(dim).to(tensor.dtype)
    if how == "size":
        return resized(tensor, dim, tensor.shape[dim] + draw(st.sampled_from([-1, 1, 64])) if tensor.shape[dim] else 1)
    if how == "empty":
        return resized(tensor, dim, 0)
    if how == "value" and tensor.dtype == torch.int64 and tensor.dim() == 1 and tensor.numel():  # numbers, not words
        changed = tensor.clone()
        changed.view(-1)[draw(st.integers(0, tensor.numel() - 1))] = draw(st.sampled_from(NUMBERS))
        return changed
    return None


@st.composite
def wrong_values(draw: st.DrawFn, name: str, value: Any) -> Any:
    """What an argument might be instead."""
    numbers = [number for number in NUMBERS if number != 1 or name not in {"channels", "features"}]  # see wrong_tensors
    if isinstance(value, Tensor):
        return draw(wrong_tensors(value))
    if isinstance(value, str):
        return draw(st.sampled_from(["", "none ", "TOPK", "x" * 1000]))
    if isinstance(value, list) and value and isinstance(value[0], Tensor):
        place = draw(st.integers(0, len(value) - 1))
        other = draw(wrong_tensors(value[place])) if isinstance(value[place], Tensor) else value[0]
        changed = [*value[:place], other, *value[place + 1 :]]
        return draw(st.sampled_from([changed, [], value[:1], [*value, value[0]]]))
    if isinstance(value, list):
        place = draw(st.integers(0, max(0, len(value) - 1)))
        changed = [*value[:place], draw(st.sampled_from(numbers)), *value[place + 1 :]]
        return draw(st.sampled_from([changed, [], value[:1], [*value, 1]]))
    return draw(st.sampled_from(numbers)) if type(value) is int else value


@pytest.mark.parametrize("operation", sorted(ops.OPERATIONS))
def test_any_layout_gives_the_right_result(operation: str) -> None:
    fixed = written(operation)

    @given(st.data())
    @settings(max_examples=6)
    def check(data: st.DataObject) -> None:
        drawn = data.draw(arguments_of(operation))

        def anew(value: Tensor) -> Tensor:
            if not value.dim():
                return value
            return relaid(value, data.draw(st.sampled_from(LAYOUTS[: 3 if value.dtype == torch.int64 else 4])))

        arguments = [value if place in fixed else with_tensors(anew, value) for place, value in enumerate(drawn)]
        expected = call(operation, ops.OPERATIONS[operation].reference, arguments)
        for kernel in kernels_of(operation):
            found = call(operation, kernel, arguments)
            assert all(same_bits(one, other) for one, other in zip(found, expected, strict=True))

    check()


@pytest.mark.parametrize("operation", sorted(ops.OPERATIONS))
def test_a_wrong_argument_is_refused_or_does_no_harm(operation: str) -> None:
    schema = getattr(torch.ops.fqt, operation).default._schema.arguments

    @given(st.data())
    @settings(max_examples=40)
    def check(data: st.DataObject) -> None:
        arguments = list(data.draw(arguments_of(operation)))
        place = data.draw(st.integers(0, len(arguments) - 1))
        arguments[place] = data.draw(wrong_values(schema[place].name, arguments[place]))
        for kernel in kernels_of(operation):
            try:
                found = call(operation, kernel, arguments)
            except REFUSALS:
                continue
            expected = call(operation, ops.OPERATIONS[operation].reference, arguments)
            assert all(same_bits(one, other) for one, other in zip(found, expected, strict=True))

    check()


@pytest.mark.parametrize("stride", [[], [1], [1, 1, 1], [-1, 1], [1, 2**62]])
@pytest.mark.parametrize("isa", sorted(isa for name, isa in native.KERNELS if name == "binary_conv2d"))
def test_what_is_not_two_numbers_is_refused_by_name(isa: str, stride: list[int]) -> None:
    x, weight = torch.zeros(1, 4, 4, 1, dtype=torch.int64), torch.zeros(2, 3, 3, 1, dtype=torch.int64)
    with pytest.raises(RuntimeError, match=r"stride must be (two numbers|at least 0 and at most 2\*\*30), got"):
        native.kernel("binary_conv2d", isa)(x, weight, 3, stride, [1, 1], [1, 1], 1)


_VECTOR, _MATRIX = torch.ones(6), torch.ones(4, 4, dtype=torch.float64)
_STEMS: dict[str, dict[str, Any]] = {
    "stem_normalization": {
        "weight": torch.ones(6, 3, 1, 1),
        "bias": _VECTOR,
        "origin": torch.ones(3),
        "moments": _MATRIX,
        "rows": 2,
        "running_mean": _VECTOR,
        "running_var": _VECTOR,
        "batches": torch.tensor(0),
        "gamma": _VECTOR,
        "beta": _VECTOR,
        "momentum": 0.1,
        "eps": 1e-5,
    },
    "stem_gradient": {
        "products": torch.ones(6, 4, dtype=torch.float64),
        "augmented": torch.ones(6, 4, dtype=torch.float64),
        "cross_moments": torch.ones(6, 4, dtype=torch.float64),
        "moments": _MATRIX,
        "center": _VECTOR,
        "constants": torch.ones(4, 6, dtype=torch.float64),
        "origin": torch.ones(3),
        "kernel_size": [1, 1],
        "rows": 2,
        "batch": True,
    },
}


@pytest.mark.parametrize(("operation", "isa"), sorted((name, isa) for name, isa in native.KERNELS if name in _STEMS))
def test_what_does_not_fit_a_stem_is_refused_by_name(operation: str, isa: str) -> None:
    kernel, arguments = native.kernel(operation, isa), _STEMS[operation]
    kernel(*with_tensors(Tensor.clone, list(arguments.values())))
    for name, value in arguments.items():
        wrong: list[Any] = []
        if isinstance(value, Tensor):
            wrong = [value.to(torch.float16), value.unsqueeze(0), value[..., :0] if value.dim() else value.view(1)]
        elif name in {"rows", "kernel_size"}:
            wrong = [value * 0]
        for other in wrong:
            with pytest.raises(RuntimeError, match=rf"\b{name}\b"):
                kernel(*(arguments | {name: other}).values())


@pytest.mark.parametrize("operation", ["hwnc_chain_forward", "hwnc_chain_gradient"])
def test_a_list_that_does_not_fit_the_others_is_refused_by_name(operation: str) -> None:
    schema = getattr(torch.ops.fqt, operation).default._schema.arguments
    [arguments] = drawn(operation, 1)
    lists = {place: value for place, value in enumerate(arguments) if isinstance(value, list)}
    for place, value in lists.items():
        first = schema[place].name in {"weight", "y"} and place == min(lists)  # all others are too long for it
        for kernel in (ops.OPERATIONS[operation].reference, *kernels_of(operation)):
            longer = [*arguments[:place], [*value, value[0]], *arguments[place + 1 :]]
            with pytest.raises(
                (RuntimeError, ValueError), match="must " if first else rf"\b{schema[place].name} must "
            ):
                kernel(*longer)
