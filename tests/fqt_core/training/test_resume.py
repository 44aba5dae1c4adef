"""A run that was stopped anywhere and resumed ends with the same bits as one that was not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fqt_core.config import EmaConfig, TrainConfig
from fqt_core.events import CheckpointWritten, Stopped
from fqt_core.training import Trainer

from .nets import config, figures, network, pictures, sha256, stop_after, train


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def interrupted(
    method: str, wanted: TrainConfig, polls: list[int], folder: Path, **options: Any
) -> tuple[str, list[dict[str, object]]]:
    """Stop after each number of polls in turn, each time going on with a fresh network and trainer."""
    resume_from: Path | None = None
    seen: list[dict[str, object]] = []
    for attempt, count in enumerate(polls):
        torch.manual_seed(attempt)  # nothing may depend on it
        events = stop_after(network(method, seed=attempt, **options), wanted, count, folder, resume_from=resume_from)
        assert isinstance(events[-1], Stopped)
        written = events[-2]
        assert isinstance(written, CheckpointWritten)
        resume_from = Path(written.path)
        seen += figures(events)
    model = network(method, seed=99, **options)
    events = train(model, wanted, checkpoint_dir=folder, resume_from=resume_from)
    assert events[-1].type == "done"
    return sha256(model), seen + figures(events)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("method", ["fp32", "qat", "fqt"])
def test_resumed_runs_end_with_the_same_bits(method: str, optimizer: str, tmp_path: Path) -> None:
    wanted = config(optimizer=optimizer, learning_rate=5e-3 if optimizer == "adam" else 0.05)
    model = network(method, seed=0)
    events = train(model, wanted)
    # 5 steps per epoch (72 images); one poll per step, per epoch's end, and per validation batch.
    digest, resumed = interrupted(method, wanted, [2, 1, 4, 5], tmp_path)
    assert digest == sha256(model)
    assert resumed == figures(events)


@pytest.mark.parametrize("method", ["statquant", "unified-int8", "adaptive-int8", "lsq", "lg-lsq"])
def test_so_do_runs_of_methods_that_multiply_bytes(method: str, tmp_path: Path) -> None:
    options = {"search_every": 4} if method == "unified-int8" else {}
    wanted = config(accumulate=2)
    model = network(method, **options)
    events = train(model, wanted)
    digest, resumed = interrupted(method, wanted, [2, 1, 4, 5], tmp_path, **options)
    assert digest == sha256(model)
    assert resumed == figures(events)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "muon", "schedule": "linear", "warmup_steps": 3},
        {"optimizer": "muon", "accumulate": 4},
        {"optimizer": "sgd", "ema": EmaConfig(decay=0.8, batches=2)},
        {"ema": EmaConfig(decay=0.8, batches=2), "accumulate": 3, "label_smoothing": 0.1},
        {"ema": EmaConfig(decay=0.8, batches=2), "validation_fraction": 0.0},
    ],
    ids=str,
)
def test_so_do_runs_with_other_options(options: dict[str, Any], tmp_path: Path) -> None:
    wanted = config(**options)
    model = network("fqt", seed=0)
    events = train(model, wanted)
    digest, resumed = interrupted("fqt", wanted, [2, 1, 4, 5], tmp_path)
    assert digest == sha256(model)
    assert resumed == figures(events)


def test_so_do_runs_with_a_teacher(tmp_path: Path) -> None:
    wanted, teacher = config(epochs=2), network(seed=8)
    model = network("fqt")
    train(model, wanted, teacher=teacher)
    events = stop_after(network("fqt"), wanted, 7, tmp_path, teacher=teacher)
    again = network("fqt", seed=1)
    train(again, wanted, resume_from=events[-2].path, teacher=network(seed=8))  # type: ignore[union-attr]
    assert sha256(again) == sha256(model)


@pytest.mark.parametrize("polls", [6, 7, 8, 9])
def test_stopping_while_the_average_is_validated(polls: int, tmp_path: Path) -> None:
    """Two batches of statistics and three of validation, and the weights themselves have to come back."""
    wanted = config(epochs=2, batch_size=20, ema=EmaConfig(decay=0.8, batches=2))
    data = pictures(50, own=130)
    model = network("fqt")
    expected = figures(train(model, wanted, data))
    events = stop_after(network("fqt"), wanted, polls, tmp_path, data=data)
    again = network("fqt", seed=1)
    rest = train(again, wanted, data, resume_from=events[-2].path)  # type: ignore[union-attr]
    assert figures(events) + figures(rest) == expected
    assert sha256(again) == sha256(model)


@pytest.mark.parametrize("polls", range(18))
def test_every_place_to_stop(polls: int, tmp_path: Path) -> None:
    wanted = config(epochs=2, batch_size=20, statistics_every_steps=3)
    data = pictures(50, own=130)  # three validation batches: it may be stopped between them
    model = network("fqt")
    expected = figures(train(model, wanted, data))
    events = stop_after(network("fqt"), wanted, polls, tmp_path, data=data)
    if events[-1].type == "done":
        assert polls >= 14
        return
    written = events[-2]
    assert isinstance(written, CheckpointWritten)
    again = network("fqt", seed=1)
    rest = train(again, wanted, data, resume_from=written.path)
    assert rest[0].step == written.step  # type: ignore[union-attr]
    assert figures(events) + figures(rest) == expected
    assert sha256(again) == sha256(model)


def test_regular_checkpoints_resume_too(tmp_path: Path) -> None:
    wanted = config(checkpoint_every_steps=4)
    model, digests = network("fqt"), []
    for event in Trainer(model, pictures(), wanted, checkpoint_dir=tmp_path):
        if isinstance(event, CheckpointWritten):
            again = network("fqt", seed=7)
            train(again, wanted, resume_from=event.path)
            digests.append((event.step, sha256(again)))
    assert digests == [(step, sha256(model)) for step in (4, 8, 12)]


def test_finished_run_resumes_to_its_result(tmp_path: Path) -> None:
    wanted = config(epochs=1)
    model = network()
    events = train(model, wanted, checkpoint_dir=tmp_path)
    last = [event for event in events if isinstance(event, CheckpointWritten)][-1]
    again = network(seed=3)
    assert [event.type for event in train(again, wanted, resume_from=last.path)] == ["started", "done"]
    assert sha256(again) == sha256(model)


def test_same_seed_same_bits_other_seed_other_bits() -> None:
    digests = []
    for seed in (1, 1, 2):
        model = network("fqt")
        train(model, config(seed=seed, epochs=1))
        digests.append(sha256(model))
    assert digests[0] == digests[1] != digests[2]


def test_global_random_state_is_left_alone() -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    train(network("fqt"), config(epochs=1))
    assert torch.equal(torch.get_rng_state(), before)


def test_other_thread_count_is_warned_of(tmp_path: Path) -> None:
    events = stop_after(network(), config(), 3, tmp_path)
    torch.set_num_threads(2)
    resumed = iter(Trainer(network(), pictures(), config(), resume_from=events[-2].path))  # type: ignore[union-attr]
    assert next(resumed).type == "started"
    assert next(resumed).model_dump() == {
        "type": "warning",
        "code": "environment_differs",
        "message": "the run goes on, but not bit for bit as it would have: threads: 1 in the checkpoint, 2 now",
    }
    torch.set_num_threads(1)
