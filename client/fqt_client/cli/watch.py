"""`fqt watch`: follow a job to its end."""

from __future__ import annotations

import sys

import typer

from fqt_client.cli.exits import ExitCode
from fqt_client.cli.output import console
from fqt_client.cli.session import JobArgument, JsonOption, connect, job_id
from fqt_client.cli.tally import Tally
from fqt_client.cli.views import JobView, JsonView, LiveView, PlainView
from fqt_client.client import Client
from fqt_client.models import Job

app = typer.Typer()


@app.command(rich_help_panel="Jobs")
def watch(job: JobArgument, as_json: JsonOption = False) -> int:
    """Follow a job live until it ends.

    Exit code 0 if it succeeded, 1 if it failed or was cancelled. Ctrl-C stops watching; the job goes on. `--json`
    prints each event on a line, and the job as the last one.
    """
    with connect() as client:
        return watch_job(client, job_id(client, job), as_json=as_json)


def watch_job(client: Client, job_id: str, *, as_json: bool = False) -> int:
    """Show a job until it ends, and return the exit code that tells how."""
    try:
        job = client.jobs.get(job_id)
        job = follow(client, job, view_for(job, as_json=as_json))
    except KeyboardInterrupt:
        print(
            f"\nStopped watching; the job goes on. Watch again: fqt watch {job_id} · cancel it: fqt cancel {job_id}",
            file=sys.stderr,
        )
        return ExitCode.INTERRUPTED
    return ExitCode.OK if job.state == "succeeded" else ExitCode.JOB_FAILED


def view_for(job: Job, *, as_json: bool = False, title: str | None = None) -> JobView:
    """The view that fits what stdout is."""
    if as_json:
        return JsonView()
    name = title or job.name or job.spec.get("method", {}).get("name") or job.id
    out = console()
    return LiveView(out, name) if out.is_terminal else PlainView(out, name)


def follow(client: Client, job: Job, view: JobView) -> Job:
    """Feed a job's events to ``view`` until the job has ended, and return it as it is then."""
    tally = Tally(state=job.state)
    tally.read_job(job)
    with view:
        for event in client.jobs.events(job.id):
            tally.read_event(event)
            view.event(event, tally)
        job = client.jobs.get(job.id)
        view.end(job, tally)
    return job
