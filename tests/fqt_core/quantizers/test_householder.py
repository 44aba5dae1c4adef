"""Block Householder quantiser: against dense matrices and a straightforward search; variances on real gradients."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fqt_core.config import Convnet
from fqt_core.data import load_dataset
from fqt_core.models import build
from fqt_core.quantizers.byte_gradients import affine
from fqt_core.quantizers.householder import HouseholderBlocks
from fqt_core.quantizers.scq import GroupRanges
from fqt_core.random import PhiloxKey

DRAWS = 60


def dense(ranges: Tensor) -> Tensor:
    """The whole transform as a matrix, row by row as the paper has it."""
    count = len(ranges)
    if count < 2 or float(ranges.max()) == 0:
        return torch.eye(count, dtype=torch.float64)
    order = sorted(range(count), key=lambda row: -float(ranges[row]))
    sizes = [float(ranges[row]) for row in order]
    others = next(n for n in range(1, count) if n == count - 1 or n * sizes[count - n - 1] >= sum(sizes[: count - n]))
    heads = count - others
    matrix = torch.zeros(count, count, dtype=torch.float64)
    cut = [round(others * sum(sizes[:head]) / sum(sizes[:heads])) for head in range(heads + 1)]
    for head in range(heads):
        rows = [order[head], *order[heads + cut[head] : heads + cut[head + 1]]]
        k = len(rows)
        if k == 1:
            matrix[rows[0], rows[0]] = 1
            continue
        v = torch.full((k,), 1 / math.sqrt(k), dtype=torch.float64)
        v[0] -= 1
        v /= v.norm()
        q = torch.eye(k, dtype=torch.float64) - 2 * torch.outer(v, v)
        smaller = max(float(ranges[rows[1]]), float(ranges[rows[0]]) * 2**-20)
        w = torch.tensor([float(ranges[rows[0]]) / math.sqrt(k), smaller * float(q.abs().max()) / (k - 1)])
        scale = w.double() ** (-1 / 3)
        scale *= (1 / scale).norm()
        place = torch.tensor(rows)
        matrix[place[:, None], place] = q @ torch.diag(torch.cat([scale[:1], scale[1:].expand(k - 1)]))
    return matrix


@given(
    st.lists(st.sampled_from([0.0, 1e-9, 0.01, 0.5, 0.51, 1.0, 40.0]), min_size=0, max_size=20),
    st.integers(0, 2**31),
)
def test_equals_the_dense_matrix_and_its_inverse(ranges: list[float], seed: int) -> None:
    found, generator = torch.tensor(ranges, dtype=torch.float32), torch.Generator().manual_seed(seed)
    blocks, matrix = HouseholderBlocks.of(found), dense(found)
    x = torch.randn(len(ranges), 3, 2, generator=generator)
    mixed = blocks.mix(x)
    expected = (matrix @ x.double().flatten(1)).view(x.shape)
    size = max([1.0, *expected.abs().flatten().tolist()])
    torch.testing.assert_close(mixed.double(), expected, rtol=0, atol=1e-6 * size)
    torch.testing.assert_close(blocks.separate(mixed), x, rtol=0, atol=5e-4)


@pytest.mark.parametrize("ranges", [[], [3.0], [0.0], [0.0, 0.0, 0.0]], ids=str)
def test_nothing_is_mixed_where_there_is_nothing_to_share(ranges: list[float]) -> None:
    x = torch.randn(len(ranges), 4)
    blocks = HouseholderBlocks.of(torch.tensor(ranges))
    assert torch.equal(blocks.mix(x), x)
    assert torch.equal(blocks.separate(x), x)


def test_rows_of_zeros_stay_zeros() -> None:
    x = torch.randn(6, 8) * torch.tensor([5.0, 0, 0, 0, 0, 0])[:, None]
    blocks = HouseholderBlocks.of(x.amax(1) - x.amin(1))
    assert int(blocks.size.max()) > 1
    torch.testing.assert_close(blocks.separate(blocks.mix(x)), x, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def gradients() -> list[Tensor]:
    """dL/dY of each convolution but the first of a network that has learned a little of the digits."""
    torch.manual_seed(0)
    data = load_dataset("digits", channels=1, image_size=8)
    images = torch.from_numpy(data.images).float() / 255 - 0.3
    labels = torch.from_numpy(data.labels)
    model = build(Convnet(image_size=8, channels=1, width=0.25), num_classes=10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(25):
        part = slice(step * 64, step * 64 + 64)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[part]), labels[part]).backward()
        optimizer.step()
    found: list[Tensor] = []
    for module in [module for module in model.modules() if isinstance(module, nn.Conv2d)][1:]:
        module.register_full_backward_hook(lambda _module, _inputs, outputs: found.append(outputs[0].detach()))
    nn.functional.cross_entropy(model(images[1600:1664]), labels[1600:1664]).backward()
    return [g.contiguous() for g in found]


def estimate(kind: str, g: Tensor, bits: int, step: int) -> Tensor:
    """One draw of the quantised gradient."""
    ranges = GroupRanges.scan(g, 0)
    blocks = HouseholderBlocks.of(ranges.hi - ranges.lo) if kind == "bhq" else None
    mixed = g if blocks is None else blocks.mix(g)
    ranges = GroupRanges.scan(mixed, 0)
    codes = affine(mixed, ranges.joined() if kind == "ptq" else ranges, bits, PhiloxKey(1, step, 2, 0))
    assert codes.offset is not None
    shape = (-1, *[1] * (g.dim() - 1))
    values = (codes.codes.float() * codes.scale.view(shape) + codes.offset.view(shape)).movedim(-1, 1)
    return values if blocks is None else blocks.separate(values)


@pytest.mark.parametrize("bits", [2, 5, 8])
def test_variances_on_real_gradients(gradients: list[Tensor], bits: int) -> None:
    """And all three are unbiased: the error of the mean is what so many draws leave."""
    for g in gradients:
        variance = {}
        for kind in ("bhq", "psq", "ptq"):
            draws = torch.stack([estimate(kind, g, bits, step) for step in range(DRAWS)]).double()
            spread = draws.var(0)
            error = (draws.mean(0) - g) ** 2
            variance[kind] = float(spread.sum())
            # The sum of many squared errors of means is close to that of their variances.
            assert float(error.sum()) == pytest.approx(variance[kind] / DRAWS, rel=0.25)
        assert variance["bhq"] < variance["psq"] < variance["ptq"]
