"""The commands that the service adds to `fqt`. Each imports what it needs when it runs, so that `fqt` stays quick."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from fqt_client.cli.findings import Finding
from fqt_client.cli.session import JsonOption
from service import cli_admin, cli_keys

app = typer.Typer()
app.add_typer(cli_keys.app, name="keys", rich_help_panel="Service")
app.add_typer(cli_admin.app, name="admin", rich_help_panel="Service")
PANEL = "Service"

DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", help="Folder of everything that is kept; default: FQT_DATA_DIR, else ~/.local/share/fqt."
    ),
]
HostOption = Annotated[
    str | None, typer.Option("--host", help="Address to listen on; default: FQT_HOST, else 127.0.0.1.")
]
PortOption = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port to listen on.")]


def local_checks() -> Iterator[Finding]:
    """What `fqt doctor` finds on this machine."""
    from service.doctor import checks  # noqa: PLC0415

    yield from checks()


def gpu_checks() -> Iterator[Finding]:
    """What `fqt doctor --gpu` finds on this machine."""
    from service.gpu_doctor import checks  # noqa: PLC0415

    yield from checks()


@app.command(rich_help_panel=PANEL)
def up(
    data_dir: DataDirOption = None,
    host: HostOption = None,
    port: PortOption = None,
    slots: Annotated[int | None, typer.Option("--slots", min=1, help="Jobs that run at the same time.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Start the service on this machine: database, broker, API and one worker. Ctrl-C stops it all.

    Needs nothing else: the database is SQLite, the broker a Valkey server that is started with it. The port is 8000 if
    that is free. Writes URL and key to the client configuration, so that the other commands find it.
    """
    from service import up as command  # noqa: PLC0415
    from service.parts import read_settings  # noqa: PLC0415

    settings = read_settings(data_dir=data_dir and data_dir.absolute(), host=host, slots=slots)
    wanted = port if port is not None else (settings.port if "port" in settings.model_fields_set else None)
    return command.run(settings, host=settings.host, port=wanted, as_json=as_json)


@app.command(rich_help_panel=PANEL)
def api(host: HostOption = None, port: PortOption = None) -> None:
    """Run the API alone; settings come from the environment (FQT_DATABASE_URL, FQT_BROKER_URL, …). Logs JSON lines."""
    from service.parts import become  # noqa: PLC0415

    become("api", host=host, port=port)


@app.command(rich_help_panel=PANEL)
def worker(
    queues: Annotated[str | None, typer.Option("--queues", help="Queues to serve: cpu, cuda.")] = None,
    slots: Annotated[int | None, typer.Option("--slots", min=1, help="Jobs that run at the same time.")] = None,
) -> None:
    """Run one worker alone; settings come from the environment. SIGTERM hands its jobs back first. Logs JSON lines."""
    from service.parts import become  # noqa: PLC0415

    become("worker", queues=queues, slots=slots)


@app.command(rich_help_panel=PANEL)
def migrate(as_json: JsonOption = False) -> None:
    """Make the tables of the database, or bring them up to date."""
    from fqt_client.cli.output import print_json  # noqa: PLC0415
    from jobs import database  # noqa: PLC0415
    from service.parts import opened_store  # noqa: PLC0415

    with opened_store(migrate=True) as store:
        place = database.place(store.settings)
    if as_json:
        print_json({"database": place, "migrated": True})
    else:
        print(f"The tables of {place} are up to date.")


@app.command(rich_help_panel=PANEL)
def secrets(
    directory: Annotated[Path, typer.Argument(help="Folder of the secrets.")],
    database_host: Annotated[str, typer.Option("--database-host", help="Host of PostgreSQL.")] = "postgres",
    broker_host: Annotated[str, typer.Option("--broker-host", help="Host of Valkey or Redis.")] = "valkey",
    as_json: JsonOption = False,
) -> None:
    """Make the passwords of a deployment, at random, unless they are there already."""
    from fqt_client.cli.output import print_json  # noqa: PLC0415
    from fqt_client.errors import LocalFileError  # noqa: PLC0415
    from service.secrets import make_secrets  # noqa: PLC0415

    try:
        written = make_secrets(directory, database_host=database_host, broker_host=broker_host)
    except OSError as error:
        raise LocalFileError(f"cannot write to {error.filename or directory}: {error.strerror}") from error
    if as_json:
        print_json({"directory": str(directory), "written": written})
    else:
        print(f"Wrote {', '.join(written)} to {directory}" if written else f"{directory} is complete already")


@app.command(rich_help_panel="Jobs")
def predict(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A model file, a model (mdl_…), or the job that made it (`last` works)."),
    ],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="Image files, or folders of them.")],
    top: Annotated[int, typer.Option("--top", min=1, help="Classes to name per image.")] = 3,
    as_json: JsonOption = False,
) -> None:
    """Predict the classes of images with a fetched model, on this machine. A job's model is fetched first.

    Folders are gone through with all that is in them; where a folder has the name of a class, accuracy is told.
    """
    from service.predict import run  # noqa: PLC0415

    run(model, images, top=top, as_json=as_json)


@app.command(rich_help_panel=PANEL)
def demo(
    directory: Annotated[Path, typer.Option("--dir", help="Folder for the model, the images and the summary.")] = Path(
        "fqt-demo"
    ),
    as_json: JsonOption = False,
) -> int:
    """Pre-train and fine-tune a network at one bit through a service of its own, and keep the model. Takes minutes."""
    from service.demo import run  # noqa: PLC0415

    return run(directory, as_json=as_json)
