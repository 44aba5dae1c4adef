"""The parts of the service one by one, as containers and process managers start them."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

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
        faults = [f"FQT_{'_'.join(map(str, entry['loc'])).upper()}: {entry['msg']}" for entry in error.errors()]
        raise StartError(f"the settings are wrong: {'; '.join(faults)}") from error
    except ValueError as error:
        raise StartError(f"the settings are wrong: {error}") from error


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


def open_store(settings: Settings | None = None, *, migrate: bool = False) -> Store:
    """The store of ``settings``, or of those of the environment.

    Raises:
        StartError: the database cannot be used.
    """
    try:
        return Store.open(settings or read_settings(), migrate=migrate)
    except (OSError, SQLAlchemyError) as error:
        # What the driver says, without what SQLAlchemy adds for programmers.
        detail = " ".join(str(getattr(error, "orig", None) or error).split())
        raise StartError(
            f"the database cannot be used: {detail}", remedy="check FQT_DATABASE_URL; is the server running?"
        ) from error
