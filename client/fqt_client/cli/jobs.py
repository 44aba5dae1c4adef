"""`fqt jobs`, `fqt show`, `fqt pause`, `fqt resume`, `fqt cancel`, `fqt delete` and `fqt logs`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from fqt_client.cli.filters import DatasetOption, JobFilter, MethodOption, NameOption, NetworkOption, StateOption
from fqt_client.cli.output import (
    duration_text,
    print_facts,
    print_json,
    print_json_line,
    print_table,
    printable,
    share_text,
    time_text,
)
from fqt_client.cli.session import JobArgument, JsonOption, connect, job_id
from fqt_client.models import Event, Job, examples_of, explained_by

app = typer.Typer()
PANEL = "Jobs"
_OF_TREES = ("seed", "validation_fraction", "early_stopping_patience")


@app.command(rich_help_panel=PANEL)
def jobs(
    state: StateOption = None,
    name: NameOption = None,
    method: MethodOption = None,
    architecture: NetworkOption = None,
    dataset: DatasetOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, the newest first.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List jobs, the newest first."""
    with connect() as client:
        listed = list(JobFilter(state, name, method, architecture, dataset).find(client, limit))
    if as_json:
        print_json([job.raw for job in listed])
        return
    rows = [
        (
            job.id,
            job.name or "–",
            job.state,
            _choice(job, "method"),
            _choice(job, "architecture"),
            job.spec.get("dataset", "–"),
            _progress(job),
            share_text(job.accuracy),
            time_text(job.created_at),
        )
        for job in listed
    ]
    columns = ("id", "name", "state", "method", "network", "data set", "progress", "accuracy", "created")
    print_table(columns, rows, empty="no jobs; submit one: fqt submit --dataset digits --watch")


@app.command(rich_help_panel=PANEL)
def show(job: JobArgument, as_json: JsonOption = False) -> None:
    """Show one job: what was asked for, how far it is, what came of it."""
    with connect() as client:
        found = client.jobs.get(job_id(client, job))
        artifacts = client.jobs.artifacts(found.id)
    if as_json:
        print_json(found.raw)
        return
    record = found.record or {}
    training = found.spec.get("training", {})
    if examples_of(found.spec) == "rows":
        training = {name: training[name] for name in _OF_TREES if name in training}
    explained = explained_by(found.result)
    print_facts(
        {
            "id": found.id,
            "name": found.name,
            "state": found.state,
            "error": found.error and (f"{found.error.param}: " if found.error.param else "") + found.error.message,
            "data set": found.spec.get("dataset"),
            "classes": ", ".join(found.spec.get("classes") or []),
            "target": (found.spec.get("table") or {}).get("target"),
            "network": _options(found, "architecture"),
            "method": _options(found, "method"),
            "training": ", ".join(f"{name} {value}" for name, value in training.items() if _plain(value)),
            "started from": found.spec.get("initial_weights"),
            "learns from": found.spec.get("teacher"),
            "runs on": ", ".join(f"{name} {record[name]}" for name in _RECORD if record.get(name) is not None),
            "gradient bits": _bits(record.get("bits_chosen")),
            "processes": _processes(found.spec.get("parallel"), record.get("gradients_exchanged")),
            "progress": _progress(found),
            "accuracy": share_text(found.accuracy) if explained is None else None,
            "warning": ((found.result or {}).get("setback") or {}).get("message"),
            "R²": f"{explained:.4f}" if explained is not None else None,
            "created": time_text(found.created_at),
            "took": duration_text(found.seconds) if found.seconds is not None else None,
            "files": ", ".join(artifact.name for artifact in artifacts),
        }
    )
    if found.error is not None and found.error.log:
        print("\nIts last lines:")
        for line in found.error.log:
            print(printable(f"  {line}"))
    if artifacts:
        print(f"\nFetch the files: fqt fetch {found.id}")


def _processes(parallel: Mapping[str, Any] | None, exchanged: Mapping[str, Any] | None) -> str | None:
    """How a job is divided, and what that has cost so far."""
    if parallel is None:
        return None
    bits = parallel.get("gradient_bits")
    text = f"{parallel['processes']}, gradients at {bits or 32} bits"
    if exchanged is None:
        return text
    sent, full = exchanged["bytes_sent"], exchanged["full_precision_bytes"]
    saved = f", {full - sent} bytes ({(full - sent) / full:.1%}) saved" if bits and full else ""
    return f"{text}: {sent} bytes sent by each{saved}"


