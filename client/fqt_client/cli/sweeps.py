"""`fqt sweep …`: searches over fields of the job spec."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

import typer

from fqt_client.cli import complete
from fqt_client.cli.documents import read_object
from fqt_client.cli.exits import ExitCode
from fqt_client.cli.output import (
    duration_text,
    figure_text,
    print_facts,
    print_json,
    print_json_line,
    print_table,
    short_names,
    sparkline,
    time_text,
)
from fqt_client.cli.report import OutputOption, PictureOption, check_targets, show_report, write_targets
from fqt_client.cli.session import JsonOption, SweepArgument, connect, dataset_id, job_id, sweep_id
from fqt_client.cli.space import FORMS, space_of
from fqt_client.cli.spec import build_spec
from fqt_client.cli.sweep_views import parameters_text, view_for
from fqt_client.client import Client
from fqt_client.sweeps import Sweep, SweepPlan, Trial

app = typer.Typer(
    help="Search over fields of the job spec: create sweeps, watch, list, show, report, cancel and delete them."
)


@app.callback(invoke_without_command=True)
def _sweeps(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def create(
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="The sweep as JSON or YAML; - is JSON from stdin.")
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary",
            metavar="PATH=VALUES",
            help=f"A field to search, e.g. training.learning_rate=3e-4..3e-2:log. {FORMS}.",
        ),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            metavar="JOB",
            help="Take everything else from this job; `last` works.",
            autocompletion=complete.jobs,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", "-d", help="Data set of all jobs; `last` works.", autocompletion=complete.datasets),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="PATH=VALUE", help="A field of all jobs, e.g. training.epochs=5; may be repeated."
        ),
    ] = None,
    algorithm: Annotated[
        Literal["grid", "random", "tpe"] | None,
        typer.Option("--algorithm", help="All combinations, draws, or draws that learn (the default)."),
    ] = None,
    max_jobs: Annotated[int | None, typer.Option("--max-jobs", "-n", min=1, help="Jobs in all.")] = None,
    parallel: Annotated[int | None, typer.Option("--parallel", min=1, help="Jobs at the same time.")] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", help="What is compared: validation_accuracy, validation_loss, …")
    ] = None,
    pruning: Annotated[
        Literal["median", "hyperband"] | None, typer.Option("--pruning", help="End jobs early that have no prospect.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of what is drawn.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="A name for people.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", help="The same key and sweep make one sweep only.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check it and tell what it would take.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it until it ends.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Create a sweep, from a file (the body of `POST /v1/sweeps`), from options, or from both; options go first.

    `fqt sweep create --dataset digits --vary training.learning_rate=3e-4..3e-2:log --vary method.bits=1,2,4 -n 10 -w`
    """
    asked = read_object(file, like="docs/sweeps.md shows") if file is not None else {}
    given = {
        "name": name,
        "algorithm": algorithm,
        "metric": metric,
        "max_jobs": max_jobs,
        "parallel": parallel,
        "pruning": None if pruning is None else {"name": pruning},
        "seed": seed,
    }
    asked |= {option: value for option, value in given.items() if value is not None}
    space = {**asked.pop("space", {}), **space_of(vary or ())}
    if not space:
        raise typer.BadParameter(f"say what to search; {FORMS}", param_hint="--vary")
    base = asked.pop("base", {})
    with connect() as client:
        if like is not None:
            found = client.jobs.get(job_id(client, like)).spec
            base = {**{field: value for field, value in found.items() if field != "name"}, **base}
        base = build_spec(base, {"dataset": dataset}, assignments or ())
        if "dataset" not in {*base, *space}:
            raise typer.BadParameter("name a data set, e.g. --dataset digits", param_hint="--dataset")
        if "dataset" in base:
            base["dataset"] = dataset_id(client, base["dataset"])
        if dry_run:
            _show_plan(client.sweeps.plan(base, space, **asked), as_json)
            return ExitCode.OK
        sweep = client.sweeps.create(base, space, idempotency_key=idempotency_key, **asked)
        if as_json:
            (print_json_line if watch else print_json)(sweep.raw)
        else:
            print(
                f"Created {sweep.id} of {sweep.jobs} jobs"
                + ("" if watch else f"\nWatch it: fqt sweep watch {sweep.id}")
            )
        return watch_sweep(client, sweep.id, as_json=as_json) if watch else ExitCode.OK


def _show_plan(plan: SweepPlan, as_json: bool) -> None:
    if as_json:
        print_json(plan.raw)
        return
    print("The sweep is valid; nothing was created.\n")
    whole = duration_text(plan.seconds) if plan.seconds is not None else f"unknown: {plan.seconds_reason}"
    each = plan.seconds_per_job or []
    facts = {"jobs": plan.jobs, "specs checked": plan.checked, "each": " to ".join(map(duration_text, each)) or None}
    print_facts({**facts, "one after another": whole})


