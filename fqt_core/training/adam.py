"""Adam for networks with binarised layers: one pass over the latents of each, from gradient to sign bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, overload

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from fqt_core import ops
from fqt_core.config.threads import WORTH_A_THREAD
from fqt_core.layers import BinaryLayer, CompactGradient, DeferredGradient
from fqt_core.layers.latents import is_laid_out
from fqt_core.ops import native
from fqt_core.ops.geometry import words_for
from fqt_core.ops.threads import threads_for


class BinaryAdam(torch.optim.Optimizer):
    """Adam with the L2 penalty in the gradient, as ``torch.optim.Adam``; the latents of binarised layers by themselves.

    Latents that are float32, where the operation has a kernel, and laid out as their layer does take their step in
    :func:`fqt_core.ops.adam_binary_`, on a CPU all of them in one call, which clamps them to [-1, 1], and whose sign
    words and scale stay with the layer. Their gradient may come dense, as the parameter's, or compact, as
    :attr:`~fqt_core.layers.BinaryLayer.compact_gradient`, whose rows may be made here. All other
    parameters, and latents elsewhere, which are not clamped here, are torch's business.

    State per parameter, as of ``torch.optim.Adam``: ``step``, ``exp_avg``, ``exp_avg_sq``.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        layers: Iterable[BinaryLayer],
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        """Prepare.

        Args:
            params: groups of parameters, of a whole network; see ``torch.optim.Optimizer``.
            layers: the network's binarised layers.
            lr, betas, eps, weight_decay: for groups that do not have their own.
        """
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self._layers: dict[int, list[BinaryLayer]] = {}
        for layer in layers:
            self._layers.setdefault(id(layer.weight), []).append(layer)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As of any optimiser; compact gradients are dropped as well."""
        if set_to_none:  # as torch does it, but for a range in its profiler
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None
        else:
            super().zero_grad(set_to_none)
        for layer in self._binary_layers():
            if layer.compact_gradient is not None:
                layer.compact_gradient = None

    @contextmanager
    def compact_gradients(self) -> Iterator[None]:
        """While this lasts, layers whose compact gradients would be used here want them."""
        layers = [layer for layer in self._binary_layers() if _in_one_pass(layer.weight)]
        for layer in layers:
            layer.wants_compact_gradient = True
        try:
            yield
        finally:
            for layer in layers:
                layer.wants_compact_gradient = False

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        """Update the parameters of one group that have a gradient."""
        binary: list[_Update] = []
        small: list[nn.Parameter] = []
        large: list[nn.Parameter] = []
        not_fusible: list[nn.Parameter] = []
        for parameter in group["params"]:
            layers = self._layers.get(id(parameter))
            if layers is not None:
                if _in_one_pass(parameter):
                    rows = _row_gradient(parameter, layers)
                    if rows is not None:
                        binary.append(_Update(parameter, layers, rows, self._state_of(parameter)))
                    continue
                parameter.grad = _dense_gradient(parameter, layers)
            gradient = parameter.grad
            if gradient is None:
                continue
            if not _fusible(parameter, gradient):
                not_fusible.append(parameter)
            elif parameter.numel() < WORTH_A_THREAD:
                small.append(parameter)
            else:
                large.append(parameter)
        if binary:
            _step_binary(binary, group)
        # Torch wakes all threads for each of them, however small.
        with threads_for(WORTH_A_THREAD):
            self._step_others(small, group, fused=True)
        self._step_others(large, group, fused=True)
        self._step_others(not_fusible, group, fused=False)

    def _binary_layers(self) -> Iterator[BinaryLayer]:
        for layers in self._layers.values():
            yield from layers

    def _step_others(self, parameters: list[nn.Parameter], group: dict[str, Any], *, fused: bool) -> None:
        if not parameters:
            return
        states = [self._state_of(parameter) for parameter in parameters]
        beta1, beta2 = group["betas"]
        adam(
            list(parameters),
            [parameter.grad for parameter in parameters if parameter.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=fused,
            foreach=not fused and not parameters[0].is_cpu,  # a GPU would be given a dozen kernels for each parameter
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def _state_of(self, parameter: nn.Parameter) -> dict[str, Any]:
        """The parameter's state, in its memory format whatever it was loaded from."""
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0, dtype=torch.float32)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        strides = parameter.stride()
        for key in ("exp_avg", "exp_avg_sq"):
            if state[key].stride() != strides:
                state[key] = torch.empty_like(parameter).copy_(state[key])
        return state


