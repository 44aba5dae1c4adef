"""API keys: ``fqt_`` + 8 characters that are shown + 32 secret ones + 6 of a checksum. Only a keyed hash is stored."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import string
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from sqlalchemy import Connection, Row, and_, bindparam, or_, select, update
from sqlalchemy import insert as sql_insert

from jobs.errors import KeyEndedError, NotFoundError
from jobs.ids import new_id
from jobs.organisations import within
from jobs.sqltypes import now
from jobs.tables import DEFAULT_ORGANISATION, keys

Scope: TypeAlias = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
LONGEST_NAME = 200

_NO_DIGEST = "0" * 64
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
LONGEST_OVERLAP_SECONDS = 30 * 86400
_SHOWN = 12  # characters of a key that may be shown: they name it, whatever secret follows them

# By the database's clock: whether the key opens anything, and whether its secret of before still does.
_OPENS = and_(keys.c.revoked_at.is_(None), or_(keys.c.expires_at.is_(None), keys.c.expires_at > now()))
_LOOKED_AT = (keys, _OPENS.label("opens"), (keys.c.previous_expires_at > now()).label("overlaps"))
_BY_PREFIX = select(*_LOOKED_AT).where(keys.c.prefix == bindparam("shown"))
_SHAPE = re.compile(r"fqt_([0-9A-Za-z]{8})([0-9A-Za-z]{32})([0-9A-Za-z]{6})")


@dataclass(frozen=True)
class Key:
    """A key without its secret. ``prefix`` is the part that may be shown (``fqt_`` and 8 characters).

    ``expires_at``: it opens nothing from then on; ``None``: it does not end by itself. ``last_used_at`` is right to a
    minute or so. After a rotation (``rotated_at``) the secret of before opens until ``previous_expires_at``.
    ``max_steps`` and ``max_memory_bytes``: what one of its jobs may be predicted to take; ``None``: what the settings
    say. ``max_queued`` and ``max_running``: how many of its jobs may wait, and run, at the same time; ``None``: as many
    as the settings say.
    """

    id: str
    organisation_id: str
    name: str
    prefix: str
    scopes: list[Scope]
    created_at: datetime
    revoked_at: datetime | None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    rotated_at: datetime | None = None
    previous_expires_at: datetime | None = None
    max_queued: int | None = None
    max_running: int | None = None
    max_steps: int | None = None
    max_memory_bytes: int | None = None

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
    expires_at: datetime | None = None,
    max_queued: int | None = None,
    max_running: int | None = None,
    max_steps: int | None = None,
    max_memory_bytes: int | None = None,
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
            prefix=plain[:_SHOWN],
            digest=_digest(plain, secret),
            scopes=[scope for scope in SCOPES if scope in scopes],
            created_at=now(),
            expires_at=expires_at,
            max_queued=max_queued,
            max_running=max_running,
            max_steps=max_steps,
            max_memory_bytes=max_memory_bytes,
        )
        .returning(keys)
    ).one()
    return _key(row), plain


def verify(connection: Connection, secret: bytes, plain: str) -> Key | None:
    """The key with this plain text, or ``None`` if there is none, it was revoked, or it has ended."""
    match = _SHAPE.fullmatch(plain)
    if match is None or _checksum(plain[:-6]) != match[3]:
        return None
    row = connection.execute(_BY_PREFIX, {"shown": plain[:_SHOWN]}).one_or_none()
    digest = _digest(plain, secret)
    # Comparisons are made even where there is no row, so that their time does not tell whether a prefix exists.
    same = hmac.compare_digest(digest, row.digest if row is not None else _NO_DIGEST)
    previous = row.previous_digest if row is not None and row.overlaps else None
    same |= hmac.compare_digest(digest, previous or _NO_DIGEST)
    if row is None or not same:
        return None
    return _if_usable(row)


def usable(connection: Connection, key_id: str, mark: str) -> Key | None:
    """The key with this id, or ``None`` if there is none, it was revoked, or it has ended.

    ``mark``: :func:`mark` of the secret by which it was found before, which must still open.
    """
    row = connection.execute(select(*_LOOKED_AT).where(keys.c.id == key_id)).one_or_none()
    if row is None:
        return None
    digests = [row.digest, *([row.previous_digest] if row.overlaps else [])]
    return _if_usable(row) if any(hmac.compare_digest(mark, _mark(digest)) for digest in digests) else None


def mark(secret: bytes, plain: str) -> str:
    """What tells the secrets of a key apart without telling anything of them: 16 hexadecimal digits."""
    return _mark(_digest(plain, secret))


def get(connection: Connection, key_id: str) -> Key:
    """The key with this id, whether it still opens anything or not.

    Raises:
        NotFoundError: there is no such key.
    """
    row = connection.execute(select(keys).where(keys.c.id == key_id)).one_or_none()
    if row is None:
        raise NotFoundError("key", key_id)
    return _key(row)


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


def rotate(
    connection: Connection,
    secret: bytes,
    key_id: str,
    *,
    overlap_seconds: float = 0,
    organisation: str | None = None,
) -> tuple[Key, str]:
    """Give a key a new secret; return it and the plain text, which cannot be shown again.

    Id, prefix, jobs and quotas stay. The secret of before opens for ``overlap_seconds`` more, the one before that
    no more at all.

    Raises:
        ValueError: the overlap is negative, or too long.
        NotFoundError: there is no such key, or it is another organisation's.
        KeyEndedError: it is revoked, or has ended.
    """
    if not 0 <= overlap_seconds <= LONGEST_OVERLAP_SECONDS:
        raise ValueError(f"overlap_seconds: 0 to {LONGEST_OVERLAP_SECONDS}")
    query = select(keys.c.prefix, keys.c.digest, _OPENS.label("opens"))
    query = query.where(keys.c.id == key_id, within(keys, organisation)).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFoundError("key", key_id)
    if not row.opens:
        raise KeyEndedError(key_id)
    plain = _plain(row.prefix)
    values: dict[str, Any] = {
        "digest": _digest(plain, secret),
        "rotated_at": now(),
        "previous_digest": row.digest if overlap_seconds else None,
        "previous_expires_at": now(overlap_seconds) if overlap_seconds else None,
    }
    changed = connection.execute(update(keys).where(keys.c.id == key_id).values(**values).returning(keys)).one()
    return _key(changed), plain


def touch(connection: Connection, key_ids: Iterable[str]) -> None:
    """Note that these keys are used now."""
    connection.execute(update(keys).where(keys.c.id.in_(sorted(key_ids))).values(last_used_at=now()))


def any_opens(connection: Connection) -> bool:
    """Whether there is a key that opens something."""
    return connection.execute(select(keys.c.id).where(_OPENS).limit(1)).first() is not None


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


def _plain(prefix: str = "") -> str:
    prefix = prefix or "fqt_" + _random(8)
    body = prefix + _random(32)
    return body + _checksum(body)


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


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


def _mark(digest: str) -> str:
    return hashlib.sha256(f"mark {digest}".encode()).hexdigest()[:16]


def _if_usable(row: Row[Any]) -> Key | None:
    return _key(row) if row.opens else None


def _key(row: Row[Any]) -> Key:
    return Key(**{field.name: getattr(row, field.name) for field in fields(Key)})
