"""`fqt submit`: make a job from options, a file, or both."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fqt_client.cli import complete
from fqt_client.cli.documents import read_object
from fqt_client.cli.exits import ExitCode
from fqt_client.cli.output import bytes_text, duration_text, print_facts, print_json, print_json_line, printable
from fqt_client.cli.session import JsonOption, connect, dataset_id, job_id
from fqt_client.cli.spec import build_spec
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
from fqt_client.cli.watch import watch_job
from fqt_client.client import Client
from fqt_client.models import Plan, examples_of

app = typer.Typer()


@app.command(rich_help_panel="Jobs")
def submit(
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            "-d",
            help="Id of a data set, a built-in one (digits), or `last`: the newest.",
            autocompletion=complete.datasets,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="COLUMN", help="Of a table: the column to predict, with trees (gbdt)."),
    ] = None,
    architecture: ArchitectureOption = None,
    width: WidthOption = None,
    image_size: ImageSizeOption = None,
    channels: ChannelsOption = None,
    method: Annotated[
        str | None,
        typer.Option("--method", "-m", help="The method; see `fqt methods`.", autocompletion=complete.methods),
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", help="A point of fqt: fast, balanced or accurate; see `fqt methods`.")
    ] = None,
    bits: Annotated[
        str | None, typer.Option("--bits", help="Bits per element of a kept gradient group: 1, 2, 4, 8, or auto.")
    ] = None,
    budget: Annotated[
        float | None, typer.Option("--budget", help="With --bits auto: average bits per gradient element.")
    ] = None,
    epochs: EpochsOption = None,
    batch_size: BatchSizeOption = None,
    optimizer: Annotated[str | None, typer.Option("--optimizer", help="adam, sgd or muon.")] = None,
    learning_rate: LearningRateOption = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of everything random.")] = None,
    classes: Annotated[
        str | None, typer.Option("--classes", help="Train on these classes only, separated by commas.")
    ] = None,
    from_job: FromOption = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            metavar="JOB|MODEL",
            help="Learn from this model, or this job's, too; `last` works.",
            autocompletion=complete.jobs,
        ),
    ] = None,
    structure_from: Annotated[
        str | None,
        typer.Option(
            "--structure-from",
            metavar="JOB",
            help="Train the network that this job's search has found; `last` works.",
            autocompletion=complete.jobs,
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="A name for people.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Set any field, e.g. training.seed=7; may be repeated."),
    ] = None,
    spec_file: Annotated[
        str | None, typer.Option("--spec", metavar="FILE", help="A spec as JSON or YAML to start from; - is stdin.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", help="The same key and spec make one job only.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check it and show the plan; make no job.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the job until it ends.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Submit a training job.

    What is left out takes the service's default. With `--watch` the exit code is that of `fqt watch`.
    """
    values = {
        "name": name,
        "task": "tabular" if target is not None else None,
        "dataset": dataset,
        "table.target": target,
        "classes": [part.strip() for part in classes.split(",")] if classes is not None else None,
        # The names come first: a new name drops the options that belong to another one.
        "architecture.name": architecture,
        "architecture.width": width,
        "architecture.image_size": image_size,
        "architecture.channels": channels,
        "method.name": method,
        "method.preset": preset,
        "method.bits": int(bits) if bits is not None and bits.isdecimal() else bits,
        "method.budget": budget,
        "training.epochs": epochs,
        "training.batch_size": batch_size,
        "training.optimizer": optimizer,
        "training.learning_rate": learning_rate,
        "training.seed": seed,
    }
    spec = build_spec(
        read_object(spec_file, like="the `spec` of `fqt show --json`") if spec_file else {}, values, assignments or ()
    )
    if "dataset" not in spec:
        raise typer.BadParameter("name a data set, e.g. --dataset digits", param_hint="--dataset")
    if structure_from is not None and "architecture" in spec:
        raise typer.BadParameter(
            "the network is that of the search: leave out its options", param_hint="--structure-from"
        )
    with connect() as client:
        spec["dataset"] = dataset_id(client, spec["dataset"])
        if structure_from is not None:
            spec["architecture"] = _found_structure(client, job_id(client, structure_from))
        if from_job is not None:
            spec["initial_weights"] = job_id(client, from_job)
        if teacher is not None:
            spec["teacher"] = job_id(client, teacher)
        if dry_run:
            _show_plan(client.jobs.plan(spec), as_json)
            return ExitCode.OK
        job = client.jobs.create(spec, idempotency_key=idempotency_key)
        if as_json:
            (print_json_line if watch else print_json)(job.raw)
        else:
            print(f"Submitted {job.id}" + ("" if watch else f"\nWatch it: fqt watch {job.id}"))
        return watch_job(client, job.id, as_json=as_json) if watch else ExitCode.OK


