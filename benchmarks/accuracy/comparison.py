"""Trains all methods of a comparison, chooses their learning rates, and looks at the test images once."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.accuracy.data import Parts, prepare
from benchmarks.accuracy.points import Point
from benchmarks.accuracy.protocols import Protocol
from benchmarks.accuracy.runs import Run
from benchmarks.cli import tell_progress
from benchmarks.results import Row
from fqt_core import export
from fqt_core.config import Method
from fqt_core.data import ImageDataset

_TEST_BATCH = 256


@dataclass(frozen=True)
class Trial:
    """One run of a comparison."""

    net: str
    point: Point
    seed: int
    rate: float
    run: Run
    test: ImageDataset

    @property
    def key(self) -> tuple[str, str, float]:
        """Network, method and learning rate."""
        return self.net, self.point.name, self.rate


class Comparison:
    """All runs of a protocol for some networks, methods and seeds.

    Args:
        protocol: what is trained.
        nets: names of the protocol's networks.
        points: the methods.
        seeds: how many seeds, from 0.
        root: the folder of runs and data.
        threads: of each run.
        parallel: runs at the same time.
        grid_seeds: on how many of the seeds the learning rate is chosen (``None``: on all). The others are then trained
            with that rate alone.
    """

    def __init__(
        self,
        protocol: Protocol,
        nets: Sequence[str],
        points: Sequence[Point],
        seeds: int,
        root: Path,
        *,
        threads: int = 1,
        parallel: int = 1,
        grid_seeds: int | None = None,
    ) -> None:
        self.protocol = protocol
        self.root = root
        self._parallel = parallel
        self._grid_seeds = min(grid_seeds or seeds, seeds)
        self.trials: list[Trial] = []
        for net in nets:
            architecture = protocol.networks[net]
            for seed in range(seeds):
                parts = prepare(protocol, architecture.image_size, seed, root / "data")
                for point in points:
                    start = self._pretraining(net, point, seed, parts, threads)
                    for rate in point.rates or protocol.rates:
                        training = protocol.fine_tuning(seed, rate).model_copy(update=point.training)
                        run = Run(
                            architecture, point.method, training, parts.after, protocol.after, start, threads=threads
                        )
                        self.trials.append(Trial(net, point, seed, rate, run, parts.test))

    def _pretraining(self, net: str, point: Point, seed: int, parts: Parts, threads: int) -> Run:
        method = Method("qat") if point.method.binarises else Method("fp32")
        training = self.protocol.pretraining(seed)
        return Run(self.protocol.networks[net], method, training, parts.before, self.protocol.before, threads=threads)

    def rows(self) -> list[Row]:
        """Train everything, and give the rows of the results."""
        starts = {trial.run.start.digest: trial.run.start for trial in self.trials if trial.run.start is not None}
        self._train(list(starts.values()), "pre-training")
        grid = [trial for trial in self.trials if trial.seed < self._grid_seeds]
        searched = self._trained(grid, "choosing learning rates")
        best = set(chosen_rates(row for _, row in searched))
        rest = [trial for trial in self.trials if trial.seed >= self._grid_seeds and trial.key in best]
        found = searched + self._trained(rest, "the other seeds")
        for trial, row in found:
            if trial.key in best:
                if self.protocol.levels:
                    row["curve"] = trial.run.train(self.root)["curve"]
                row["test"] = test_accuracy(trial.run.folder(self.root) / "model.safetensors", trial.test)
        return [row for _, row in found]

    def _trained(self, trials: Sequence[Trial], what: str) -> list[tuple[Trial, Row]]:
        results = self._train([trial.run for trial in trials], what)
        return [(trial, self._row(trial, result)) for trial, result in zip(trials, results, strict=True)]

    def _train(self, runs: Sequence[Run], what: str) -> list[dict[str, Any]]:
        begin = time.monotonic()
        results: list[dict[str, Any]] = []
        with ThreadPoolExecutor(self._parallel) as pool:
            for number, result in enumerate(pool.map(lambda run: run.train(self.root), runs), start=1):
                results.append(result)
                tell_progress(what, number, len(runs), time.monotonic() - begin)
        return results

    def _row(self, trial: Trial, result: dict[str, Any]) -> Row:
        return {
            "protocol": self.protocol.name,
            "net": trial.net,
            "method": trial.point.name,
            "options": trial.run.method.model_dump(mode="json"),
            "seed": trial.seed,
            "learning_rate": trial.rate,
            "val": result["val"],
            "test": None,
            "seconds": result["seconds"],
            "cpu_seconds": result["epochs"][-1]["cpu_seconds"],
            "images_per_second": result["images_per_second"],
            "isa": result["isa"],
            "arithmetic": result["arithmetic"],
            "threads": trial.run.threads,
            "weights_sha256": result["weights_sha256"],
            "epochs": result["epochs"],
        }


def chosen_rates(rows: Iterable[Row]) -> list[tuple[str, str, float]]:
    """For each net and method, the learning rate with the best mean validation accuracy (the smallest of equals)."""
    found: dict[tuple[str, str], dict[float, list[float]]] = {}
    for row in rows:
        found.setdefault((row["net"], row["method"]), {}).setdefault(row["learning_rate"], []).append(row["val"])
    return [
        (net, method, max(sorted(rates), key=lambda rate, rates=rates: statistics.mean(rates[rate])))  # type: ignore[misc]
        for (net, method), rates in found.items()
    ]


def test_accuracy(model: Path, test: ImageDataset) -> float:
    """Share of the test images that the packed model classifies right, 0 to 1."""
    packed = export.load(model)
    if packed.classes != test.classes:
        raise ValueError(f"the model's classes are {packed.classes}, the test's {test.classes}")
    images, labels = torch.from_numpy(test.images), torch.from_numpy(test.labels)
    right = 0
    for begin in range(0, len(test), _TEST_BATCH):
        span = slice(begin, begin + _TEST_BATCH)
        right += int((packed.logits(images[span]).argmax(1) == labels[span]).sum())
    return right / len(test)
