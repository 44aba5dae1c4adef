"""The API key of an embedded installation."""

from __future__ import annotations

import contextlib
import os

from jobs import audit_log, keys
from jobs.audit_log import Entry
from jobs.settings import Settings
from service.parts import opened_store


def first_key(settings: Settings) -> str:
    """Bring the database up to date and give a key that opens it: the kept one, or a new one that is kept (mode 0600).

    Raises:
        StartError: the database cannot be used.
    """
    with opened_store(settings, migrate=True) as store, store.write() as connection:
        plain = ""
        with contextlib.suppress(FileNotFoundError):
            plain = settings.key_path.read_text().strip()
        if plain and keys.verify(connection, store.key_secret, plain) is not None:
            return plain
        key, plain = keys.create(connection, store.key_secret, name="fqt up", scopes=keys.SCOPES)
        audit_log.write(connection, [Entry(action="first key", actor="service", resource_id=key.id)])
        settings.key_path.unlink(missing_ok=True)
        descriptor = os.open(settings.key_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(plain + "\n")
        return plain
