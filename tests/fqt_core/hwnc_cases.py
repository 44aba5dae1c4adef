"""Arguments for the operations of fused chains: shapes and values that hurt, drawn by hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from fqt_core import ops
from tests.fqt_core.cases import Conv, convolutions, gradient


def chain_convolutions() -> st.SearchStrategy[Conv]:
    """Convolutions of chains: one group; sometimes more samples and channels than a kernel takes at once."""

    def widen(case: Conv, samples: int, outputs: int, kernel: int) -> Conv:
        changes: dict[str, Any] = {"samples": samples or case.samples, "outputs": outputs or case.outputs}
        if kernel == 5:
            changes |= {"kernel": (5, 5), "dilation": (1, 1), "padding": (2, 2)}
        if kernel == 1:  # short lines of which strides leave parts out
            changes |= {"kernel": (1, 1), "stride": (1, 3), "padding": (0, 0), "size": (1, 4)}
        if samples > 100 or outputs > 200:
            changes |= {"channels": min(case.channels, 3)}
        return Conv(**(vars(case) | changes))

    return st.builds(
        widen,
        convolutions(max_groups=1),
        st.sampled_from([0, 0, 0, 4, 17, 33, 130]),
        st.sampled_from([0, 0, 0, 31, 65, 130, 257]),
        st.sampled_from([0, 0, 0, 5, 1]),
    )


def words(x: Tensor) -> Tensor:
    """(N, C, H, W) floats to sign words (H, W, N, ceil(C / 64))."""
    packed: Tensor = ops.OPERATIONS["pack_sign"].reference(x)
    return packed.permute(1, 2, 0, 3).contiguous()


def weight_words(case: Conv) -> Tensor:
    """Sign words (D, kh, kw, ceil(C / 64))."""
    packed: Tensor = ops.OPERATIONS["pack_sign"].reference(case.weight())
    return packed


def _window(case: Conv) -> tuple[list[int], list[int], list[int]]:
    return list(case.stride), list(case.padding), list(case.dilation)


def _integers(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(-40, 41, shape, generator=generator, dtype=torch.int16)


def _conv(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    return words(case.x()), weight_words(case), case.channels, *_window(case)


def _pool(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    shape = (2 + draw(st.integers(0, 5)), 2 + draw(st.integers(0, 5)), case.samples, case.outputs)
    generator = case.generator()
    flip = torch.randint(0, 2, (case.outputs,), generator=generator, dtype=torch.uint8)
    return _integers(shape, generator), flip


def _affine(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    generator = case.generator()
    channels = draw(st.sampled_from([case.channels, case.outputs]))
    y = _integers((*case.size, case.samples, channels), generator)
    a = torch.randn(channels, generator=generator) * 0.05
    b = -a * torch.randint(-3, 4, (channels,), generator=generator)  # exact zeros among the results
    residual = torch.randn(y.shape, generator=generator).round(decimals=1) if draw(st.booleans()) else None
    return y, a, b, residual, draw(st.booleans())


@dataclass(frozen=True)
class Block:
    """What the backward operations of one block share."""

    g: Tensor
    y: Tensor
    index: Tensor
    c: Tensor
    a0: Tensor
    a1: Tensor
    alpha: Tensor
    choice: Tensor | None
    size: tuple[int, int]

    @property
    def norm(self) -> tuple[Tensor, ...]:
        """Arguments up to a1."""
        return self.g, self.y, self.index, self.c, self.a0, self.a1


def some_rising(count: int, draw: st.DrawFn, generator: torch.Generator) -> Tensor:
    """Some of ``count`` numbers, perhaps none or all, rising."""
    some = draw(st.sampled_from([0, 1, count, count // 2, draw(st.integers(0, count))]))
    return torch.randperm(count, generator=generator)[: min(some, count)].sort().values


def block(case: Conv, draw: st.DrawFn) -> Block:
    """One block's gradient."""
    generator = case.generator()
    pooled = draw(st.booleans())
    size = (case.size[0] + 1, case.size[1] + 1) if pooled else case.size
    height, width = (size[0] // 2, size[1] // 2) if pooled else size
    shape = (height, width, case.samples, case.outputs)
    index = some_rising(case.samples, draw, generator)
    kind = case.seed if case.seed % 7 != 5 else 0
    g = gradient((height, width, max(1, len(index)), case.outputs), kind)[:, :, : len(index)].contiguous()
    vector = lambda: torch.randn(case.outputs, generator=generator)  # noqa: E731
    still = draw(st.booleans())  # without normalisation's own terms
    a0, a1 = (torch.zeros(case.outputs),) * 2 if still else (vector() * 0.1, vector() * 0.01)
    choice = torch.randint(0, 4, shape, generator=generator, dtype=torch.uint8) if pooled else None
    alpha = vector().abs() if draw(st.booleans()) else torch.ones(case.outputs)
    return Block(g, _integers(shape, generator), index, vector(), a0, a1, alpha, choice, size)


def _sums(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    b = block(case, draw)
    return b.g, b.y, b.index, b.c


def _normalization(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    generator, channels = case.generator(), case.outputs
    running, vectors = torch.rand(2, channels, generator=generator), torch.randn(5, channels, generator=generator)
    alpha, shift, origin = (v if draw(st.booleans()) else None for v in (vectors[2], vectors[3], vectors[4]))
    if alpha is not None:
        alpha[0] = 0.0
    values = torch.randint(-99, 99, (draw(st.integers(2, 300)), channels), generator=generator)
    values[:, -1] = 7  # no variance
    sums = [values.sum(0), (values * values).sum(0)]
    if draw(st.booleans()):
        sums = [total.double() / 3 for total in sums]
    first, second = sums if draw(st.booleans()) else (None, None)
    options = draw(st.sampled_from([0.1, 1.0, 1 / 3])), draw(st.sampled_from([1e-5, 1e-3]))
    return *running, *vectors[:2], alpha, shift, origin, first, second, len(values), *options


def _norm_of_block(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    """A block's arguments from its running mean to its ε."""
    generator, outputs = case.generator(), case.outputs
    running, vectors = torch.rand(2, outputs, generator=generator), torch.randn(4, outputs, generator=generator)
    alpha, shift = (v if draw(st.booleans()) else None for v in vectors[2:])
    batches, momentum = torch.tensor(draw(st.integers(0, 5))), draw(st.sampled_from([None, 0.1, 1.0, 1 / 3]))
    return *running, batches, *vectors[:2], alpha, shift, momentum, 1e-5


def _block_forward(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    [(case, pool)] = _blocks(case, draw, most=1)
    _, outputs, height, width = case.output
    residual = None
    if draw(st.booleans()):
        shape = (height // 2, width // 2) if pool else (height, width)
        residual = torch.randn(*shape, case.samples, outputs, generator=case.generator())
    return *_conv(case, draw), pool, *_norm_of_block(case, draw), residual, draw(st.booleans())


def _blocks(case: Conv, draw: st.DrawFn, *, most: int) -> list[tuple[Conv, bool]]:
    """Blocks that follow each other, each with whether it pools; none has one value a channel, without variance."""
    blocks: list[tuple[Conv, bool]] = []
    for _ in range(draw(st.integers(1, most))):
        height, width = case.output[2:]
        pool = min(height, width) >= 2 and draw(st.booleans())
        if pool:
            height, width = height // 2, width // 2
        blocks.append((case, pool))
        taps = draw(st.sampled_from([1, 3]))
        case = Conv(
            *(case.samples, case.outputs, draw(st.sampled_from([1, 5, 65])), (height, width)),
            *((taps, taps), (1, 1), (taps // 2, taps // 2), (1, 1), 1, case.seed),
        )
    if case.samples * height * width == 1:
        blocks = [(replace(block, samples=2), pool) for block, pool in blocks]
    return blocks


def _numbers(conv: Conv) -> list[int]:
    """Stride, padding, dilation."""
    return [number for pair in _window(conv) for number in pair]


def _chain_forward(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    blocks = _blocks(case, draw, most=3)
    convs, pools = zip(*blocks, strict=True)
    mean, var, _, *norms, momentum, eps = (
        list(values) for values in zip(*(_norm_of_block(c, draw) for c in convs), strict=True)
    )
    geometry = [number for conv in convs for number in _numbers(conv)]
    products = [weight_words(conv) for conv in convs], [conv.channels for conv in convs], geometry, list(pools)
    return words(convs[0].x()), *products, mean, var, *norms, [m or 0.1 for m in momentum], eps, draw(st.booleans())


def _chain_gradient(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    blocks = _blocks(case, draw, most=3)[::-1]
    generator, convs = case.generator(), [conv for conv, _ in blocks]
    samples = convs[0].samples
    index = some_rising(samples, draw, generator)
    shapes = [tuple(side // (1 + pool) for side in conv.output[2:]) for conv, pool in blocks]
    g = gradient((*shapes[0], max(1, len(index)), convs[0].outputs), case.seed)[:, :, : len(index)].contiguous()
    bad = draw(st.sampled_from([None, None, None, 0.0, float("inf")]))
    if bad is not None and g.numel():
        g[-1, -1, -1] = bad
        g.mul_(bad if bad == 0 else 1)
    y = [_integers((*shape, samples, c.outputs), generator) for shape, c in zip(shapes, convs, strict=True)]
    choice = [
        torch.randint(0, 4, values.shape, generator=generator, dtype=torch.uint8) if pool else None
        for values, (_, pool) in zip(y, blocks, strict=True)
    ]
    vectors = [[torch.randn(conv.outputs, generator=generator) for conv in convs] for _ in range(2)]
    constants = [torch.rand(4, conv.outputs, generator=generator, dtype=torch.float64) for conv in convs]
    if draw(st.booleans()):
        constants[-1][:] = float("nan")  # the last one is not done
    windows = [words(torch.randn(samples, c.channels, *c.size, generator=generator)) for c in convs]
    geometry = [number for conv in convs for number in _numbers(conv)]
    products = [weight_words(conv) for conv in convs], windows, [conv.channels for conv in convs], geometry
    kept = [draw(st.integers(1, count)) for conv in convs for count in (samples, conv.outputs)]
    bits = [draw(st.sampled_from([1, 2, 4, 8])) for _ in range(2 * len(convs))]
    pruning = draw(st.sampled_from(["systematic", "bernoulli", "topk", "none"]))
    key = draw(st.integers(0, 2**63 - 1)), draw(st.integers(0, 2**32 - 1)), [*range(len(convs))], [1, 0, 3, 2]
    return g, index, y, choice, vectors[0], constants, vectors[1], *products, kept, bits, pruning, *key


def _normalization_gradient(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    total, moment, *constants = torch.randn(6, case.outputs, generator=case.generator(), dtype=torch.float64)
    bad = draw(st.sampled_from([None, None, total, moment]))
    if bad is not None:
        bad[-1] = float("inf")
    return total, moment, torch.stack(constants), draw(st.integers(1, 1000)), draw(st.booleans())


def _range(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    b = block(case, draw)
    return *b.norm, b.alpha, b.choice is not None


def _moments(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    b = block(case, draw)
    ranges = ops.OPERATIONS["hwnc_gradient_range"].reference(*b.norm, b.alpha, b.choice is not None)
    zeros = b.size[0] * b.size[1] - b.y.shape[0] * b.y.shape[1]
    return *b.norm, b.alpha, zeros, *ranges[:4]


def _quantize(case: Conv, draw: st.DrawFn, *, samples: bool) -> tuple[Any, ...]:
    b = block(case, draw)
    found = ops.OPERATIONS["hwnc_gradient_range"].reference(*b.norm, b.alpha, b.choice is not None)
    lo, hi = found[:2] if samples else found[2:4]
    kept = some_rising(len(lo), draw, case.generator())
    narrow = draw(st.sampled_from([1.0, 0.6]))
    bits = draw(st.sampled_from([1, 2, 4, 8]))
    key = (draw(st.integers(0, 2**63 - 1)), draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 9)), 2)
    alpha = (b.alpha,) if samples else ()
    return *b.norm, *alpha, b.choice, list(b.size), kept, lo[kept] * narrow, hi[kept] * narrow, bits, *key


def _gradient_codes(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    b, generator = block(case, draw), case.generator()
    bad = draw(st.sampled_from([None, None, None, 0.0, float("inf")]))
    if bad is not None and b.g.numel():
        b.g[-1, -1, -1] = bad
        b.g.mul_(bad if bad == 0 else 1)
    constants = torch.rand(4, case.outputs, generator=generator, dtype=torch.float64)
    pruning = draw(st.sampled_from(["systematic", "bernoulli", "topk", "none"]))
    kept = [draw(st.integers(1, count)) for count in (case.samples, case.outputs)]
    bits = [draw(st.sampled_from([1, 2, 4, 8])) for _ in range(2)]
    key = (draw(st.integers(0, 2**63 - 1)), draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 9)), [1, 0, 3, 2])
    norm = b.g, b.y, b.index, b.c, constants, draw(st.booleans())
    return *norm, b.alpha, b.choice, list(b.size), kept, bits, pruning, *key


def _most(draw: st.DrawFn) -> int:
    return draw(st.sampled_from([1, 3, 15, 255]))


def _codes(shape: tuple[int, ...], most: int, generator: torch.Generator) -> Tensor:
    return torch.randint(0, most + 1, shape, generator=generator, dtype=torch.uint8)


def _input_gradient(case: Conv, index: Tensor, most: int) -> tuple[Any, ...]:
    generator = case.generator()
    _, outputs, height, width = case.output
    codes = _codes((height, width, len(index), outputs), most, generator)
    scale, offset = (torch.randn(len(index), generator=generator) for _ in range(2))
    window = words(torch.randn(case.samples, case.channels, *case.size, generator=generator))
    return codes, weight_words(case), case.channels, list(case.size), *_window(case), scale, offset, window, index


def _weight_gradient(case: Conv, kept: int, most: int) -> tuple[Any, ...]:
    generator = case.generator()
    samples, _, height, width = case.output
    codes = _codes((height, width, kept, -(-samples // 4) * 4), most, generator)
    codes[..., samples:] = 0
    scale, offset = (torch.randn(kept, generator=generator) for _ in range(2))
    return words(case.x()), codes, case.channels, list(case.kernel), *_window(case), scale, offset


def _some_samples(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    return _input_gradient(case, some_rising(case.samples, draw, case.generator()), _most(draw))


def _some_channels(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    return _weight_gradient(case, draw(st.sampled_from([0, 1, case.outputs, max(1, case.outputs // 4)])), _most(draw))


def _add_rows(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    generator = case.generator()
    index = some_rising(case.samples, draw, generator)
    target = torch.randn(*case.size, case.samples, case.channels, generator=generator)
    return target, torch.randn(*case.size, len(index), case.channels, generator=generator), index


def _entry(case: Conv) -> Tensor:
    """float32 (N, H, W, C), far from zero."""
    return case.x().permute(0, 2, 3, 1).contiguous() + 3


def _enter(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    a, b = (torch.randn(case.channels, generator=case.generator()) for _ in range(2))
    x, before, behind = _entry(case), *draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    room = (*x.shape[1:3], before + len(x) + behind)
    words = torch.full((2, *room, -(-case.channels // 64)), -1)
    h = torch.full((*room, case.channels), -1.0) if draw(st.booleans()) else None
    return x, a, b - 3 * a, words[0], words[1], h, before


def _leave(case: Conv, draw: st.DrawFn, *, vectors: int) -> tuple[Any, ...]:
    generator = case.generator()
    index = some_rising(case.samples, draw, generator)
    g = torch.randn(*case.size, len(index), case.channels, generator=generator)
    return g, index, _entry(case), *(torch.randn(case.channels, generator=generator) for _ in range(vectors))


HWNC_ARGUMENTS = {
    "hwnc_entry_moments": lambda case, draw: (_entry(case),),
    "hwnc_enter": _enter,
    "hwnc_entry_sums": lambda case, draw: _leave(case, draw, vectors=1),
    "hwnc_leave": lambda case, draw: _leave(case, draw, vectors=3),
    "hwnc_binary_conv2d": _conv,
    "hwnc_max_pool2d": _pool,
    "hwnc_affine_sign": _affine,
    "hwnc_normalization": _normalization,
    "hwnc_block_forward": _block_forward,
    "hwnc_chain_forward": _chain_forward,
    "hwnc_chain_gradient": _chain_gradient,
    "hwnc_normalization_gradient": _normalization_gradient,
    "hwnc_gradient_sums": _sums,
    "hwnc_gradient_range": _range,
    "hwnc_gradient_codes": _gradient_codes,
    "hwnc_gradient_moments": _moments,
    "hwnc_quantize_samples": lambda case, draw: _quantize(case, draw, samples=True),
    "hwnc_quantize_channels": lambda case, draw: _quantize(case, draw, samples=False),
    "hwnc_input_gradient": _some_samples,
    "hwnc_weight_gradient": _some_channels,
    "hwnc_add_rows": _add_rows,
}


@st.composite
def hwnc_arguments(draw: st.DrawFn, name: str) -> tuple[Any, ...]:
    """Arguments for the operation ``name``."""
    return HWNC_ARGUMENTS[name](draw(chain_convolutions()), draw)


def _large(samples: int, channels: int, outputs: int, size: tuple[int, int], stride: int) -> Conv:
    return Conv(samples, channels, outputs, size, (3, 3), (stride, stride), (1, 1), (1, 1), 1, seed=samples)


LARGE = (_large(150, 192, 40, (3, 40), 1), _large(70, 64, 130, (6, 48), 1), _large(40, 512, 200, (3, 4), 2))
"""More samples, pixels, and weights than kernels take at once."""

PRODUCTS: dict[str, Callable[[Conv], list[tuple[Any, ...]]]] = {
    "hwnc_binary_conv2d": lambda case: [(words(case.x()), weight_words(case), case.channels, *_window(case))],
    "hwnc_input_gradient": lambda case: [
        _input_gradient(case, torch.arange(0, case.samples, step), 255) for step in (1, 4)
    ],
    "hwnc_weight_gradient": lambda case: [_weight_gradient(case, case.outputs // step, 255) for step in (1, 4)],
}
"""Arguments for each product of a large case."""
