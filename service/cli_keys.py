"""`fqt keys …`: API keys, straight in the database that the settings name (on the machine of the service)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from fqt_client.cli.output import print_json, print_table, time_text
from fqt_client.cli.session import JsonOption
from service.audit import note

_TIMES = ("created_at", "expires_at", "last_used_at", "rotated_at", "previous_expires_at", "revoked_at")

app = typer.Typer(help="Make, list, rotate and revoke API keys, on the machine of the service.")


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
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", min=1, help="Optimiser steps that one of its jobs may be planned for.")
    ] = None,
    max_memory_bytes: Annotated[
        int | None, typer.Option("--max-memory-bytes", min=1, help="Memory that one of its jobs may be planned for.")
    ] = None,
    expires_days: Annotated[
        float | None, typer.Option("--expires-days", min=0.001, max=36500, help="Days until it stops opening anything.")
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
            expires_at=datetime.now(UTC) + timedelta(days=expires_days) if expires_days is not None else None,
            max_running=max_running,
            max_steps=max_steps,
            max_memory_bytes=max_memory_bytes,
        )
        note(connection, "keys create", key.id, organisation=owner.id)
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
            _state(key),
            time_text(key.created_at),
            time_text(key.expires_at) if key.expires_at else "",
            time_text(key.last_used_at) if key.last_used_at else "never",
        )
        for key in listed
    ]
    print_table(
        ("id", "name", "organisation", "key", "scopes", "state", "created", "expires", "last used"),
        rows,
        empty="no keys",
    )


@app.command()
def rotate(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Id of the key.")],
    overlap_seconds: Annotated[
        int, typer.Option("--overlap-seconds", min=0, max=30 * 86400, help="How long the secret of before opens too.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Give a key a new secret. It is shown once: only a hash of it is stored."""
    from jobs import keys  # noqa: PLC0415
    from jobs.errors import KeyEndedError  # noqa: PLC0415
    from service.parts import opened_store  # noqa: PLC0415

    try:
        with opened_store() as store, told_missing(), store.write() as connection:
            changed, plain = keys.rotate(connection, store.key_secret, key, overlap_seconds=overlap_seconds)
            note(connection, "keys rotate", key, organisation=changed.organisation_id)
    except KeyEndedError as error:
        raise typer.BadParameter(str(error), param_hint="KEY") from error
    if as_json:
        print_json({**_object(changed), "key": plain})
    else:
        print(plain)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Id of the key.")], as_json: JsonOption = False
) -> None:
    """Make a key useless: it is refused within a second."""
    from jobs import keys  # noqa: PLC0415
    from service.parts import opened_store  # noqa: PLC0415

    with opened_store() as store, told_missing(), store.write() as connection:
        revoked = keys.revoke(connection, key)
        note(connection, "keys revoke", key, organisation=revoked.organisation_id)
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
        "max_steps": key.max_steps,
        "max_memory_bytes": key.max_memory_bytes,
        **{name: moment.isoformat() if (moment := getattr(key, name)) else None for name in _TIMES},
    }


def _state(key: Any) -> str:
    if key.revoked_at:
        return "revoked"
    return "expired" if key.expires_at and key.expires_at <= datetime.now(UTC) else "valid"
