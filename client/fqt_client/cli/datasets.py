"""`fqt datasets …`: upload and look at data sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from fqt_client.cli import complete
from fqt_client.cli.output import bytes_text, print_facts, print_json, print_table, time_text, transfer_bar
from fqt_client.cli.session import JsonOption, connect, dataset_id
from fqt_client.models import Dataset

app = typer.Typer(help="Upload, look at and delete data sets.")

FEW = 2000
SMALL = "--width 0.25 --batch-size 16 --epochs 40 --method qat"
"""What few images want: the defaults are for larger sets, and one bit learns best from weights that `qat` prepared."""

_COLUMNS_SHOWN = 50

DatasetArgument = Annotated[
    str, typer.Argument(metavar="DATASET", help="Id of the data set.", autocompletion=complete.datasets)
]


@app.callback(invoke_without_command=True)
def _datasets(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def add(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DIR|FILE|URL",
            help="A folder with one folder of images per class, or an archive; a CSV or Parquet file; also at a URL.",
        ),
    ],
    name: Annotated[str | None, typer.Option("--name", help="A name for people; the file's own by default.")] = None,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for the check of the images.")] = 600,
    as_json: JsonOption = False,
) -> None:
    """Upload a data set and have its images checked.

    Takes a folder of class folders, a zip or tar(.gz) of one, IDX (the MNIST family) and NPZ files, and tables as CSV
    or Parquet. What a URL names the service downloads itself, if it is set up to.
    """
    with connect() as client:
        if source.startswith(("http://", "https://")):
            dataset = client.datasets.from_url(source, name=name, wait=wait)
        else:
            with transfer_bar(f"Uploading {Path(source).name}", shown=not as_json) as progress:
                dataset = client.datasets.upload(source, name=name, progress=progress, wait=wait)
    if as_json:
        print_json(dataset.raw)
        return
    _facts(dataset)
    if dataset.table is not None:
        print(f"\nLearn from it: fqt submit --dataset {dataset.id} --target COLUMN --watch")
        return
    small = f"{SMALL} " if (dataset.images or FEW) < FEW else ""
    print(f"\nTrain on it: fqt submit --dataset {dataset.id} {small}--watch")


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List data sets, the built-in ones included."""
    with connect() as client:
        datasets = list(client.datasets.list())
    if as_json:
        print_json([dataset.raw for dataset in datasets])
        return
    rows = [
        (
            dataset.id,
            dataset.name or "–",
            dataset.state,
            _count(dataset),
            len(dataset.classes) or "–",
            bytes_text(dataset.size),
            time_text(dataset.created_at),
        )
        for dataset in datasets
    ]
    columns = ("id", "name", "state", "images or rows", "classes", "size", "created")
    print_table(columns, rows, empty="no data sets; upload one: fqt datasets add DIR")


@app.command()
def delete(dataset: DatasetArgument, as_json: JsonOption = False) -> None:
    """Delete a data set that no job needs any more."""
    with connect() as client:
        client.datasets.delete(dataset)
    if as_json:
        print_json({"dataset": dataset, "deleted": True})
    else:
        print(f"Deleted {dataset}")


@app.command()
def show(dataset: DatasetArgument, as_json: JsonOption = False) -> None:
    """Show one data set: classes, image sizes, warnings."""
    with connect() as client:
        found = client.datasets.get(dataset_id(client, dataset))
    if as_json:
        print_json(found.raw)
    else:
        _facts(found)


def _facts(dataset: Dataset) -> None:
    profile = dataset.profile or {}
    counts = [
        f"{entry['name']} ({entry['count']})" if entry.get("count") is not None else str(entry["name"])
        for entry in profile.get("classes") or []
    ]
    table = dataset.table or {}
    columns = table.get("columns") or []
    more = f" and {len(columns) - _COLUMNS_SHOWN} more" if len(columns) > _COLUMNS_SHOWN else ""
    print_facts(
        {
            "id": dataset.id,
            "name": dataset.name,
            "state": dataset.state,
            "format": dataset.format,
            "images": dataset.images,
            "classes": ", ".join(counts),
            "rows": table.get("rows"),
            "columns": ", ".join(map(_column, columns[:_COLUMNS_SHOWN])) + more,
            "size": bytes_text(dataset.size) if dataset.size is not None else None,
            "sha256": dataset.sha256,
            "same as": dataset.same_as,
            "from": (dataset.origin or {}).get("url") or (dataset.origin or {}).get("folder"),
            "created": time_text(dataset.created_at) if dataset.created_at else None,
            "warnings": "; ".join(_text(entry) for entry in profile.get("warnings") or []),
            "error": (dataset.error or {}).get("message"),
        }
    )


def _count(dataset: Dataset) -> object:
    """Images, or rows of a table."""
    if dataset.table is not None:
        return dataset.table.get("rows")
    return dataset.images if dataset.images is not None else "–"


def _column(column: Mapping[str, Any]) -> str:
    missing = f", {column['missing']} missing" if column.get("missing") else ""
    return f"{column['name']} ({column['kind']}{missing})"


def _text(entry: object) -> str:
    if isinstance(entry, dict):
        where, message = entry.get("where"), entry.get("message")
        return f"{where}: {message}" if where else str(message)
    return str(entry)
