"""`fqt admin organisations …`: who is kept apart from whom, straight in the database (on a machine of the service)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fqt_client.cli.output import print_json, print_table, time_text
from fqt_client.cli.session import JsonOption
from service.audit import note

if TYPE_CHECKING:
    from jobs.records import Organisation

app = typer.Typer(help="Make and list organisations. Keys of one see nothing of another's jobs, data sets and models.")


@app.callback(invoke_without_command=True)
def _organisations(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def create(
    name: Annotated[str, typer.Option("--name", help="Its name; no other has it.")], as_json: JsonOption = False
) -> None:
    """Make an organisation. Its first key: `fqt admin keys create --organisation NAME --scopes admin --name me`."""
    from jobs import organisations  # noqa: PLC0415
    from jobs.errors import OrganisationExistsError  # noqa: PLC0415
    from service.parts import opened_store  # noqa: PLC0415

    name = name.strip()
    if not 1 <= len(name) <= organisations.LONGEST_NAME:
        raise typer.BadParameter(f"a name has 1 to {organisations.LONGEST_NAME} characters", param_hint="--name")
    try:
        with opened_store() as store, store.write() as connection:
            made = organisations.create(connection, name)
            note(connection, "organisations create", made.id)
    except OrganisationExistsError as error:
        raise typer.BadParameter(str(error), param_hint="--name") from error
    if as_json:
        print_json(_object(made))
    else:
        print(made.id)


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the organisations, oldest first."""
    from jobs import organisations  # noqa: PLC0415
    from service.parts import opened_store  # noqa: PLC0415

    with opened_store() as store, store.read() as connection:
        listed = organisations.list_organisations(connection)
    if as_json:
        print_json([_object(row) for row in listed])
        return
    rows = [(row.id, row.name, time_text(row.created_at)) for row in listed]
    print_table(("id", "name", "created"), rows, empty="no organisations")


def _object(row: Organisation) -> dict[str, Any]:
    return {"id": row.id, "name": row.name, "created_at": row.created_at.isoformat()}
