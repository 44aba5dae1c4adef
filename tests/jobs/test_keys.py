from __future__ import annotations

import hmac
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from jobs import keys
from jobs.errors import KeyEndedError, NotFoundError
from jobs.sqltypes import now
from jobs.store import Store


def test_a_key_is_shown_once_and_stored_as_a_keyed_hash(store: Store) -> None:
    with store.write() as connection:
        key, plain = keys.create(connection, store.key_secret, name="ci", scopes=["write", "read"])
        row = connection.execute(keys.select(keys.keys)).one()
        assert keys.verify(connection, store.key_secret, plain) == key
        assert keys.verify(connection, b"another secret", plain) is None
    assert key.scopes == ["read", "write"]
    assert plain.startswith(key.prefix)
    assert len(key.prefix) == 12
    assert plain not in repr(row)
    assert plain[12:] not in repr(row)


@pytest.mark.parametrize("change", [lambda k: k[:-1], lambda k: k + "A", lambda k: "abc_" + k[4:], lambda k: ""])
def test_a_mistyped_key_is_refused_without_a_look_at_the_database(change) -> None:
    plain = keys._plain()
    assert keys.verify(None, b"", change(plain)) is None  # type: ignore[arg-type]


def test_a_wrong_key_with_a_known_prefix_is_compared_in_constant_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[str, str]] = []
    real = hmac.compare_digest
    monkeypatch.setattr(keys.hmac, "compare_digest", lambda a, b: (compared.append((a, b)), real(a, b))[1])
    with store.write() as connection:
        _, plain = keys.create(connection, store.key_secret, name="a", scopes=["read"])
        body = plain[:12] + "0" * 32
        for forged in (body, "fqt_" + "0" * 40):
            assert keys.verify(connection, store.key_secret, forged + keys._checksum(forged)) is None
    assert len(compared) == 4  # with the secret of now and that of before, whether there are such or not


def test_a_revoked_key_opens_nothing(store: Store) -> None:
    with store.write() as connection:
        key, plain = keys.create(connection, store.key_secret, name="a", scopes=["admin"])
        first = keys.revoke(connection, key.id)
        assert keys.revoke(connection, key.id) == first
        assert first.revoked_at is not None
        assert keys.verify(connection, store.key_secret, plain) is None
        assert [row.id for row in keys.list_keys(connection)] == [key.id]
        with pytest.raises(NotFoundError):
            keys.revoke(connection, "key_none")


def test_a_key_ends_when_it_was_to_end(store: Store) -> None:
    with store.write() as connection:
        soon = datetime.now(UTC) + timedelta(hours=1)
        key, plain = keys.create(connection, store.key_secret, name="a", scopes=["read"], expires_at=soon)
        assert key.expires_at == soon
        assert keys.verify(connection, store.key_secret, plain) == key
        assert keys.any_opens(connection)
        connection.execute(update(keys.keys).values(expires_at=now(-1)))
        assert keys.verify(connection, store.key_secret, plain) is None
        assert not keys.any_opens(connection)
        with pytest.raises(KeyEndedError):
            keys.rotate(connection, store.key_secret, key.id)


def test_a_rotated_key_has_a_new_secret_and_for_a_while_the_one_of_before(store: Store) -> None:
    secret = store.key_secret
    with store.write() as connection:
        key, first = keys.create(connection, secret, name="a", scopes=["read"], max_queued=3)
        changed, second = keys.rotate(connection, secret, key.id, overlap_seconds=60)
        assert (changed.id, changed.prefix, changed.max_queued) == (key.id, key.prefix, 3)
        assert changed.rotated_at is not None
        assert changed.previous_expires_at is not None
        assert first != second
        for plain in (first, second):
            assert keys.verify(connection, secret, plain) == changed
        connection.execute(update(keys.keys).values(previous_expires_at=now(-1)))
        assert keys.verify(connection, secret, first) is None
        assert keys.verify(connection, secret, second) is not None
        _, third = keys.rotate(connection, secret, key.id)
        assert [keys.verify(connection, secret, plain) is None for plain in (first, second, third)] == [
            True,
            True,
            False,
        ]
        keys.revoke(connection, key.id)
        assert keys.verify(connection, secret, third) is None
        for wrong in (-1, keys.LONGEST_OVERLAP_SECONDS + 1):
            with pytest.raises(ValueError, match="overlap"):
                keys.rotate(connection, secret, key.id, overlap_seconds=wrong)
        with pytest.raises(NotFoundError):
            keys.rotate(connection, secret, "key_none")


def test_scopes(store: Store) -> None:
    with store.write() as connection:
        for scopes, allowed in (
            (["read"], {"read"}),
            (["write"], {"read", "write"}),
            (["admin"], {"read", "write", "admin"}),
        ):
            key, _ = keys.create(connection, b"s", name="a", scopes=scopes)  # type: ignore[arg-type]
            assert {scope for scope in keys.SCOPES if key.allows(scope)} == allowed
        for wrong in ([], ["root"]):
            with pytest.raises(ValueError, match="scopes"):
                keys.create(connection, b"s", name="a", scopes=wrong)  # type: ignore[arg-type]


def test_the_first_key_is_made_once_and_readable_by_its_owner_only(store: Store) -> None:
    path = store.settings.key_path
    with store.write() as connection:
        plain = keys.bootstrap(connection, store.key_secret, path)
        assert plain is not None
        assert keys.bootstrap(connection, store.key_secret, path) is None
        key = keys.verify(connection, store.key_secret, plain)
    assert key is not None
    assert key.allows("admin")
    assert path.read_text() == plain + "\n"
    assert path.stat().st_mode & 0o777 == 0o600
