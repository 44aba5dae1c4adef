"""``python -m tests.system.chaos``: run jobs under faults, and say whether any was lost, doubled or spoiled."""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import sys
import tempfile
from dataclasses import asdict
from math import inf
from pathlib import Path

from tests.system.chaos.hosts import move_into_isolation, why_not
from tests.system.chaos.run import Options, Report, run

_DATABASES = ("sqlite", "postgresql")


def main() -> int:
    """Run on each database that was asked for. Returns 0 if all is well, 1 if not, 2 if it cannot be run here."""
    options = _options()
    if (reason := why_not()) is not None:
        print(f"cannot run here: {reason}", file=sys.stderr)
        return 2
    move_into_isolation()
    seconds = inf if options.minutes is None else 60 * options.minutes
    asked = Options(options.seed, options.jobs, options.faults, seconds, options.scripted)
    reports = []
    for database in options.database or _DATABASES:
        folder = Path(tempfile.mkdtemp(prefix="fqt-chaos-"))
        folder.chmod(0o711)  # PostgreSQL is another user
        print(f"{database}: seed {options.seed}, in {folder}", file=sys.stderr, flush=True)
        report = run(asked, folder, database, _say)
        reports.append(report)
        if report.sound:
            shutil.rmtree(folder)
        if not options.json:
            print(_table(report), flush=True)
    if options.json:
        print(json.dumps([asdict(report) for report in reports], indent=1))
    return 0 if all(report.sound for report in reports) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.system.chaos", description=__doc__)
    parser.add_argument("--database", action="append", choices=_DATABASES, help="on this one only; default: both")
    parser.add_argument("--jobs", type=int, default=500, help="jobs to submit")
    parser.add_argument("--faults", type=int, default=200, help="faults to bring")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="draws the schedule of the faults")
    parser.add_argument("--minutes", type=float, help="end after so many on each database, with what was reached")
    parser.add_argument("--scripted", action="store_true", help="children only play training: much quicker")
    parser.add_argument("--json", action="store_true", help="report as JSON")
    return parser.parse_args()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _table(report: Report) -> str:
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(report.faults.items()))
    lines = [
        f"{report.database}: {report.jobs} jobs, {report.attempts} attempts of which {report.resumed} went on from a "
        f"checkpoint, {sum(report.faults.values())} faults in {report.seconds:.0f} s (seed {report.seed})",
        f"  {faults}",
        f"  lost {report.lost} · doubled {report.doubled} · mismatched {report.mismatched}",
        *(f"  {line}" for line in report.findings),
    ]
    if not report.sound:
        lines.append(f"  logs and store: {report.folder}; the same faults: --seed {report.seed}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
