"""`fqt compare-methods`: the same jobs with each method and several seeds, and a report of them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fqt_client.cli import complete
from fqt_client.cli.exits import ExitCode
from fqt_client.cli.output import print_json, print_line
from fqt_client.cli.report import OutputOption, PictureOption, check_targets, show_report, write_targets
from fqt_client.cli.session import JsonOption, connect, dataset_id, job_id
from fqt_client.cli.spec import build_spec, value_of
from fqt_client.cli.spec_options import (
    ArchitectureOption,
    BatchSizeOption,
    ChannelsOption,
    EpochsOption,
    FromOption,
    ImageSizeOption,
    LearningRateOption,
    WidthOption,
)
from fqt_client.cli.sweeps import watch_sweep
from fqt_client.client import Client

app = typer.Typer()
_MOST_SEEDS = 100


@app.command("compare-methods", rich_help_panel="Jobs")
def compare_methods(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET", help="Id of a data set, a built-in one, or `last`.", autocompletion=complete.datasets
        ),
    ],
    architecture: ArchitectureOption = None,
    width: WidthOption = None,
    image_size: ImageSizeOption = None,
    channels: ChannelsOption = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-m",
            metavar="NAME|JSON",
            help="""A method: its name, or an object like '{"name": "fqt", "preset": "accurate"}'; may be repeated. """
            "Default: all that the service has.",
            autocompletion=complete.methods,
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, max=_MOST_SEEDS, help="Jobs of each method, with seeds from 0 on.")
    ] = 3,
    epochs: EpochsOption = None,
    batch_size: BatchSizeOption = None,
    learning_rate: LearningRateOption = None,
    from_job: FromOption = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="A field of all jobs, e.g. device=cpu; may be repeated."),
    ] = None,
    parallel: Annotated[int | None, typer.Option("--parallel", min=1, help="Jobs at the same time.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="A name for people.")] = None,
    output: OutputOption = None,
    picture: PictureOption = None,
    as_json: JsonOption = False,
) -> int:
    """Train with each method, several seeds each, and report accuracy, time, cost, memory and gradient noise.

    The jobs are a sweep: `fqt sweep report SWEEP` makes the report again, also while it runs. Every job has the same
    learning rate; give `--method` with `--learning-rate` to compare methods at rates of their own.
    """
    check_targets(output, picture)
    values = {
        "architecture.name": architecture,
        "architecture.width": width,
        "architecture.image_size": image_size,
        "architecture.channels": channels,
        "training.epochs": epochs,
        "training.batch_size": batch_size,
        "training.learning_rate": learning_rate,
    }
    with connect() as client:
        base = build_spec({"dataset": dataset_id(client, dataset)}, values, assignments or ())
        if from_job is not None:
            base["initial_weights"] = job_id(client, from_job)
        space: dict[str, dict[str, Any]] = {
            "method": {"type": "choice", "values": _methods(client, methods)},
            "training.seed": {"type": "choice", "values": list(range(seeds))},
        }
        sweep = client.sweeps.create(
            base, space, name=name or f"methods on {dataset}", algorithm="grid", parallel=parallel or 1
        )
        if as_json:
            state = client.sweeps.wait(sweep.id).state
            code = ExitCode.OK if state == "finished" else ExitCode.JOB_FAILED
        else:
            print_line(f"Created {sweep.id} of {sweep.jobs} jobs")
            code = ExitCode(watch_sweep(client, sweep.id, as_json=False))
        if code == ExitCode.INTERRUPTED:
            return code
        report = client.sweeps.report(sweep.id)
    write_targets(report, output, picture)
    if as_json:
        print_json(report.raw)
    else:
        show_report(report)
    return code


def _methods(client: Client, given: list[str] | None) -> list[dict[str, Any]]:
    """The methods to compare, as the job spec has them: those that are named, or all."""
    if not given:
        return [{"name": choice.name} for choice in client.methods() if choice.raw.get("task", "images") == "images"]
    found = [value_of(text) for text in given]
    return [{"name": value} if isinstance(value, str) else value for value in found]
