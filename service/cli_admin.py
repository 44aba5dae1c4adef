"""`fqt admin …`: looking after what the service keeps, straight in its store (on a machine of the service)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fqt_client.cli.output import bytes_text, print_facts, print_json
from fqt_client.cli.session import JsonOption
from fqt_client.errors import LocalFileError
from service import cli_keys, cli_organisations
from service.audit import note
from service.errors import StartError

if TYPE_CHECKING:
    from jobs.backup import Summary

app = typer.Typer(help="Back up, restore and check what the service keeps, on a machine of the service.")
app.add_typer(cli_organisations.app, name="organisations")
app.add_typer(cli_keys.app, name="keys")


@app.callback(invoke_without_command=True)
def _admin(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def backup(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that is not there yet.")],
    as_json: JsonOption = False,
) -> int:
    """Back up database and stored files, consistent with each other, while the service runs.

    The folder holds the secret that API keys are hashed with: keep it as safe as the service itself. Exit code 1 if the
    store lacks files that its rows name (`fqt admin check` says whose they are); the rest is backed up all the same.
    """
    from jobs import backup as backups  # noqa: PLC0415
    from service.parts import opened_store  # noqa: PLC0415

    with opened_store() as store, _told():
        summary = backups.write(store, directory)
        with store.write() as connection:
            note(connection, "backup")
    _show(summary, directory, as_json)
    return 1 if summary.lost else 0


@app.command()
def restore(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a backup.")],
    as_json: JsonOption = False,
) -> None:
    """Put a backup into an empty store, SQLite or PostgreSQL, whichever it came from. Start the service afterwards.

    Jobs that ran when the backup was made go on from the checkpoints that are in it.
    """
    from jobs import backup as backups  # noqa: PLC0415
    from service.parts import database_errors, opened_store, read_settings  # noqa: PLC0415

    with database_errors(), _told():
        summary = backups.restore(read_settings(), directory)
    with opened_store() as store, store.write() as connection:
        note(connection, "restore")
    _show(summary, directory, as_json)


@app.command()
def check(
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not read the files: only look whether they are there.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Check that rows and stored files agree: files that are missing, damaged, or named by nothing; gaps in logs.

    Exit code 1 if something is lost. Leftovers of a crash are no loss; the API's process removes them after a while.
    """
    from jobs.audit import audit  # noqa: PLC0415
    from service.parts import opened_store  # noqa: PLC0415

    with opened_store() as store:
        found = audit(store, read_files=not quick)
    if as_json:
        print_json({**asdict(found), "sound": found.sound})
        return 0 if found.sound else 1
    print_facts({"files": f"{found.files} ({bytes_text(found.bytes)})", "leftovers": len(found.leftovers)})
    for kind, files in (("missing", found.missing), ("damaged", found.damaged)):
        for sha256, users in files.items():
            print(f"{kind}: {sha256} ({', '.join(users)})")
    for job_id in found.gaps:
        print(f"events are missing from the log of {job_id}")
    print("Nothing is lost." if found.sound else "Restore what is lost from a backup (`fqt admin restore`).")
    return 0 if found.sound else 1


@contextmanager
def _told() -> Iterator[None]:
    """What is wrong with a backup as the command's own error."""
    from jobs.errors import BackupError  # noqa: PLC0415

    try:
        yield
    except BackupError as error:
        raise StartError(str(error)) from error
    except OSError as error:
        raise LocalFileError(f"{error.filename or 'the backup'}: {error.strerror or error}") from error


def _show(summary: Summary, directory: Path, as_json: bool) -> None:
    if as_json:
        print_json({"directory": str(directory), **asdict(summary)})
        return
    counts = {"jobs": summary.rows["jobs"], "data sets": summary.rows["datasets"], "keys": summary.rows["keys"]}
    print_facts({"folder": directory, **counts, "files": f"{summary.files} ({bytes_text(summary.bytes)})"})
    for warning in summary.warnings:
        print(f"warning: {warning}")
    for sha256 in summary.lost:
        print(f"lost: the store lacks the file {sha256}; `fqt admin check` says whose it is")
