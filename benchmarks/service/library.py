"""``python -m benchmarks.service.library SPEC --threads N``: a job's training called as a library, no checkpoints."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from fqt_core import export
from fqt_core.allocator import keep_pages
from fqt_core.code_pages import CodePages
from fqt_core.convert import convert_
from fqt_core.data import load_dataset
from fqt_core.events import StepDone
from fqt_core.models import build
from fqt_core.training import Trainer, seeded_init
from jobs.spec import JobSpec


def main(path: Path, threads: int) -> None:
    """Train what the spec says, and write the packed model beside the spec."""
    spec = JobSpec.model_validate_json(path.read_bytes())
    torch.set_num_threads(threads)
    keep_pages()
    network = spec.network
    data = load_dataset(spec.dataset, classes=spec.classes, channels=network.channels, image_size=network.image_size)
    with seeded_init(spec.training.seed):
        model = build(network, num_classes=len(data.classes))
    convert_(model, spec.method, seed=spec.training.seed)
    trainer = Trainer(model, data, spec.training)
    pages = CodePages()
    for event in trainer:
        if isinstance(event, StepDone):
            pages.step_done()
    export.save_packed(
        trainer.model, path.with_name("model.safetensors"), classes=data.classes, preprocessing=trainer.preprocessing
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.service.library")
    parser.add_argument("spec", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    main(options.spec, options.threads)
