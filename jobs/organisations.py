"""Organisations: who shares data sets, jobs and models. What is another one's does not exist for its keys."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, Table, select, true
from sqlalchemy import insert as sql_insert

from jobs.errors import NotFoundError, OrganisationExistsError
from jobs.ids import new_id
from jobs.records import Organisation
from jobs.sqltypes import now
from jobs.tables import organisations

LONGEST_NAME = 200


def within(table: Table, organisation: str | None) -> ColumnElement[bool]:
    """The condition that a row is this organisation's; ``None``: any row, for what works for all of them."""
    return true() if organisation is None else table.c.organisation_id == organisation


def create(connection: Connection, name: str) -> Organisation:
    """Make an organisation.

    Raises:
        ValueError: no name, or one that is too long.
        OrganisationExistsError: there is one of that name.
    """
    if not 1 <= len(name) <= LONGEST_NAME:
        raise ValueError(f"name: 1 to {LONGEST_NAME} characters")
    if connection.execute(select(organisations.c.id).where(organisations.c.name == name)).first() is not None:
        raise OrganisationExistsError(name)
    values = {"id": new_id("org"), "name": name, "created_at": now()}
    row = connection.execute(sql_insert(organisations).values(values).returning(organisations)).one()
    return Organisation.of(row)


def list_organisations(connection: Connection) -> list[Organisation]:
    """All of them, oldest first."""
    query = select(organisations).order_by(organisations.c.created_at, organisations.c.id)
    return [Organisation.of(row) for row in connection.execute(query)]


def find(connection: Connection, reference: str) -> Organisation:
    """The organisation with this id, or of this name.

    Raises:
        NotFoundError: there is none.
    """
    named = (organisations.c.id == reference) | (organisations.c.name == reference)
    row = connection.execute(select(organisations).where(named)).first()
    if row is None:
        raise NotFoundError("organisation", reference)
    return Organisation.of(row)