class _Update(NamedTuple):
    """Latents that are to take their step, the layers that they belong to, their gradient and their state."""

    weight: nn.Parameter
    layers: list[BinaryLayer]
    gradient: CompactGradient
    state: dict[str, Any]

    def latents(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weight and both averages as rows (D, T, C)."""
        weight, exp_avg, exp_avg_sq = self.weight.detach(), self.state["exp_avg"], self.state["exp_avg_sq"]
        return _rows(weight.movedim(1, -1)), _rows(exp_avg.movedim(1, -1)), _rows(exp_avg_sq.movedim(1, -1))


@contextmanager
def compact_gradients(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """While this lasts, binarised layers want compact gradients if the optimiser uses them."""
    if not isinstance(optimizer, BinaryAdam):
        yield
        return
    with optimizer.compact_gradients():
        yield


def _in_one_pass(weight: Tensor) -> bool:
    """Whether :func:`fqt_core.ops.adam_binary_` can take the step of these latents."""
    has_kernel = weight.is_cpu or (weight.is_cuda and "adam_binary_" in native.CUDA_KERNELS)
    return has_kernel and weight.dtype == torch.float32 and is_laid_out(weight) and weight.numel() > 0


def _fusible(parameter: Tensor, gradient: Tensor) -> bool:
    """Whether torch's fused kernel can be trusted with a parameter: it goes through memory in one order for all."""
    return (
        parameter.is_cpu
        and parameter.dtype == gradient.dtype == torch.float32
        and parameter.stride() == gradient.stride()
    )


def _step_binary(updates: list[_Update], group: dict[str, Any]) -> None:
    """Update latents that :func:`fqt_core.ops.adam_binary_` takes."""
    beta1, beta2 = group["betas"]
    constants = group["lr"], beta1, beta2, group["eps"], group["weight_decay"]
    steps: list[int] = []
    for update in updates:
        update.state["step"] += 1
        steps.append(int(update.state["step"]))
    if all(update.weight.is_cpu for update in updates):
        found = _all_at_once(updates, constants, steps)
    else:
        found = [
            ops.adam_binary_(*u.latents(), _rows(u.gradient.rows), u.gradient.index, *constants, step, True)
            for u, step in zip(updates, steps, strict=True)
        ]
    for (weight, layers, *_), (words, scale) in zip(updates, found, strict=True):
        torch.autograd.graph.increment_version(weight)
        shaped = words.view(weight.shape[0], *weight.shape[2:], words_for(weight.shape[1]))
        for layer in layers:
            layer.weight_cache.put(weight, shaped, scale)


def _all_at_once(
    updates: list[_Update], constants: tuple[float, float, float, float, float], steps: list[int]
) -> list[tuple[Tensor, Tensor]]:
    """Sign words and scales of all latents, after their step, whose gradients are made on the way."""
    gradients = [update.gradient for update in updates]
    deferred = [gradient for gradient in gradients if isinstance(gradient, DeferredGradient)]
    weights, averages, squares = zip(*(update.latents() for update in updates), strict=True)
    words, scales = ops.adam_binary_all_(
        list(weights),
        list(averages),
        list(squares),
        [one.signs if isinstance(one, DeferredGradient) else _rows(one.rows) for one in gradients],
        [one.index for one in gradients],
        [one.codes for one in deferred],
        [one.scale for one in deferred],
        [one.offset for one in deferred],
        [one.alpha for one in deferred],
        [number for one in deferred for pair in one.geometry for number in pair],
        *constants,
        steps,
        True,
    )
    words_of = [weight.shape[0] * weight.shape[1] * words_for(weight.shape[2]) for weight in weights]
    outputs_of = [weight.shape[0] for weight in weights]
    return list(zip(torch.split(words, words_of), torch.split(scales, outputs_of), strict=True))


def _rows(rows: Tensor) -> Tensor:
    """(D, *, C) as (D, T, C); a view if it is contiguous."""
    return rows.flatten(1, -2) if rows.dim() > 2 else rows.unsqueeze(1)


def _row_gradient(weight: nn.Parameter, layers: list[BinaryLayer]) -> CompactGradient | None:
    """The gradient as rows, all of them if it is dense; compact gradients are consumed."""
    compact = [layer.compact_gradient for layer in layers if layer.compact_gradient is not None]
    if weight.grad is None and len(compact) == 1:
        for layer in layers:
            layer.compact_gradient = None
        return compact[0]
    dense = _dense_gradient(weight, layers)
    return (
        None
        if dense is None
        else CompactGradient(dense.movedim(1, -1), torch.arange(weight.shape[0], device=weight.device))
    )


def _dense_gradient(weight: nn.Parameter, layers: list[BinaryLayer]) -> Tensor | None:
    """The parameter's gradient and the compact ones of its layers, which are consumed, in one."""
    total = weight.grad
    for layer in layers:
        if layer.compact_gradient is not None:
            dense = layer.compact_gradient.dense(weight)
            total = dense if total is None else total + dense
            layer.compact_gradient = None
    return total
