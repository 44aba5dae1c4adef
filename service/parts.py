"""The parts of the service one by one, as containers and process managers start them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from sqlalchemy.exc import SQLAlchemyError

from jobs import database
from jobs.errors import UnsupportedDatabaseError
from jobs.settings import Settings
from jobs.store import Store
from service.errors import StartError


def read_settings(**values: object) -> Settings:
    """The settings of the environment, with those ``values`` that are not None put over them.

    Raises:
        StartError: a setting has a value that is not allowed.
    """
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        raise StartError(f"the settings are wrong: {'; '.join(map(_fault, error.errors()))}") from error
    except ValueError as error:
        raise StartError(f"the settings are wrong: {error}") from error


def _fault(entry: ErrorDetails) -> str:
    message = entry["msg"].removeprefix("Value error, ")
    # What is wrong between several settings names them itself.
    return f"FQT_{'_'.join(map(str, entry['loc'])).upper()}: {message}" if entry["loc"] else message


def become(module: str, **values: object) -> NoReturn:
    """Become the process of one part (``api`` or ``worker``): same process id, so that signals reach it.

    Args:
        module: the package to run.
        values: settings that were given on the command line.

    Raises:
        StartError: a setting has a value that is not allowed.
    """
    read_settings(**values)
    for name, value in values.items():
        if value is not None:
            os.environ[f"FQT_{name.upper()}"] = str(value)
    sys.stdout.flush()
    # -P keeps the present folder out of the import path: a folder `api` of the user must not be run.
    os.execv(sys.executable, [sys.executable, "-P", "-m", module])  # noqa: S606 - no shell is meant


@contextmanager
def opened_store(settings: Settings | None = None, *, migrate: bool = False) -> Iterator[Store]:
    """The store of ``settings``, or of those of the environment, for the length of a block.

    With ``migrate`` its tables are made or brought up to date; without, they must be there, and nothing is made.

    Raises:
        StartError: the database cannot be used, at the beginning or within the block.
    """
    settings = settings or read_settings()
    try:
        if not migrate:
            _must_be_there(settings)
        store = Store.open(settings, migrate=migrate)
    except (OSError, SQLAlchemyError, ImportError, UnsupportedDatabaseError) as error:
        raise _unusable(error) from error
    try:
        with database_errors():
            yield store
    finally:
        store.close()


@contextmanager
def database_errors() -> Iterator[None]:
    """Within the block, a database that cannot be used is told as people need it.

    Raises:
        StartError: instead of what the database's driver raises.
    """
    try:
        yield
    except (SQLAlchemyError, ImportError, UnsupportedDatabaseError) as error:
        raise _unusable(error) from error


def _unusable(error: Exception) -> StartError:
    # What the driver says, without what SQLAlchemy adds for programmers.
    detail = " ".join(str(getattr(error, "orig", None) or error).split())
    return StartError(f"the database cannot be used: {detail}", remedy="check FQT_DATABASE_URL; is the server running?")


def _must_be_there(settings: Settings) -> None:
    if not database.has_tables(settings):
        raise StartError(
            f"there is no database of the service at {database.place(settings)}",
            remedy="`fqt up` and `fqt migrate` make one; FQT_DATA_DIR or FQT_DATABASE_URL names another",
        )
