"""A run put together from its description: the networks of the library, resumed and fine-tuned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fqt_core.config import EmaConfig, Method, Resnet18, Vgg16
from fqt_core.errors import CheckpointError, ConfigurationError, DataError
from fqt_core.events import CheckpointWritten, Done
from fqt_core.tensorfile import write_tensors
from fqt_core.training import Session, Trainer, prepare, resolve_device

from ..data.build import class_folders, write_zip
from .nets import config, network, pictures, sha256

SMALL = {"width": 0.0625, "image_size": 8, "channels": 1}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def session(architecture: str = "resnet18", method: str = "fqt", **options: Any) -> Session:
    row = (Resnet18 if architecture == "resnet18" else Vgg16)(**SMALL)
    plain: dict[str, Any] = {"training": config(epochs=2, batch_size=24), "data": pictures(60), "device": "cpu"}
    method_options = options.pop("method_options", {})
    return prepare(architecture=row, method=Method(method, **method_options), **{**plain, **options})


@pytest.mark.parametrize(
    ("architecture", "method", "method_options"),
    [
        ("resnet18", "fqt", {"weight_scale": "learned"}),
        ("vgg16", "fqt", {"pruning": "bernoulli", "bits": 2}),
        ("resnet18", "psq", {}),
        ("vgg16", "fp32", {}),
    ],
)
def test_library_networks_resume_to_the_same_bits(
    architecture: str, method: str, method_options: dict[str, Any], tmp_path: Path
) -> None:
    what = {"architecture": architecture, "method": method, "method_options": method_options}
    whole = session(**what)
    torch.manual_seed(1)
    assert [event.type for event in whole.trainer][-1] == "done"
    polls = iter([False] * 3)
    stopped = list(session(**what, checkpoint_dir=tmp_path, should_stop=lambda: next(polls, True)).trainer)
    written = stopped[-2]
    assert isinstance(written, CheckpointWritten)
    torch.manual_seed(2)
    resumed = session(**what, resume_from=written.path)
    assert [event.type for event in resumed.trainer][-1] == "done"
    assert sha256(resumed.model) == sha256(whole.model)


def test_library_networks_resume_with_an_average_muon_and_micro_batches(tmp_path: Path) -> None:
    """The chain of blocks runs without a graph and in training mode when statistics are estimated for the average."""
    what = {"training": config(epochs=2, optimizer="muon", ema=EmaConfig(decay=0.8, batches=2), accumulate=2)}
    whole = session(**what)
    list(whole.trainer)
    polls = iter([False] * 9)
    stopped = list(session(**what, checkpoint_dir=tmp_path, should_stop=lambda: next(polls, True)).trainer)
    written = stopped[-2]
    assert isinstance(written, CheckpointWritten)
    assert written.step > 0
    resumed = session(**what, resume_from=written.path)
    list(resumed.trainer)
    assert sha256(resumed.model) == sha256(whole.model)


def test_fine_tuning_starts_from_what_fits(tmp_path: Path) -> None:
    first = session(method="qat")
    list(first.trainer)
    path = tmp_path / "weights.safetensors"
    write_tensors(path, first.model.state_dict(), {"classes": first.dataset.classes})
    archive = write_zip(tmp_path / "new.zip", class_folders(("a", "b", "c", "d"), 12))
    second = session(method="fqt", data=archive, classes=["d", "a"], initial_weights=path)
    assert second.dataset.classes == ["d", "a"]
    assert second.weights is not None
    assert set(second.weights.skipped) == {"fc.weight", "fc.bias"}
    taken = dict(first.model.named_parameters())
    fresh = {"fc.weight", "fc.bias"}
    for name, parameter in second.model.named_parameters():
        assert torch.equal(parameter, taken[name]) == (name not in fresh), name
    events = list(second.trainer)
    assert events[0].report == second.conversion.to_json()  # type: ignore[union-attr]
    assert isinstance(events[-1], Done)


def test_initial_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    digests = [sha256(session(training=config(seed=seed)).model) for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]
    assert torch.equal(torch.get_rng_state(), before)


def test_arithmetic_in_use_is_reported() -> None:
    started = next(iter(session(method="psq").trainer))
    assert started.arithmetic == "simulated"  # type: ignore[union-attr]
    started = next(iter(session(method="fp32").trainer))
    assert (started.arithmetic, started.isa) == ("float", "torch")  # type: ignore[union-attr]


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="load it with channels=3 and image_size=32"):
        prepare(architecture=Resnet18(), method=Method("fqt"), training=config(), data=pictures(), device="cpu")
    with pytest.raises(ConfigurationError, match="classes"):
        session(classes=["left", "top"])
    with pytest.raises(DataError, match="no such class"):
        session(data=write_zip(tmp_path / "a", class_folders()), classes=["cats", "cows"])
    with pytest.raises(CheckpointError):
        session(initial_weights=tmp_path / "nothing")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigurationError, match="no CUDA device"):
            session(device="cuda")
        with pytest.raises(ConfigurationError, match="no CUDA device"):
            Trainer(network(), pictures(), config(), device="cuda:0")


def test_devices() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type in {"cpu", "cuda"}
