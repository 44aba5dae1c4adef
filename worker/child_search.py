"""What a child does whose job searches a network's structure. Imports torch: for children only.

A search keeps no checkpoints: an attempt that broke off, or was paused, is made again from its beginning, and finds the
same.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from fqt_core.allocator import keep_pages
from fqt_core.code_pages import CodePages
from fqt_core.data import load_dataset
from fqt_core.events import ArtifactWritten, Done, StepDone, StructureFound
from fqt_core.search import search_widths
from worker.child_training import dataset_of, device_of, grown, resident
from worker.lifeline import Lifeline
from worker.protocol import Exit, TrainingInput

STRUCTURE = "structure.json"
"""The file with what was found."""


def train(data: TrainingInput, folder: Path, lifeline: Lifeline) -> Exit:
    """Search the structure of the job's network and write what was found, reporting all along.

    Raises:
        UnusableInputError: there is no GPU.
        StopRequestedError: the job was paused or cancelled.
        fqt_core.errors.FqtError: whatever the library refuses.
    """
    spec, base = data.spec, resident()
    assert spec.search is not None
    device = device_of(data.device)
    torch.set_num_threads(data.threads)
    keep_pages()
    network, images = spec.network, dataset_of(data)
    if isinstance(images, str):
        images = load_dataset(images, classes=spec.classes, channels=network.channels, image_size=network.image_size)
    events = search_widths(
        architecture=network,
        method=spec.method,
        search=spec.search,
        training=spec.training,
        data=images,
        should_stop=lifeline.stop.is_set,
        device=device,
    )
    pages = CodePages()
    for event in events:
        if isinstance(event, StepDone):
            pages.step_done()
        if isinstance(event, Done):
            lifeline.send(event.model_copy(update={"memory_bytes": grown(base, pages)}))
            continue
        lifeline.send(event)
        if isinstance(event, StructureFound):
            path = folder / STRUCTURE
            path.write_text(json.dumps(event.model_dump(mode="json", exclude={"type"}), indent=2))
            lifeline.send(ArtifactWritten.of("structure", path, {"widths": event.widths}))
    return Exit.DONE
