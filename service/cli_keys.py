"""`fqt keys …`: API keys, straight in the database that the settings name (on the machine of the service)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from fqt_client.cli.output import print_json, print_table, time_text
from fqt_client.cli.session import JsonOption

app = typer.Typer(help="Make, list and revoke API keys, on the machine of the service.")


@app.callback(invoke_without_command=True)
def _keys(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def create(
    name: Annotated[str, typer.Option("--name", help="A name for people: whose key it is, or what for.")],
    scopes: Annotated[
        str, typer.Option("--scopes", help="What it may do: read, write, admin; separated by commas.")
    ] = "read,write",
    max_queued: Annotated[
        int | None, typer.Option("--max-queued", min=0, help="Its jobs that may wait at the same time.")
    ] = None,
    max_running: Annotated[
        int | None, typer.Option("--max-running", min=1, help="Its jobs that may run at the same time.")
    ] = None,
    organisation: Annotated[
        str | None, typer.Option("--organisation", help="Id or name of its organisation; default: the first one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key. It is shown once: only a hash of it is stored."""
    from jobs import keys, organisations  # noqa: PLC0415
    from jobs.tables import DEFAULT_ORGANISATION  # noqa: PLC0415
    from service.parts import opened_store  # noqa: PLC0415

    name = name.strip()
    if not 1 <= len(name) <= keys.LONGEST_NAME:
        raise typer.BadParameter(f"a name has 1 to {keys.LONGEST_NAME} characters", param_hint="--name")
    asked = [scope.strip() for scope in scopes.split(",") if scope.strip()]
    chosen = [scope for scope in keys.SCOPES if scope in asked]
    if not chosen or len(chosen) != len(set(asked)):
        raise typer.BadParameter(f"allowed are {', '.join(keys.SCOPES)}", param_hint="--scopes")
    with opened_store() as store, told_missing(), store.write() as connection:
        owner = organisations.find(connection, organisation or DEFAULT_ORGANISATION)
        key, plain = keys.create(
            connection,
            store.key_secret,
            name=name,
            scopes=chosen,
            organisation=owner.id,
            max_queued=max_queued,
            max_running=max_running,
        )
    if as_json:
        print_json({**_object(key), "key": plain})
    else:
        print(plain)


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List all keys, revoked ones included."""
    from jobs import keys  # noqa: PLC0415
    from service.parts import opened_store  # noqa: PLC0415

    with opened_store() as store, store.read() as connection:
        listed = keys.list_keys(connection)
    if as_json:
        print_json([_object(key) for key in listed])
        return
    rows = [
        (
            key.id,
            key.name,
            key.organisation_id,
            f"{key.prefix}…",
            ", ".join(key.scopes),
            "revoked" if key.revoked_at else "valid",
            time_text(key.created_at),
        )
        for key in listed
    ]
    print_table(("id", "name", "organisation", "key", "scopes", "state", "created"), rows, empty="no keys")


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Id of the key.")], as_json: JsonOption = False
) -> None:
    """Make a key useless from now on."""
    from jobs import keys  # noqa: PLC0415
    from service.parts import opened_store  # noqa: PLC0415

    with opened_store() as store, told_missing(), store.write() as connection:
        revoked = keys.revoke(connection, key)
    if as_json:
        print_json(_object(revoked))
    else:
        print(f"{revoked.id} ({revoked.name}) is revoked")


@contextmanager
def told_missing() -> Iterator[None]:
    """What is not there as the command's own error."""
    from fqt_client.errors import NotFoundError  # noqa: PLC0415
    from jobs import errors  # noqa: PLC0415

    try:
        yield
    except errors.NotFoundError as error:
        raise NotFoundError(str(error), status=404, code="not_found") from error


def _object(key: Any) -> dict[str, Any]:
    return {
        "id": key.id,
        "organisation": key.organisation_id,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": key.scopes,
        "max_queued": key.max_queued,
        "max_running": key.max_running,
        "created_at": key.created_at.isoformat(),
        "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
    }
