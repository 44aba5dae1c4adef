"""Whole training steps of our network and of PyTorch's baselines, in one run: ``python -m benchmarks.step --help``.

A step is forward, backward and optimiser. Each side lives in a process of its own and they take turns, so that only one
runs at any moment and both see the same weather. In its turn each trains for a moment, since in training a step comes
after many others, and is then timed over a second, one step at least. The figures of a row, one row per method and
baseline:

``ours_ms``, ``baseline_ms``
    Of a step, medians over ``repeats`` turns, in milliseconds; ``ours_min_ms`` and ``baseline_min_ms`` are the minima.
    ``ratio`` is ``baseline_ms / ours_ms``, ``ratio_of_minima`` the same of the minima.
``code_bytes``, ``baseline_code_bytes``
    What each process moved of the code of its steps to large pages (:mod:`fqt_core.code_pages`).
``baseline_format``
    The memory format that won the baseline's trial.
``phases``
    Milliseconds per step of ours by purpose (:mod:`benchmarks.phases`), from steps of their own under the profiler.
``train_memory``
    By side, in bytes. Each side trains for three steps from scratch in a process of its own: ours with malloc as in a
    worker's processes, a baseline with malloc as it is by default, with which it takes less. ``before`` is the resident
    memory before the first step (code, weights, batches of images), ``peak`` the most during the steps (the kernel's
    VmHWM, counted from the first step), ``optimizer`` the optimiser's state, and ``step = peak - before - optimizer``:
    what a step needs beyond weights and optimiser state, so activations, gradients and scratch.
``peak_rss_ratio``
    ``step`` of ours divided by ``step`` of ``torch-fp32``, in rows of either baseline. Below 1: ours needs less.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import results
from benchmarks.cli import Parser, number, run, say
from benchmarks.machine import cpu_name
from benchmarks.pipes import Pipe, side_name
from benchmarks.setting import SIDES, Setting, parse_method

_MS_DIGITS = 3
_RATIO_DIGITS = 4

_SETTLING_SECONDS = 0.05
"""After each turn: a process's threads go on looking for work for about 15 ms, and would take the next one's cores."""


def measure(setting: Setting, methods: Sequence[str], repeats: int) -> list[results.Row]:
    """Measure some methods and the baselines, all in turns.

    Raises:
        BenchmarkError: it cannot be done.
    """
    for method in methods:
        parse_method(method)
    with ExitStack() as stack:
        pipes = _start(stack, setting, methods, kept_by=("ours", *SIDES))
        facts = dict(zip((pipe.name for pipe in pipes), prepare(pipes), strict=True))
        runnable = [pipe for pipe in pipes if "skipped" not in facts[pipe.name]]
        _tell(facts)
        times = dict(zip((pipe.name for pipe in runnable), in_turns(runnable, repeats), strict=True))
        profiles = {pipe.name: pipe.ask("profile")["phases"] for pipe in pipes if pipe.side == "ours"}
    memory = _memory(setting, methods, facts)
    common = {"cpu": cpu_name(), "repeats": repeats}
    return [
        {
            **identity(setting, method, facts[own], facts[their]),
            **comparison(their, facts[their], times[own], times[their]),
            **_memory_figures(memory, own),
            "phases": {name: round(ms, _MS_DIGITS) for name, ms in profiles[own].items()},
            **common,
        }
        for method in methods
        for own in (side_name("ours", method),)
        for their in SIDES
        if their in times
    ]


def in_turns(pipes: Sequence[Pipe], repeats: int) -> list[list[float]]:
    """Milliseconds of a step in ``repeats`` turns of each side, of which only one works at any moment."""
    times: list[list[float]] = [[] for _ in pipes]
    for _ in range(repeats):
        for pipe, taken in zip(pipes, times, strict=True):
            taken.append(pipe.ask("step")["ms"])
            time.sleep(_SETTLING_SECONDS)
    return times


def _start(stack: ExitStack, setting: Setting, methods: Sequence[str], *, kept_by: Sequence[str]) -> list[Pipe]:
    sides = [*(("ours", method) for method in methods), *((side, "") for side in SIDES)]
    return [
        stack.enter_context(Pipe(side, setting, method=method, keep_pages=side in kept_by)) for side, method in sides
    ]


def prepare(pipes: Sequence[Pipe]) -> list[dict[str, Any]]:
    """Make sides ready to take steps; what each tells of itself, with ``skipped``, and why, if it cannot run here."""
    facts = _load(pipes)
    for pipe, told in zip(pipes, facts, strict=True):
        if "skipped" not in told:
            told.update(pipe.ask("prepare"))
    return facts


def _load(pipes: Sequence[Pipe]) -> list[dict[str, Any]]:
    for pipe in pipes:
        pipe.tell("load")
    return [pipe.hear() for pipe in pipes]


def _tell(facts: dict[str, dict[str, Any]]) -> None:
    for side in SIDES:
        say(f"  {side}: {facts[side].get('skipped') or facts[side]['format']}")


def identity(setting: Setting, method: str, facts: dict[str, Any], theirs: dict[str, Any]) -> results.Row:
    """The fields that tell what was measured; ``facts`` are those of our side, ``theirs`` the baseline's."""
    return {
        "model": setting.model,
        "method": method,
        "image_size": setting.image_size,
        "batch": setting.batch,
        "threads": setting.threads,
        "isa": facts["isa"],
        "isa_requested": setting.isa,
        "torch": facts["torch"],
        "torch_capability": facts["capability"],
        "keeps_pages": facts["keeps_pages"],
        "code_bytes": facts["code_bytes"],
        "baseline_code_bytes": theirs["code_bytes"],
    }


