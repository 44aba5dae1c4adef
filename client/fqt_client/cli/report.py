"""The report of a sweep: a table on the terminal, a Markdown file, a picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from fqt_client.cli.output import bytes_text, duration_text, figure_text, print_line, print_table, printable
from fqt_client.cli.report_picture import check_drawing, draw
from fqt_client.cli.report_text import count_text, joules_text, metric_title, spread_text
from fqt_client.display import markdown_table
from fqt_client.errors import LocalFileError
from fqt_client.reports import ReportRow, SweepReport

OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the report there too, as Markdown.")
]
PictureOption = Annotated[
    Path | None, typer.Option("--picture", metavar="FILE.png", help="Write a chart of it there, as PNG.")
]

_NOTES = """\
Means and sample standard deviations over the jobs that succeeded. What was counted:

- **arithmetic**: what the products of converted layers ran in, as the jobs' records say, and the kernels. The first and
  the last layer are in full precision in every method.
- **operations**, **bytes moved**: of one training step, counted from the layers and the method: forward and both
  gradient products (of pruned gradients what is kept), each operand read once and each result written once, and the
  optimiser. A b-bit code times a sign counts as b products of single bits.
- **energy proxy**: those counts times the energies of single operations in a 45 nm process and of reading DRAM
  (Horowitz, ISSCC 2014). Not measured: it tells what the formats would cost in such hardware.
- **peak memory**: of the training process, beyond what it had before data and network.
- **gradient variance**: relative variance of the gradients that arrive at binarised weights, of the median layer.
- **time**: of an epoch with its validation, the median over epochs, on a machine that may have run other jobs too.
"""


def check_targets(output: Path | None, picture: Path | None) -> None:
    """See that both files can be written, before anything is done for them.

    Raises:
        LocalFileError: one cannot.
    """
    for path in filter(None, (output, picture)):
        if path.is_dir() or not path.parent.is_dir():
            what = "it is a folder" if path.is_dir() else f"there is no folder {path.parent}"
            raise LocalFileError(f"cannot write {path}: {what}")
    if picture is not None:
        check_drawing(picture)


def write_targets(report: SweepReport, output: Path | None, picture: Path | None) -> None:
    """Write the files that were asked for, each in place all at once.

    Raises:
        LocalFileError: one cannot be written.
    """
    if output is not None:
        text = markdown(report, picture)
        _write(output, lambda part: part.write_text(text, encoding="utf-8"))
    if picture is not None:
        _write(picture, lambda part: draw(report, part))


def _write(path: Path, write: Callable[[Path], object]) -> None:
    part = path.with_name(path.name + ".part")
    try:
        write(part)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise LocalFileError(f"cannot write {path}: {error.strerror or error}") from error


def show_report(report: SweepReport) -> None:
    """Print it for people."""
    rows = [_cells(report, row) for row in report.rows]
    columns = list(rows[0]) if rows else []
    print_table(columns, [list(row.values()) for row in rows], empty="no jobs yet")
    for line in failures(report):
        print_line(printable(line))


def failures(report: SweepReport) -> list[str]:
    """A line for each job that has ended without success."""
    found = []
    for row in report.rows:
        for run in row.runs:
            if run.state not in {"succeeded", "running"}:
                which = f"trial {run.number}" if run.seed is None else f"seed {run.seed}"
                told = f"{row.label}, {which}: {run.state}" + (f", {run.reason}" if run.reason else "")
                found.append(" ".join(told.split()))
    return found


def markdown(report: SweepReport, picture: Path | None = None) -> str:
    """The report as a Markdown document."""
    parts = [f"# {' '.join((report.name or report.sweep).split())}", f"Sweep `{report.sweep}`, {report.state}."]
    if picture is not None:
        parts.append(f"![{metric_title(report)}, energy proxy and time]({picture.name})")
    parts.append(markdown_table([_cells(report, row) for row in report.rows]))
    if failed := failures(report):
        parts += ["Jobs without a result:", "\n".join(f"- {line}" for line in failed)]
    base = json.dumps(report.base, indent=2, ensure_ascii=False)
    return (
        "\n\n".join([*parts, _NOTES.rstrip(), f"Every job was, beside what the table tells:\n\n```json\n{base}\n```"])
        + "\n"
    )


def _cells(report: SweepReport, row: ReportRow) -> dict[str, str]:
    cost = row.cost
    return {
        "method": row.label,
        metric_title(report): spread_text(row.value, is_share="accuracy" in report.metric),
        "jobs": f"{row.succeeded} of {len(row.runs)}",
        "arithmetic": f"{row.arithmetic} ({row.kernels})" if row.arithmetic else "–",
        "time per epoch": duration_text(row.seconds_per_epoch.mean) if row.seconds_per_epoch else "–",
        "operations of a step: 1 bit": "–" if cost is None else count_text(cost.binary_macs),
        "8 bits": "–" if cost is None else count_text(cost.byte_macs),
        "float": "–" if cost is None else count_text(cost.float_macs),
        "bytes moved": "–" if cost is None else bytes_text(cost.bytes_moved),
        "energy proxy of a step: operations": "–" if cost is None else joules_text(cost.operation_joules),
        "with bytes": "–" if cost is None else joules_text(cost.joules),
        "peak memory": bytes_text(row.memory_bytes.mean) if row.memory_bytes else "–",
        "gradient variance": figure_text(row.gradient_variance.mean) if row.gradient_variance else "–",
        "model": bytes_text(row.model_bytes),
    }
