"""`fqt compare`: jobs side by side, in what differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from fqt_client.cli import complete
from fqt_client.cli.filters import DatasetOption, JobFilter, MethodOption, NameOption, NetworkOption, StateOption
from fqt_client.cli.output import (
    duration_text,
    figure_text,
    print_json,
    print_line,
    print_table,
    printable,
    share_text,
    short_names,
    sparkline_over,
    value_text,
)
from fqt_client.cli.session import JsonOption, connect, job_id, sweep_id
from fqt_client.client import Client
from fqt_client.comparison import Alignment, ComparedJob, ComparedMetric, Comparison
from fqt_client.errors import NotFoundError

app = typer.Typer()
METRICS = ("loss", "validation_accuracy")
ALL = "all"
POINTS = 200
FOUND = 20
RECENT = 5
_AXES = {"step": "steps {} to {}", "epoch": "epochs {} to {}", "time": "{} to {} of running"}


@app.command(rich_help_panel="Jobs")
def compare(
    jobs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[JOB…]", help="Ids of jobs; `last` is the newest one.", autocompletion=complete.jobs),
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            "--sweep", metavar="SWEEP", help="The jobs of this sweep too; `last` works.", autocompletion=complete.sweeps
        ),
    ] = None,
    state: StateOption = None,
    name: NameOption = None,
    method: MethodOption = None,
    architecture: NetworkOption = None,
    dataset: DatasetOption = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", min=1, max=1000, help=f"So many of the newest jobs; {FOUND} of those that options choose."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", help=f"A metric to show; may be repeated; `{ALL}` shows all. Default: {' and '.join(METRICS)}."
        ),
    ] = None,
    by: Annotated[Alignment, typer.Option("--by", help="What curves are drawn over.")] = "step",
    equal: Annotated[bool, typer.Option("--equal", help="Show the parameters that all have in common too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare jobs: the parameters that differ, least, greatest and last value of metrics, and their curves.

    Which jobs: those that are named, those of a sweep, and the newest ones that `--name`, `--state` and so on choose.
    Without any of these, the newest five that have succeeded.
    """
    chosen = JobFilter(state, name, method, architecture, dataset)
    nobody = not (jobs or sweep or chosen or limit)
    if nobody:
        chosen, limit = JobFilter(state="succeeded"), RECENT
    names = list(metric or METRICS)
    with connect() as client:
        ids = _ids(client, jobs or [], chosen, limit)
        if nobody and not ids:
            raise NotFoundError(
                "no job has succeeded yet, so there is nothing to compare",
                status=404,
                code="not_found",
                remedy="name jobs that run, or make one: fqt submit --dataset digits",
            )
        found = client.compare(
            ids,
            sweep=sweep_id(client, sweep) if sweep is not None else None,
            metrics=() if ALL in names else names,
            align=by,
            points=POINTS,
            equal=equal,
        )
    if as_json:
        print_json(found.raw)
        return
    if nobody:
        print_line("The newest jobs that have succeeded; name others, or choose them by --sweep, --name or -n.\n")
    show(found)


def _ids(client: Client, named: Sequence[str], chosen: JobFilter, limit: int | None) -> list[str]:
    ids = [job_id(client, text) for text in named]
    if chosen or limit is not None:
        ids += [job.id for job in chosen.find(client, limit or FOUND)]
    return list(dict.fromkeys(ids))


def show(found: Comparison) -> None:
    """Print a comparison for people."""
    _parameters(found)
    called = _called(found.jobs)
    for kind, name in found.metrics:
        rows = [(label, job.metric(name, kind)) for label, job in zip(called, found.jobs, strict=True)]
        _metric(found.align, kind, name, [(label, metric) for label, metric in rows if metric is not None])
    if not found.metrics:
        print_line("\nNone of them has reported these metrics yet.")
    if found.equal:
        print_line("\nThe same in all:")
        for name, value in found.equal.items():
            print_line(printable(f"  {name} {value_text(value)}"))


def _parameters(found: Comparison) -> None:
    """A line for each job. An option that only some have, with one value in all of these, tells nothing more."""
    told = found.telling
    rows = [
        (
            job.id,
            job.name or "–",
            job.state,
            *(value_text(job.parameters[name]) if name in job.parameters else "–" for name in told),
            share_text(job.result.get("validation_accuracy")),
            duration_text(job.result.get("seconds")),
        )
        for job in found.jobs
    ]
    print_table(("id", "name", "state", *short_names(told), "accuracy", "trained"), rows, empty="no jobs")
    if len(told) < len(found.differing):
        rest = ", ".join(name for name in found.differing if name not in told)
        print_line(f"\nOnly some have, with the same value: {rest}")


def _called(jobs: Sequence[ComparedJob]) -> list[str]:
    """What to call them: by their names, if these tell them apart."""
    names = [job.name or "" for job in jobs]
    return names if all(names) and len(set(names)) == len(names) else [job.id for job in jobs]


def _metric(align: Alignment, kind: str, name: str, rows: Sequence[tuple[str, ComparedMetric]]) -> None:
    """One metric of all jobs. Their curves are drawn on the same two scales, so that they can be held together."""
    curves = [metric.curve for _, metric in rows if metric.curve is not None]
    places = [x for curve in curves for x in curve.x]
    values = [value for curve in curves for value in curve.values if value is not None]
    ends, bounds = ((min(each), max(each)) if each else (0.0, 0.0) for each in (places, values))
    title = f"{name}, of each {kind}" if kind in {"step", "epoch"} else f"{name} ({kind})"
    print_line(printable(f"\n{title}{_axes(align, ends, bounds) if values else ''}"))
    table = [
        (
            label,
            _point(metric.min),
            _point(metric.max),
            _point(metric.last),
            sparkline_over(metric.curve.x, metric.curve.values, ends, bounds) if metric.curve is not None else "",
        )
        for label, metric in rows
    ]
    print_table(("job", "min (step)", "max (step)", "last (step)", "curve"), table, empty="no values")


def _axes(align: Alignment, ends: tuple[float, float], bounds: tuple[float, float]) -> str:
    across = _AXES[align].format(*map(duration_text if align == "time" else figure_text, ends))
    return f" · curves over {across}, from {figure_text(bounds[0])} to {figure_text(bounds[1])}"


def _point(point: Any) -> str:
    return "–" if point is None else f"{figure_text(point.value)} ({point.step})"
