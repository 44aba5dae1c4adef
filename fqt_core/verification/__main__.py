"""``python -m fqt_core.verification``: whether a device's operations are right, and how fast they are.

Ends with 0 if every operation gives the reference's results, bit for bit; with 5 if one does not, or if there is no
such device.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

import torch

from fqt_core.allocator import keep_pages
from fqt_core.training.device import missing_gpu
from fqt_core.verification.cases import CASES
from fqt_core.verification.report import MEASURED, examine

WRONG = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="fqt_core.verification", description="Verify and time a device's operations.")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, …, or cpu (default: cuda)")
    parser.add_argument("--operation", action="append", choices=CASES, help="only this one; may be given several times")
    parser.add_argument("--equality", action="store_true", help="verify only; time nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    given = parser.parse_args(arguments)
    try:
        device = torch.device(given.device)
    except RuntimeError:
        parser.error(f"--device: {given.device!r} is none; use cuda, cuda:1, …, or cpu")
    if device.type == "cuda" and (missing := missing_gpu()) is not None:
        sys.stderr.write(f"{missing}\n")
        return WRONG
    keep_pages()
    if not given.json:
        sys.stdout.write(f"torch {torch.__version__}, {device}\n")
    report = examine(
        device,
        given.operation or tuple(CASES),
        layers=() if given.equality else MEASURED,
        progress=_silent if given.json else _say,
    )
    if given.json:
        json.dump(report.to_json(), sys.stdout)
    else:
        equal = sum(verdict.equal for verdict in report.verdicts)
        all_of_them = f"{equal} of {len(report.verdicts)} operations give the reference's results"
        _say(f"{report.name}: {all_of_them}; {report.kernels} have kernels")
    return 0 if report.equal else WRONG


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _silent(_line: str) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())