def _found_structure(client: Client, identity: str) -> Any:
    """The network that a search has found, as a job spec has it."""
    found = ((client.jobs.get(identity).record or {}).get("structure") or {}).get("architecture")
    if found is None:
        raise typer.BadParameter(
            f"{identity} has found no network: name a job that was submitted with a search, and has succeeded",
            param_hint="--structure-from",
        )
    return found


def _show_plan(plan: Plan, as_json: bool) -> None:
    if as_json:
        print_json(plan.raw)
        return
    print("The spec is valid; nothing was submitted.\n")
    predicted = duration_text(plan.seconds) if plan.seconds is not None else f"unknown: {plan.seconds_reason}"
    steps = f"{plan.steps} ({plan.epochs} epochs of {plan.steps_per_epoch})"
    if examples_of(plan.spec) == "rows":
        steps = f"{plan.steps} boosting iterations"
    parameters = f"{plan.parameters}, of them {plan.binary_parameters} at one bit"
    print_facts(
        {
            "classes": ", ".join(plan.classes),
            examples_of(plan.spec): f"{plan.train_images} to train on, {plan.validation_images} to validate with",
            "input": _input(plan),
            "steps": steps,
            "arithmetic": plan.arithmetic,
            "parameters": parameters if examples_of(plan.spec) == "images" else None,
            "model size": f"{bytes_text(plan.model_bytes)} (in full precision {bytes_text(plan.fp32_bytes)})",
            "memory": f"about {bytes_text(plan.memory_bytes)}",
            "gradient": _gradient(plan),
            "time": predicted,
        }
    )
    _show_presets(plan)
    for warning in (*plan.warnings, *plan.advice):
        print(printable(f"warning: {warning}"))


def _input(plan: Plan) -> str | None:
    """What the network sees of an image, and what the images are like."""
    if plan.input is None:
        return None
    seen, found = plan.input, plan.input.get("found")
    side = seen["image_size"]
    resized = f"{side}x{side} pixels, {_colours(seen['channels'])}"
    if found is None:
        return resized
    return f"{resized}; the images have {found['width']}x{found['height']} pixels, {_colours(found['channels'])}"


def _colours(channels: int) -> str:
    return "grey" if channels == 1 else "RGB"


def _gradient(plan: Plan) -> str | None:
    if plan.gradient_bits is None or examples_of(plan.spec) == "rows":
        return None
    bits = f"{_bits(plan.gradient_bits)} per element on average"
    return f"at most {bits}, chosen layer by layer when the job starts" if plan.bits_are_chosen else bits


def _bits(count: float) -> str:
    return f"{count:.4g} bit{'s' if count != 1 else ''}"


def _show_presets(plan: Plan) -> None:
    """What each preset would cost, and its products' share of what the job as it stands multiplies."""
    if not plan.presets or not plan.step_macs:
        return
    print("\nWith a preset of fqt instead (--preset NAME):")
    for preset in plan.presets:
        time = duration_text(preset["seconds"]) if preset["seconds"] is not None else "time not measured here yet"
        share = preset["step_macs"] / plan.step_macs
        print(
            printable(
                f"  {preset['name']:9} {_bits(preset['gradient_bits'])} per gradient element, {share:.2f} times the "
                f"products of this job, {time}"
            )
        )
