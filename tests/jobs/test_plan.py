from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fqt_core.config.plan import network_plan
from fqt_core.data import ImageDataset
from fqt_core.data.batches import TrainingData
from jobs import artifacts, lease
from jobs.datasets import ImageShape
from jobs.errors import InvalidSpecError
from jobs.ids import new_id
from jobs.offers import Offer
from jobs.plan import InputPlan, Plan, plan
from jobs.steps import steps_per_epoch, too_few_steps
from jobs.store import Store
from tests.jobs.helpers import claim, ready_dataset, spec, submit

WIDE = {"name": "resnet18", "width": 1, "image_size": 8, "channels": 1}
HUGE = {"name": "resnet18", "width": 4, "image_size": 128, "channels": 3}


def planned(store: Store, **changes: object) -> Plan:
    with store.read() as connection:
        return plan(connection, spec(**changes))


def finish(store: Store, seconds: float, **changes: object) -> str:
    job = submit(store, **changes)
    assert claim(store) is not None
    model = store.blobs.put_stream([b"model"])
    with store.write() as connection:
        result = {"train_images": 1438, "epochs": 2, "seconds": seconds, "classes": list("0123456789")}
        artifacts.add(connection, store.blobs, job.id, 1, model, name="model.safetensors", kind="model")
        lease.succeed(connection, job.id, 1, result)
    return job.id


def test_steps_and_sizes_are_known_before_anything_runs(store: Store) -> None:
    dataset = ready_dataset(store, {"a": 10, "b": 11, "c": 2, "d": 1})
    training = {"epochs": 3, "batch_size": 4, "validation_fraction": 0.5}
    made = planned(store, dataset=dataset, classes=["a", "c", "d", "b"], training=training)
    # Of each class half is set aside, rounded to even, at least one and never all: 5, 1, 0 and 6 of 10, 2, 1 and 11.
    assert (made.train_images, made.validation_images) == (12, 12)
    assert (made.steps_per_epoch, made.steps, made.epochs) == (3, 9, 3)
    network = network_plan(spec().architecture, 4, spec().method)
    assert (made.parameters, made.macs, made.model_bytes) == (network.parameters, network.macs, network.model_bytes)
    assert made.classes == ["a", "c", "d", "b"]
    assert made.arithmetic == "integer"


@pytest.mark.parametrize(("images", "batch", "steps"), [(1, 8, 1), (8, 8, 1), (9, 8, 1), (10, 8, 2), (17, 8, 2)])
def test_a_last_batch_of_one_image_is_no_step_of_its_own(images: int, batch: int, steps: int) -> None:
    assert steps_per_epoch(images, spec(training={"batch_size": batch})) == steps


