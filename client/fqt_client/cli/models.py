"""`fqt models …`: the models of the service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fqt_client.cli import complete
from fqt_client.cli.output import bytes_text, print_facts, print_json, print_table, share_text, time_text, transfer_bar
from fqt_client.cli.session import JsonOption, connect, model_id
from fqt_client.cli.table_rows import read_rows
from fqt_client.client import Client
from fqt_client.models import Model

app = typer.Typer(help="List, download, predict with, export and upload models.")

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="Id of the model: mdl_…; `last` is the newest one.", autocompletion=complete.models
    ),
]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE|DIR", help="Where to write; default: here, under the id.")
]


@app.callback(invoke_without_command=True)
def _models(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list")
def list_(
    job: Annotated[str | None, typer.Option("--job", help="Only what this job made.")] = None,
    architecture: Annotated[str | None, typer.Option("--architecture", help="Only of this network.")] = None,
    method: Annotated[str | None, typer.Option("--method", help="Only of this method.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List models, newest first."""
    with connect() as client:
        found = list(client.models.list(job=job, architecture=architecture, method=method))
    if as_json:
        print_json([model.raw for model in found])
        return
    rows = [
        (
            model.id,
            model.name or "–",
            model.architecture.get("name", "–"),
            (model.method or {}).get("name", "weights"),
            share_text(model.accuracy) if model.accuracy is not None else "–",
            bytes_text(model.size),
            model.lineage.get("job") or "uploaded",
            time_text(model.created_at),
        )
        for model in found
    ]
    columns = ("id", "name", "network", "method", "accuracy", "size", "job", "created")
    print_table(columns, rows, empty="no models; a job leaves one, and `fqt models upload` adds one")


@app.command()
def show(
    model: ModelArgument,
    card: Annotated[bool, typer.Option("--card", help="Print the model's card, Markdown.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show one model and what it came from, or its card."""
    with connect() as client:
        found = client.models.get(model_id(client, model))
        text = client.models.card(found.id) if card else ""
    if as_json:
        print_json({**found.raw, "card": text} if card else found.raw)
    elif card:
        print(text, end="")
    else:
        _facts(found)


@app.command()
def download(model: ModelArgument, output: OutputOption = Path(), as_json: JsonOption = False) -> None:
    """Download a model's safetensors file, checked by its sha256."""
    with connect() as client:
        identity = model_id(client, model)
        with transfer_bar(f"Fetching {identity}", shown=not as_json) as progress:
            path = client.models.download(identity, output, progress=progress)
    if as_json:
        print_json({"model": identity, "path": str(path)})
    else:
        print(path)


@app.command()
def export(
    model: ModelArgument,
    format: Annotated[str, typer.Option("--format", help="onnx.")] = "onnx",
    output: OutputOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Have a model exported by the service, and download the result."""
    with connect() as client:
        made = client.models.export(model_id(client, model), format)
        with transfer_bar(f"Fetching {made.format} of {made.model}", shown=not as_json) as progress:
            path = client.models.download_export(made, output, progress=progress)
    if as_json:
        print_json({**made.raw, "path": str(path)})
    else:
        print(path)


@app.command()
def predict(
    model: ModelArgument,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE…", help="Image files; for a model of trees one CSV file of rows.")
    ],
    top: Annotated[int, typer.Option("--top", min=1, help="Classes to name per image.")] = 3,
    as_json: JsonOption = False,
) -> None:
    """Predict the classes of images, or rows of a table, in the service. (`fqt predict` predicts images here.)"""
    with connect() as client:
        identity = model_id(client, model)
        if images[0].suffix.lower() == ".csv":
            _predict_rows(client, client.models.get(identity), images, top, as_json)
            return
        found = client.models.predict(identity, images, top_k=top)
    if as_json:
        predictions = [{"image": str(file), **row.raw} for file, row in zip(images, found, strict=True)]
        print_json({"model": identity, "predictions": predictions})
        return
    count = max(len(row.top) for row in found)
    columns = ("image", "prediction", *(f"{index}." for index in range(2, count + 1)))
    rows = [
        (file, *(f"{label} ({share_text(share)})" for label, share in row.top))
        for file, row in zip(images, found, strict=True)
    ]
    print_table(columns, rows, empty="no images")


def _predict_rows(client: Client, model: Model, files: list[Path], top: int, as_json: bool) -> None:
    if len(files) != 1:
        raise typer.BadParameter("name one CSV file", param_hint="FILE")
    found = client.models.predict_rows(model.id, read_rows(files[0], model), top_k=top)
    if as_json:
        print_json({"model": model.id, "predictions": [row.raw for row in found]})
        return
    count = max((len(row.top) for row in found), default=0)
    columns = ("row", *(f"{index}." for index in range(1, count + 1))) if count else ("row", "value")
    shown = [
        (number, *(f"{label} ({share_text(share)})" for label, share in row.top))
        if row.value is None
        else (number, f"{row.value:.6g}")
        for number, row in enumerate(found, 1)
    ]
    print_table(columns, shown, empty="no rows")


@app.command()
def upload(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A safetensors file: packed model or weights.")],
    name: Annotated[str | None, typer.Option("--name", help="A name for people; the file's own by default.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Upload a packed model, or full-precision weights to start jobs from."""
    with connect() as client, transfer_bar(f"Uploading {file.name}", shown=not as_json) as progress:
        model = client.models.upload(file, name=name, progress=progress)
    if as_json:
        print_json(model.raw)
    else:
        _facts(model)


@app.command()
def delete(model: ModelArgument, as_json: JsonOption = False) -> None:
    """Delete a model and its exports. Files of the job that made it stay with the job."""
    with connect() as client:
        identity = model_id(client, model)
        client.models.delete(identity)
    if as_json:
        print_json({"model": identity, "deleted": True})
    else:
        print(f"Deleted {identity}")


def _facts(model: Model) -> None:
    lineage = model.lineage
    print_facts(
        {
            "id": model.id,
            "name": model.name,
            "format": model.format,
            "network": model.architecture.get("name"),
            "method": (model.method or {}).get("name"),
            "classes": ", ".join(model.classes or []),
            "accuracy": share_text(model.accuracy) if model.accuracy is not None else None,
            "arithmetic": model.arithmetic,
            "size": bytes_text(model.size),
            "sha256": model.sha256,
            "job": lineage.get("job"),
            "data set": lineage.get("dataset"),
            "parent": lineage.get("parent"),
            "teacher": lineage.get("teacher"),
            "created": time_text(model.created_at) if model.created_at else None,
        }
    )