def comparison(baseline: str, facts: dict[str, Any], ours: Sequence[float], theirs: Sequence[float]) -> results.Row:
    """The fields that compare milliseconds of ours with those of a baseline, of which ``facts`` tell the format."""
    return {
        "baseline": baseline,
        "baseline_format": facts["format"],
        "baseline_ms": round(median(theirs), _MS_DIGITS),
        "baseline_min_ms": round(min(theirs), _MS_DIGITS),
        "ours_ms": round(median(ours), _MS_DIGITS),
        "ours_min_ms": round(min(ours), _MS_DIGITS),
        "ratio": round(median(theirs) / median(ours), _RATIO_DIGITS),
        "ratio_of_minima": round(min(theirs) / min(ours), _RATIO_DIGITS),
    }


def _memory(setting: Setting, methods: Sequence[str], facts: dict[str, dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Memory by side, one after the other."""
    figures = {}
    with ExitStack() as stack:
        pipes = _start(stack, setting, methods, kept_by=["ours"])
        _load(pipes)
        for pipe in pipes:
            if "skipped" not in facts[pipe.name]:
                found = pipe.ask("memory", memory_format=facts[pipe.name]["format"])
                figures[pipe.name] = {**found, "step": found["peak"] - found["before"] - found["optimizer"]}
            pipe.close()
    return figures


def _memory_figures(memory: dict[str, dict[str, int]], own: str) -> results.Row:
    sides = {"ours": memory[own], **{side: memory[side] for side in SIDES if side in memory}}
    ratio = sides["ours"]["step"] / max(1, sides["torch-fp32"]["step"])
    return {"peak_rss_ratio": round(ratio, _RATIO_DIGITS), "train_memory": sides}


def lines(rows: Sequence[results.Row]) -> list[str]:
    """What a person reads, a line per row."""
    return [
        f"{row['method']} on {row['isa']} {row['ours_ms']:.1f} ms, {row['baseline']} {row['baseline_format']} "
        f"{row['baseline_ms']:.1f} ms: {row['ratio']:.2f}x, memory {row['peak_rss_ratio']:.2f} of fp32's"
        for row in rows
    ]


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="benchmarks.step", description="Measure training steps against PyTorch, in turns.")
    parser.add_argument("--model", required=True, help="vgg16 or resnet18")
    parser.add_argument("--image-size", type=number, default=32, help="pixels; from 65 the stem is that of ImageNet")
    parser.add_argument("--batch", type=number, default=128, help="images per step")
    parser.add_argument("--threads", type=number, default=1)
    parser.add_argument(
        "--isa", default="auto", help="auto, reference, portable, neon, avx2, avx512 or amx, as in FQT_ISA"
    )
    parser.add_argument(
        "--method", action="append", help="fqt, psq8, int8, qat, fqt-b2, …; may be given several times (default: fqt)"
    )
    parser.add_argument("--repeats", type=number, default=7, help="timed turns of each side")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    given = _arguments(arguments)
    setting = Setting(given.model, given.image_size, given.batch, given.threads, given.isa)
    say(setting.title())
    rows = measure(setting, list(dict.fromkeys(given.method or ["fqt"])), given.repeats)
    sys.stdout.write("\n".join(lines(rows)) + "\n")
    if given.json is not None:
        results.write(given.json, rows)


if __name__ == "__main__":
    run("benchmarks.step", main)
