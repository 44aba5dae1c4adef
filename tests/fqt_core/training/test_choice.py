"""Bits ``auto``: what is chosen is the same run as written by hand, survives a stop, and keeps the budget."""

from __future__ import annotations

import math
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
import torch

import fqt_core as fqt
from fqt_core.config import Convnet, Fqt, Method, MethodConfig
from fqt_core.config.plan import network_plan
from fqt_core.config.setting import probed_images, settings
from fqt_core.errors import CheckpointError, ConfigurationError, StopRequestedError
from fqt_core.events import BitsChosen, CheckpointWritten, parse_event
from fqt_core.layers import BinaryLayer
from fqt_core.ops import group_range, select_groups
from fqt_core.training import Session, prepare
from fqt_core.training.choice import PROBED_BATCHES, WARMUP_STEPS, probe, warm_up_method
from fqt_core.training.probe import GradientProbe
from fqt_core.training.sensitivity import Inner, Sensitivity, inclusion

from .nets import config, pictures, sha256
from .test_probe import batch

NET = Convnet(image_size=8, channels=1, width=0.25)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def session(method: MethodConfig, **options: Any) -> Session:
    plain: dict[str, Any] = {"training": config(epochs=2, batch_size=24), "data": pictures(60), "device": "cpu"}
    return prepare(architecture=NET, method=method, **{**plain, **options})


def told(events: list[Any]) -> list[BitsChosen]:
    return [event for event in events if isinstance(event, BitsChosen)]


def test_a_run_is_that_of_the_same_choice_written_by_hand_and_goes_on_with_it_after_a_stop(tmp_path: Path) -> None:
    method = Method("fqt", bits="auto", overrides=[{"pattern": "blocks.1.*", "precision": "qat"}])
    torch.manual_seed(1)
    random = torch.get_rng_state()
    whole = session(method)
    assert torch.equal(torch.get_rng_state(), random)
    events = list(whole.trainer)
    (choice,) = told(events)
    assert events[1] == choice == parse_event(choice.model_dump_json())
    assert choice.layers.keys() == {f"blocks.{index}.conv" for index in (0, 2, 3, 4)}
    assert 0.9 < choice.average_bits <= choice.budget == 1
    assert "blocks.4.conv: " in choice.summary
    assert all(row["accumulated_dw_relative_variance"] >= 0 for row in choice.layers.values())  # type: ignore[operator]

    by_hand = session(Method(**choice.method))
    assert not told(list(by_hand.trainer))
    assert sha256(by_hand.model) == sha256(whole.model)
    assert by_hand.conversion.rows == whole.conversion.rows

    polls = repeat(False)  # while bits are chosen
    to_be_stopped = session(method, checkpoint_dir=tmp_path, should_stop=lambda: next(polls, True))
    polls = iter([False] * 3)
    stopped = list(to_be_stopped.trainer)
    assert [(one.layers, one.method) for one in told(stopped)] == [(choice.layers, choice.method)]
    written = stopped[-2]
    assert isinstance(written, CheckpointWritten)
    resumed = session(method, resume_from=written.path)
    assert told(list(resumed.trainer)) == told(stopped)
    assert resumed.method == whole.method
    assert sha256(resumed.model) == sha256(whole.model)

    with pytest.raises(CheckpointError, match=r"chosen_for.budget: null in the checkpoint, 2\.0 now"):
        session(method.model_copy(update={"budget": 2.0}), resume_from=written.path)
    with pytest.raises(CheckpointError, match="chosen_for"):
        session(whole.method, resume_from=written.path)
    polls = iter([False])
    by_hand = session(whole.method, checkpoint_dir=tmp_path / "hand", should_stop=lambda: next(polls, True))
    written = list(by_hand.trainer)[-2]
    assert isinstance(written, CheckpointWritten)
    with pytest.raises(CheckpointError, match="were not chosen"):
        session(method, resume_from=written.path)


def test_a_stop_is_heeded_while_bits_are_chosen() -> None:
    method, polls = Method("fqt", bits="auto"), 0

    def count() -> bool:
        nonlocal polls
        polls += 1
        return False

    session(method, should_stop=count)
    assert polls == WARMUP_STEPS + PROBED_BATCHES * 5 * 2  # 5 layers, before noise is put in and before it is drawn
    for allowed in (0, 1, WARMUP_STEPS, WARMUP_STEPS + 7, polls - 1):
        left = iter([False] * allowed)
        with pytest.raises(StopRequestedError):
            session(method, should_stop=lambda left=left: next(left, True))  # type: ignore[misc]


