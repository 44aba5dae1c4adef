"""What several threads keep of one thread's ratio to PyTorch, in one run: ``python -m benchmarks.threads --help``.

With ``--busy`` another process works for a moment now and then meanwhile (:mod:`benchmarks.busy`), as on a machine that
does something else as well.

Both sides are run with one thread and with several, each in a process of its own, and all of them take turns as in
:mod:`benchmarks.step`. A row, one per baseline, has ``ratio`` and the milliseconds of several threads, the same of one
thread as ``one_thread``, and ``kept``, the one ratio divided by the other: at 1 our step gains as much from threads as
PyTorch's. ``kept_in_turns`` are the quartiles of the same of each turn by itself: how far a figure can be trusted on a
machine that others use as well. There a turn's figure may be off by a third: many turns tell more than few long ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import quantiles

from benchmarks import results
from benchmarks.busy import working_now_and_then
from benchmarks.cli import Parser, number, run, say
from benchmarks.errors import BenchmarkError
from benchmarks.machine import cpu_name
from benchmarks.pipes import Pipe
from benchmarks.setting import SIDES, Setting, parse_method
from benchmarks.step import comparison, identity, in_turns, prepare

_DIGITS = 4


def measure(
    setting: Setting, method: str, repeats: int, *, baselines: Sequence[str] = SIDES, busy: bool = False
) -> list[results.Row]:
    """Measure a method and baselines with one thread and with those of the setting, perhaps beside a ``busy`` process.

    Raises:
        BenchmarkError: it cannot be done.
    """
    parse_method(method)
    if setting.threads < 2:
        raise BenchmarkError(f"--threads must be at least 2, got {setting.threads}")
    settings = (replace(setting, threads=1), setting)
    with ExitStack() as stack:
        pipes = {
            (side, each.threads): stack.enter_context(
                Pipe(side, each, method=method if side == "ours" else "", keep_pages=True)
            )
            for side in ("ours", *baselines)
            for each in settings
        }
        facts = dict(zip(pipes, prepare(list(pipes.values())), strict=True))
        if busy:
            stack.enter_context(working_now_and_then())
        able = {key: pipe for key, pipe in pipes.items() if "skipped" not in facts[key]}
        times = dict(zip(able, in_turns(list(able.values()), repeats), strict=True))
    rows = []
    for side in baselines:
        if (side, 1) not in times:
            continue
        one, several = (
            comparison(side, facts[side, each.threads], times["ours", each.threads], times[side, each.threads])
            for each in settings
        )
        rows.append(
            {
                **identity(setting, method, facts["ours", setting.threads], facts[side, setting.threads]),
                **several,
                "one_thread": one,
                "busy": busy,
                "kept": round(several["ratio"] / one["ratio"], _DIGITS),
                "kept_in_turns": kept_in_turns(
                    *(times[who, n] for n in (1, setting.threads) for who in ("ours", side))
                ),
                "cpu": cpu_name(),
                "repeats": repeats,
            }
        )
    return rows


def kept_in_turns(
    our_one: Sequence[float], their_one: Sequence[float], our_several: Sequence[float], their_several: Sequence[float]
) -> list[float]:
    """Quartiles of what single turns kept: one thread's milliseconds, ours and theirs, and the same of several."""
    turns = zip(our_one, their_one, our_several, their_several, strict=True)
    kept = [(theirs / ours) / (their_first / our_first) for our_first, their_first, ours, theirs in turns]
    return [round(cut, _DIGITS) for cut in (quantiles(kept, method="inclusive") if len(kept) > 1 else 3 * kept)]


def lines(rows: Sequence[results.Row]) -> list[str]:
    """What a person reads, a line per row."""
    return [
        f"{row['method']} on {row['isa']}, {row['baseline']}: {row['one_thread']['ratio']:.2f}x with 1 thread "
        f"({row['one_thread']['ours_ms']:.1f} ms, {row['one_thread']['baseline_ms']:.1f} ms), "
        f"{row['ratio']:.2f}x with {row['threads']} ({row['ours_ms']:.1f} ms, {row['baseline_ms']:.1f} ms): "
        f"{row['kept']:.0%} kept, in the middle half of turns {row['kept_in_turns'][0]:.0%} to "
        f"{row['kept_in_turns'][2]:.0%}"
        for row in rows
    ]


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="benchmarks.threads", description="Measure what threads keep of one thread's ratio.")
    parser.add_argument("--model", default="vgg16", help="vgg16 or resnet18")
    parser.add_argument("--image-size", type=number, default=32, help="pixels; from 65 the stem is that of ImageNet")
    parser.add_argument("--batch", type=number, default=128, help="images per step")
    parser.add_argument("--threads", type=number, default=2, help="how many to compare with one")
    parser.add_argument("--isa", default="auto", help="as of benchmarks.step")
    parser.add_argument("--method", default="fqt", help="as of benchmarks.step")
    parser.add_argument(
        "--baseline",
        action="append",
        choices=SIDES,
        help="may be given several times (default: both); bf16 takes seconds a step where it is emulated",
    )
    parser.add_argument("--busy", action="store_true", help="another process works for a moment now and then")
    parser.add_argument("--repeats", type=number, default=15, help="timed turns of each side")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    given = _arguments(arguments)
    setting = Setting(given.model, given.image_size, given.batch, given.threads, given.isa)
    say(setting.title())
    rows = measure(setting, given.method, given.repeats, baselines=given.baseline or SIDES, busy=given.busy)
    sys.stdout.write("\n".join(lines(rows)) + "\n")
    if given.json is not None:
        results.write(given.json, rows)


if __name__ == "__main__":
    run("benchmarks.threads", main)