@app.command()
def watch(sweep: SweepArgument, as_json: JsonOption = False) -> int:
    """Follow a sweep live until it ends: how far it is, the best so far, and each trial as it ends.

    Exit code 0 if it finished, 1 if it failed or was cancelled. Ctrl-C stops watching; the sweep goes on. `--json`
    prints the sweep on a line whenever it has changed.
    """
    with connect() as client:
        return watch_sweep(client, sweep_id(client, sweep), as_json=as_json)


def watch_sweep(client: Client, identity: str, *, as_json: bool) -> int:
    """Follow a sweep to its end; the exit code says how that was. Ctrl-C leaves it running."""
    state = "running"
    try:
        with view_for(as_json=as_json) as view:
            for found in client.sweeps.follow(identity):
                view.show(found)
                state = found.state
    except KeyboardInterrupt:
        again = f"Watch again: fqt sweep watch {identity} · cancel it: fqt sweep cancel {identity}"
        print(f"\nStopped watching; the sweep goes on. {again}", file=sys.stderr)
        return ExitCode.INTERRUPTED
    return ExitCode.OK if state == "finished" else ExitCode.JOB_FAILED


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List sweeps, newest first."""
    with connect() as client:
        sweeps = list(client.sweeps.list())
    if as_json:
        print_json([sweep.raw for sweep in sweeps])
        return
    rows = [
        (
            sweep.id,
            sweep.name or "–",
            sweep.state,
            f"{sweep.done}/{sweep.jobs}",
            sweep.spec.get("metric", "–"),
            figure_text(sweep.best.value if sweep.best is not None else None),
            ", ".join(sweep.spec.get("space", {})),
            time_text(sweep.created_at),
        )
        for sweep in sweeps
    ]
    columns = ("id", "name", "state", "jobs", "metric", "best", "over", "created")
    print_table(columns, rows, empty="no sweeps; create one: fqt sweep create --help")


@app.command()
def show(sweep: SweepArgument, as_json: JsonOption = False) -> None:
    """Show one sweep: what it searches, the best so far, and its trials."""
    with connect() as client:
        found = client.sweeps.get(sweep_id(client, sweep))
    if as_json:
        print_json(found.raw)
        return
    _facts(found)
    print()
    parameters = list(found.spec.get("space", {}))
    rows = [_row(trial, parameters, found.best) for trial in found.trials]
    print_table(
        ("trial", "job", "state", *short_names(parameters), "value", "curve", "reason"), rows, empty="no trials yet"
    )
    print(f"\nSide by side: fqt compare --sweep {found.id}")


@app.command()
def report(
    sweep: SweepArgument, output: OutputOption = None, picture: PictureOption = None, as_json: JsonOption = False
) -> None:
    """Show what a sweep came to: jobs that differ in nothing but the seed are one row, with mean and deviation."""
    check_targets(output, picture)
    with connect() as client:
        found = client.sweeps.report(sweep_id(client, sweep))
    write_targets(found, output, picture)
    if as_json:
        print_json(found.raw)
    else:
        show_report(found)


def _facts(found: Sweep) -> None:
    spec, best = found.spec, found.best
    counts = ", ".join(f"{count} {state}" for state, count in found.counts.items() if count)
    print_facts(
        {
            "id": found.id,
            "name": found.name,
            "state": found.state,
            "reason": (found.reason or {}).get("message"),
            "algorithm": spec.get("algorithm"),
            "metric": f"{spec.get('metric')} ({found.direction})",
            "jobs": f"{found.done} of {found.jobs} have ended" + (f" ({counts})" if counts else ""),
            "best": best and f"{figure_text(best.value)} with {parameters_text(best)}, {best.job or 'job deleted'}",
            "created": time_text(found.created_at),
        }
    )


def _row(trial: Trial, parameters: list[str], best: Trial | None) -> tuple[Any, ...]:
    mark = " best" if best is not None and trial.number == best.number else ""
    values = (parameters_text(trial, name) for name in parameters)
    curve = sparkline(trial.epochs.values())
    return (
        trial.number,
        trial.job or "–",
        trial.state,
        *values,
        figure_text(trial.value) + mark,
        curve,
        trial.reason or "–",
    )


@app.command()
def cancel(sweep: SweepArgument, as_json: JsonOption = False) -> None:
    """Cancel a sweep, and those of its jobs that have not ended."""
    with connect() as client:
        found = client.sweeps.cancel(sweep_id(client, sweep))
    if as_json:
        print_json(found.raw)
    else:
        print(f"{found.id} is {found.state}")


@app.command()
def delete(sweep: SweepArgument, as_json: JsonOption = False) -> None:
    """Delete a sweep that has ended; its jobs stay."""
    with connect() as client:
        identity = sweep_id(client, sweep)
        client.sweeps.delete(identity)
    if as_json:
        print_json({"sweep": identity, "deleted": True})
    else:
        print(f"Deleted {identity}")