@pytest.mark.parametrize(("batch", "steps"), [(8, 2), (9, 2), (16, 1), (5, 4), (4, 4)])
def test_nor_is_one_that_leaves_a_process_with_less_than_two(batch: int, steps: int) -> None:
    divided = spec(training={"batch_size": batch, "validation_fraction": 0}, parallel={"processes": 3})
    assert steps_per_epoch(18, divided) == steps
    data = ImageDataset(np.zeros((18, 1, 4, 4), np.uint8), np.arange(18) % 2, ["a", "b"])
    ranks = [TrainingData(data, divided.training, rank, 3) for rank in range(3)]
    assert {rank.steps_per_epoch for rank in ranks} == {steps}
    shares = [[len(rank.train_batch(0, index)[1]) for rank in ranks] for index in range(steps)]
    assert sum(sum(share) for share in shares) == 18
    assert all(max(share) - min(share) <= 1 and min(share) >= min(2, batch // 3) for share in shares)


def test_time_is_measured_here_or_not_told(store: Store) -> None:
    assert (planned(store).seconds, planned(store).seconds_reason is None) == (None, False)
    for seconds in (30, 10, 20):
        finish(store, seconds)
    finish(store, 5000, method={"name": "qat"})
    made = planned(store)
    assert made.seconds == pytest.approx(20, rel=0.05)
    assert made.seconds_reason is None
    longer = planned(store, training={"epochs": 20})
    assert longer.seconds == pytest.approx(10 * made.seconds, rel=0.01)
    other_size = {"name": "resnet18", "width": 0.0625, "image_size": 16, "channels": 1}
    assert planned(store, architecture=other_size).seconds is None


def test_more_memory_for_larger_batches(store: Store) -> None:
    small, large = (planned(store, training={"batch_size": size}).memory_bytes for size in (8, 512))
    assert 2**28 < small < large


def test_time_counts_what_options_add(store: Store) -> None:
    """A forward pass is a third of a pass; the teacher's are a third of what its own training took."""
    finish(store, 30)
    teacher = finish(store, 60, method={"name": "fp32"})
    plain = planned(store).seconds
    assert plain == pytest.approx(30, rel=0.05)
    taught = planned(store, teacher=teacher).seconds
    assert taught == pytest.approx(plain + 60 / 3, rel=0.05)
    batches = {"epochs": 2, "batch_size": 64, "ema": {"batches": 10}}
    averaged = planned(store, training=batches).seconds
    assert averaged == pytest.approx(plain * (1 + 640 / 1438 / 3), rel=0.05)
    assert planned(store, training={"optimizer": "muon"}).seconds is None  # whose steps take another time


def test_memory_counts_what_options_add(store: Store) -> None:
    teacher = finish(store, 60, architecture=WIDE, method={"name": "fp32"})

    def memory(**training: Any) -> int:
        return planned(store, architecture=WIDE, training={"batch_size": 256} | training).memory_bytes

    plain, network = memory(), network_plan(spec(architecture=WIDE).architecture, 10, spec().method)
    assert memory(ema={}) - plain == 4 * network.parameters
    assert plain - memory(accumulate=4) == pytest.approx(0.75 * (plain - memory(accumulate=256)), rel=0.01)
    assert memory(optimizer="sgd") < memory(optimizer="muon") < plain + 16 * max(x.weights for x in network.layers)
    taught = planned(store, architecture=WIDE, teacher=teacher, training={"batch_size": 256}).memory_bytes
    assert taught - plain == network.fp32_bytes


CPU = Offer(("cpu",), 4 << 30)
CUDA = Offer(("cpu", "cuda"), 4 << 30)


@pytest.mark.parametrize(
    ("changes", "offers", "fields"),
    [
        ({}, [CPU], []),
        ({"device": "cuda"}, None, []),
        ({"device": "cuda"}, [CPU], ["device"]),
        ({"device": "cuda"}, [CPU, CUDA], []),
        ({}, [], ["device"]),
        ({"training": {"batch_size": 4096}, "architecture": HUGE}, [CPU], ["training.batch_size"]),
        ({"training": {"batch_size": 4096}, "architecture": HUGE}, [CPU, Offer(("cpu",), 1 << 40)], []),
        ({"training": {"batch_size": 4096}, "architecture": HUGE}, [CPU, CUDA], []),
    ],
)
def test_what_no_worker_can_run_is_a_warning(
    store: Store, changes: dict[str, Any], offers: list[Offer] | None, fields: list[str]
) -> None:
    with store.read() as connection:
        made = plan(connection, spec(**changes), offers)
    assert [warning.field for warning in made.warnings] == fields


@pytest.mark.parametrize(
    ("method", "epochs", "batch", "says"),
    [
        # 1438 images: 12 batches of 128, 90 of 16.
        ({"name": "fqt"}, 9, 128, None),
        (
            {"name": "fqt"},
            8,
            128,
            ["few optimiser steps for fqt: 96 (12 in an epoch)", "(9), a", "(64) or", "`balanced`"],
        ),
        ({"name": "fqt", "preset": "balanced"}, 8, 128, None),
        ({"name": "fqt", "preset": "balanced"}, 4, 128, ["about 50", "epochs (5) or a smaller batch_size (64)"]),
        ({"name": "qat"}, 1, 64, ["use more epochs (3) or a smaller batch_size (16)"]),
        ({"name": "fp32"}, 3, 128, None),
        ({"name": "statquant"}, 1, 2048, ["about 25 are wanted; use more epochs (25) or a smaller batch_size (32)"]),
        ({"name": "fqt"}, 1, 8, None),
    ],
)
def test_few_steps_are_told_with_what_to_do(
    store: Store, method: dict[str, Any], epochs: int, batch: int, says: list[str] | None
) -> None:
    made = planned(store, method=method, training={"epochs": epochs, "batch_size": batch})
    assert [told.field for told in made.advice] == ["training.epochs"] * bool(says)
    assert all(part in made.advice[0].message for part in says or ())


def test_weights_that_were_trained_before_need_fewer_steps() -> None:
    parent = new_id("job")
    assert too_few_steps(spec(training={"epochs": 5}), 1438)
    assert not too_few_steps(spec(training={"epochs": 5}, initial_weights=parent), 1438)
    [told] = too_few_steps(spec(training={"epochs": 4}, initial_weights=parent), 1438)
    assert "about 50" in told.message


def test_what_the_network_sees_is_told(store: Store) -> None:
    seen = planned(store).input
    assert seen == InputPlan(8, 1, ImageShape(8, 8, 1))
    sizes = {"median": {"width": 500, "height": 375}}
    mine = ready_dataset(store, {"a": 10, "b": 10}, sizes=sizes, channels=3)
    seen = planned(store, dataset=mine).input
    assert seen == InputPlan(8, 1, ImageShape(500, 375, 3))
    seen = planned(store, dataset=ready_dataset(store, {"a": 9, "b": 10})).input
    assert seen == InputPlan(8, 1, None)


def test_a_dry_run_names_every_fault(store: Store) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        planned(store, classes=["cat", "dog"])
    assert [fault.field for fault in caught.value.errors] == ["classes.0", "classes.1"]


def test_overrides_have_to_fit_the_network(store: Store) -> None:
    overrides = [{"pattern": "layer1.*", "bits": 8}, {"pattern": "features.*", "bits": 8}]
    with pytest.raises(InvalidSpecError) as caught:
        planned(store, method={"name": "fqt", "overrides": overrides})
    (fault,) = caught.value.errors
    assert fault.field == "method.overrides.1.pattern"
    assert "layer1.0.conv1" in fault.allowed


def test_bits_that_are_chosen_later_are_told_by_their_bounds(store: Store) -> None:
    made = planned(store, method={"name": "fqt", "bits": "auto", "budget": 2})
    assert (made.bits_are_chosen, made.gradient_bits, made.arithmetic) == (True, 2, "integer")
    assert made.step_macs == planned(store, method={"name": "qat"}).step_macs
    assert not planned(store).bits_are_chosen
    large = {"architecture": HUGE, "training": {"batch_size": 4}}
    by_hand, chosen = (planned(store, method={"name": "fqt", "bits": b}, **large).memory_bytes for b in (4, "auto"))
    assert chosen > 1.2 * by_hand  # layers run one by one while they are probed


def test_what_each_preset_would_cost(store: Store) -> None:
    finish(store, 40, method={"name": "fqt", "preset": "balanced"})
    made = planned(store, method={"name": "qat", "weight_scale": "mean"})
    assert made.gradient_bits == 32
    found = {preset.name: (preset.gradient_bits, preset.seconds is not None) for preset in made.presets}
    assert found == {"fast": (1, False), "balanced": (2, True), "accurate": (4, False)}
    work = [preset.step_macs for preset in made.presets]
    assert work == sorted(work)
    assert work[-1] == made.step_macs


def test_times_of_other_options_are_not_comparable(store: Store) -> None:
    finish(store, 40, method={"name": "fqt"})
    assert planned(store, method={"name": "fqt", "pruning": "none", "bits": 8}).seconds is None
    explicit = {"name": "fqt", "bits": 4, "keep": 0.25}
    assert planned(store, method=explicit).seconds is None  # the default leaves keep open
    assert planned(store, method={"name": "fqt", "bits": 4}).seconds is not None