@pytest.mark.parametrize("options", [{}, {"groups": "pixel", "rounding": "dither", "weight_scale": "learned"}])
def test_budgets_are_kept_and_more_bits_mean_less_noise(options: dict[str, Any]) -> None:
    method = Method("fqt", bits="auto", **options)
    assert isinstance(method, Fqt)
    model = fqt.models.build(NET, num_classes=3)
    fqt.convert_(model, warm_up_method(method))
    probed = probe(model, pictures(60), config(batch_size=24), method, torch.device("cpu"))
    noise = []
    for budget in (0.25, 0.5, 1.0, 2.0, 8.0):
        choice = probed.choose(budget)
        assert choice.average_bits <= budget
        assert network_plan(NET, 3, Method(**choice.method)).gradient_bits == pytest.approx(choice.average_bits)
        noise.append(sum(math.log1p(row["accumulated_dw_relative_variance"] or 0) for row in choice.layers.values()))
    assert noise == sorted(noise, reverse=True)
    assert noise[0] > 10 * noise[-1]


def test_what_a_run_has_to_choose_is_not_converted_by_hand() -> None:
    model = fqt.models.build(NET, num_classes=3)
    with pytest.raises(ConfigurationError, match=r"method\.bits: 'auto' is chosen by a run"):
        fqt.convert_(model, Method("fqt", bits="auto"))
    everywhere = Method("fqt", bits="auto", overrides=[{"pattern": "*", "bits": 2}])
    with pytest.raises(ConfigurationError, match="has nothing to choose"):
        session(everywhere)


def test_variance_of_kept_groups_follows_from_dense_draws() -> None:
    """Against many draws of the quantiser with pruning, whose selection is that of training."""
    model = fqt.models.build(NET, num_classes=3)
    fqt.convert_(model, Method("qat"))
    layers = {name: module for name, module in model.named_modules() if isinstance(module, BinaryLayer)}
    images, labels = batch()
    method, options = Method("fqt", bits="auto"), settings("sample-channel")
    number = next(n for n, one in enumerate(options) if (one.bits, one.keep, one.clip) == (4, 0.5, None))
    sensitivity = Sensitivity(model.train(), layers, list(layers), method, options, len(images))  # type: ignore[arg-type]
    for probed in range(3):
        sensitivity.measure(images, labels, seed=0, number=probed)
    for layer in layers.values():
        layer.method = Method("fqt", bits=4, keep=0.5)
    found = [GradientProbe(model, layers).measure(images, labels, seed=0, step=step) for step in range(60)]
    for name, noise in sensitivity.noise.items():
        for expected, kind in zip(noise.own(number), ("dx", "dw"), strict=True):
            mean = sum(figures[name][f"{kind}_relative_variance"] for figures in found) / len(found)
            assert expected == pytest.approx(mean, rel=0.35)


@pytest.mark.parametrize("kept", [1, 3, 7, 11])
def test_probabilities_are_those_of_the_selection(kept: int) -> None:
    values = torch.rand(12, 5, generator=torch.Generator().manual_seed(0)) * torch.arange(12)[:, None]
    lo, hi = group_range(values, 0)
    p = inclusion(hi, kept)
    assert float(p.sum()) == pytest.approx(kept)
    index, factor = select_groups(lo * 0, hi, kept, "systematic", 0, 0, 0, 0)
    torch.testing.assert_close(p[index], 1 / factor.double(), rtol=1e-3, atol=1e-4)


def test_noise_is_what_stands_off_and_scale_does_not_count() -> None:
    exact = torch.tensor([[3.0, 4.0]])
    assert Inner.of([exact / 2, exact / 2], exact).variance() == pytest.approx(0)
    noisy = [torch.tensor([[3.0, 9.0]]), torch.tensor([[3.0, -1.0]])]
    assert Inner.of(noisy, exact).variance() == pytest.approx(1)
    assert Inner.of(noisy, exact).bias == 0
    biased = [torch.tensor([[-1.0, 7.0]])] * 2  # as much to the side as along
    assert Inner.of(biased, exact).variance() == pytest.approx(Inner.of(biased, exact).bias) == pytest.approx(1)
    assert Inner.of([exact * 0, exact * 0], exact * 0).variance() == 0


@pytest.mark.parametrize(("batch_size", "size", "images"), [(128, 8, 64), (16, 8, 16), (128, 64, 8), (128, 224, 4)])
def test_probed_images_are_bounded(batch_size: int, size: int, images: int) -> None:
    assert probed_images(batch_size, size) == images
