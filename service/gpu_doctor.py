"""What `fqt doctor --gpu` looks at: the kernels of this machine's GPU, in a process of its own that imports torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from fqt_client.cli.findings import Finding

_SECONDS = 900.0
_COMMAND = (sys.executable, "-P", "-m", "fqt_core.verification", "--json")
_REBUILD = 'build the kernels: CMAKE_ARGS="-D FQT_CUDA=1" pip install --no-build-isolation --no-deps .'
_REPORT = "report it, with what `python -m fqt_core.verification` prints; workers take no jobs for this GPU"


def checks(command: Sequence[str] = _COMMAND) -> Iterator[Finding]:
    """Every operation against its reference, bit for bit; then how fast memory is copied and operations run."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        yield Finding("GPU", "broken", f"no answer within {_SECONDS:g} s", _REPORT)
        return
    try:
        report = json.loads(run.stdout)
    except ValueError:
        last = (run.stderr.strip().splitlines() or [f"the look at it ended with {run.returncode}"])[-1]
        remedy = "install NVIDIA's driver and a torch with CUDA (pytorch.org, Get started), on a machine with a GPU"
        yield Finding("GPU", "broken", last, remedy)
        return
    yield Finding("GPU", "ok", f"{report['name']} ({report['device']}), torch {report['torch']}")
    yield from _kernels(report)
    yield from _speed(report)


def _kernels(report: dict[str, Any]) -> Iterator[Finding]:
    verdicts = report["verdicts"]
    if not report["kernels"]:
        message = "the extension has no CUDA kernels, so that every operation runs its slow reference"
        yield Finding("kernels", "warning", message, _REBUILD)
    for verdict in verdicts:
        if verdict["error"] or verdict["differing"]:
            why = verdict["error"] or f"differs from the reference in {len(verdict['differing'])} cases"
            first = f", first at {verdict['differing'][0]}" if verdict["differing"] else ""
            message = f"{verdict['operation']} ({verdict['kernel']}): {' '.join(why.split())}{first}"
            # Where a reference differs from itself on the CPU, results differ between devices; jobs run all the same.
            own = verdict["kernel"] != "reference"
            yield Finding("bit-equality", "broken" if own else "warning", message, _REPORT if own else None)
    equal = sum(not (verdict["error"] or verdict["differing"]) for verdict in verdicts)
    cases = sum(verdict["cases"] for verdict in verdicts)
    message = f"{equal} of {len(verdicts)} operations give the reference's results, in {cases} cases"
    yield Finding("bit-equality", "ok", f"{message}; {report['kernels']} of them have kernels")


def _speed(report: dict[str, Any]) -> Iterator[Finding]:
    if report["copy_gb_per_s"] is not None:
        yield Finding("bandwidth", "ok", f"copies memory at {report['copy_gb_per_s']:.0f} GB/s")
    for speed in report["speeds"]:
        share = "" if speed["share"] is None else f", {speed['share']:.0%} of a copy"
        variant = f" ({speed['variant']})" if speed["variant"] else ""
        figure = f"{speed['ms']:.4f} ms, {speed['figure']:.1f} {speed['unit']}{share}"
        yield Finding("speed", "ok", f"{speed['operation']}: {figure}, {speed['layer']}{variant}")
