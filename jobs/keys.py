"""API keys: ``fqt_`` + 8 characters that are shown + 32 secret ones + 6 of a checksum. Only a keyed hash is stored."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import string
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from sqlalchemy import Connection, Row, bindparam, select, update
from sqlalchemy import insert as sql_insert

from jobs.errors import NotFoundError
from jobs.ids import new_id
from jobs.organisations import within
from jobs.sqltypes import now
from jobs.tables import DEFAULT_ORGANISATION, keys

Scope: TypeAlias = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
LONGEST_NAME = 200

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_BY_PREFIX = select(keys).where(keys.c.prefix == bindparam("shown"))
_SHAPE = re.compile(r"fqt_([0-9A-Za-z]{8})([0-9A-Za-z]{32})([0-9A-Za-z]{6})")


@dataclass(frozen=True)
class Key:
    """A key without its secret. ``prefix`` is the part that may be shown (``fqt_`` and 8 characters).

    ``max_queued`` and ``max_running``: how many of its jobs may wait, and run, at the same time; ``None``: as many as
    the settings say.
    """

    id: str
    organisation_id: str
    name: str
    prefix: str
    scopes: list[Scope]
    created_at: datetime
    revoked_at: datetime | None
    max_queued: int | None = None
    max_running: int | None = None

    def allows(self, scope: Scope) -> bool:
        """Whether the key may do what needs ``scope``: ``admin`` may do all, ``write`` may also read."""
        if "admin" in self.scopes or scope in self.scopes:
            return True
        return scope == "read" and "write" in self.scopes


def create(
    connection: Connection,
    secret: bytes,
    *,
    name: str,
    scopes: Sequence[Scope],
    organisation: str = DEFAULT_ORGANISATION,
    max_queued: int | None = None,
    max_running: int | None = None,
) -> tuple[Key, str]:
    """Make a key; return it and the plain text, which cannot be shown again.

    Raises:
        ValueError: no scope, or an unknown one; no name, or one that is too long.
    """
    if not 1 <= len(name) <= LONGEST_NAME:
        raise ValueError(f"name: 1 to {LONGEST_NAME} characters")
    if not scopes or not set(scopes) <= set(SCOPES):
        raise ValueError(f"scopes: name at least one of {', '.join(SCOPES)}")
    plain = _plain()
    row = connection.execute(
        sql_insert(keys)
        .values(
            id=new_id("key"),
            organisation_id=organisation,
            name=name,
            prefix=plain[:12],
            digest=_digest(plain, secret),
            scopes=[scope for scope in SCOPES if scope in scopes],
            created_at=now(),
            max_queued=max_queued,
            max_running=max_running,
        )
        .returning(keys)
    ).one()
    return _key(row), plain


def verify(connection: Connection, secret: bytes, plain: str) -> Key | None:
    """The key with this plain text, or ``None`` if there is none or it was revoked."""
    match = _SHAPE.fullmatch(plain)
    if match is None or _checksum(plain[:-6]) != match[3]:
        return None
    row = connection.execute(_BY_PREFIX, {"shown": plain[:12]}).one_or_none()
    digest = _digest(plain, secret)
    # The comparison is made even where there is no row, so that its time does not tell whether a prefix exists.
    same = hmac.compare_digest(digest, row.digest if row is not None else "0" * 64)
    if row is None or not same:
        return None
    return _if_usable(row)


def usable(connection: Connection, key_id: str) -> Key | None:
    """The key with this id, or ``None`` if there is none or it was revoked."""
    row = connection.execute(select(keys).where(keys.c.id == key_id)).one_or_none()
    return None if row is None else _if_usable(row)


def list_keys(connection: Connection, *, organisation: str | None = None) -> list[Key]:
    """The organisation's keys (``None``: of all), newest first, revoked ones included."""
    query = select(keys).where(within(keys, organisation)).order_by(keys.c.id.desc())
    return [_key(row) for row in connection.execute(query)]


def revoke(connection: Connection, key_id: str, *, organisation: str | None = None) -> Key:
    """Make a key useless from now on; revoking twice is no error.

    Raises:
        NotFoundError: there is no such key, or it is another organisation's.
    """
    mine = (keys.c.id == key_id) & within(keys, organisation)
    connection.execute(update(keys).where(mine, keys.c.revoked_at.is_(None)).values(revoked_at=now()))
    row = connection.execute(select(keys).where(mine)).one_or_none()
    if row is None:
        raise NotFoundError("key", key_id)
    return _key(row)


def bootstrap(connection: Connection, secret: bytes, path: Path) -> str | None:
    """Make the first key (all scopes) and write it to ``path`` (mode 0600); ``None`` if there is a key already."""
    if connection.execute(select(keys.c.id).limit(1)).first() is not None:
        return None
    _, plain = create(connection, secret, name="first key", scopes=SCOPES)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(plain + "\n")
    return plain


def _plain() -> str:
    body = "fqt_" + "".join(secrets.choice(_ALPHABET) for _ in range(40))
    return body + _checksum(body)


def _checksum(body: str) -> str:
    """CRC-32 in base 62: tells a mistyped key from a revoked one, and lets scanners find leaked keys."""
    value = zlib.crc32(body.encode())
    digits = []
    for _ in range(6):
        value, digit = divmod(value, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def _digest(plain: str, secret: bytes) -> str:
    return hmac.new(secret, plain.encode(), hashlib.sha256).hexdigest()


def _if_usable(row: Row[Any]) -> Key | None:
    return _key(row) if row.revoked_at is None else None


def _key(row: Row[Any]) -> Key:
    return Key(
        row.id,
        row.organisation_id,
        row.name,
        row.prefix,
        row.scopes,
        row.created_at,
        row.revoked_at,
        max_queued=row.max_queued,
        max_running=row.max_running,
    )