def _bits(chosen: Mapping[str, Any] | None) -> str | None:
    """What bits `auto` became, layer by layer."""
    if chosen is None:
        return None
    rows = []
    for name, row in chosen["layers"].items():
        clip = "" if row["clip"] is None else f" clip {row['clip']:g}"
        rows.append(f"{name} {row['bits']:g} bits of {row['keep']:.4g}{clip}")
    return f"{chosen['average_bits']:.3g} on average, chosen in {chosen['seconds']:.1f} s: {', '.join(rows)}"


@app.command(rich_help_panel=PANEL)
def cancel(job: JobArgument, as_json: JsonOption = False) -> None:
    """Cancel a job; a running one stops at its next step."""
    with connect() as client:
        _tell(client.jobs.cancel(job_id(client, job)), as_json)


@app.command(rich_help_panel=PANEL)
def pause(job: JobArgument, as_json: JsonOption = False) -> None:
    """Pause a job; a running one writes a checkpoint first, and then leaves its worker to others."""
    with connect() as client:
        _tell(client.jobs.pause(job_id(client, job)), as_json)


@app.command(rich_help_panel=PANEL)
def resume(job: JobArgument, as_json: JsonOption = False) -> None:
    """Put a paused job back into the queue; it goes on from its checkpoint."""
    with connect() as client:
        _tell(client.jobs.resume(job_id(client, job)), as_json)


@app.command(rich_help_panel=PANEL)
def delete(job: JobArgument, as_json: JsonOption = False) -> None:
    """Delete a job that has ended, with its files and its log; the model that it made stays."""
    with connect() as client:
        identity = job_id(client, job)
        client.jobs.delete(identity)
    if as_json:
        print_json({"job": identity, "deleted": True})
    else:
        print(f"Deleted {identity}")


def _tell(job: Job, as_json: bool) -> None:
    if as_json:
        print_json(job.raw)
    else:
        print(f"{job.id} is {job.state}")


@app.command(rich_help_panel=PANEL)
def logs(
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print what happened to a job: states, logs, warnings, epochs, checkpoints, files."""
    with connect() as client:
        for event in client.jobs.events(job_id(client, job), follow=follow):
            if as_json:
                print_json_line(event.raw)
            elif (line := line_of_event(event)) is not None:
                moment = event.created_at.astimezone().strftime("%H:%M:%S") if event.created_at else "--:--:--"
                print(printable(f"{moment} {event.type:<10} {line}"), flush=True)


def line_of_event(event: Event) -> str | None:
    """One event as a line of text; None for those that come with every step."""
    data = event.data
    if event.type == "metric":
        if data.get("kind") != "epoch":
            return None
        return (
            f"epoch {data.get('epoch')}: loss {data.get('train_loss', float('nan')):.3f}, "
            f"accuracy {share_text(data.get('validation_accuracy'))}"
        )
    if event.type == "state":
        reason = f" ({data['reason']})" if data.get("reason") else ""
        return f"{data.get('from')} → {data.get('to')}{reason}" if data.get("from") else f"{data.get('to')}{reason}"
    if event.type in {"log", "warning"}:
        return str(data.get("message"))
    named = [f"{name} {value}" for name, value in data.items() if isinstance(value, str | int | float)]
    return ", ".join(named) or "–"


_RECORD = ("device", "arithmetic", "isa", "threads", "attempt")


def _progress(job: Job) -> str:
    if job.progress is None or not job.progress.total_steps:
        return "–"
    text = f"{job.progress.step}/{job.progress.total_steps}"
    return text if job.ended else f"{text}, {duration_text(job.progress.eta_seconds)} left"


def _plain(value: object) -> bool:
    return value is not None and not isinstance(value, dict)


def _choice(job: Job, part: str) -> str:
    return str((job.spec.get(part) or {}).get("name", "–"))


def _options(job: Job, part: str) -> str:
    choice = job.spec.get(part) or {}
    options = ", ".join(f"{name} {value}" for name, value in choice.items() if name != "name" and value is not None)
    return f"{choice.get('name', '–')} ({options})" if options else str(choice.get("name", "–"))
