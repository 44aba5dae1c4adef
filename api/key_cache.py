"""API keys that were verified a moment ago: a client that asks often costs the database one look a second."""

from __future__ import annotations

import hashlib
import time

from jobs import keys
from jobs.keys import Key
from jobs.store import Store

TRUSTED_SECONDS = 1.0
_MOST = 1024


class KeyCache:
    """Verifies keys, and trusts what it found for ``TRUSTED_SECONDS``; refusals are not kept.

    That is how long a key may still be let in after it was revoked, or changed, by another process; within this
    process :meth:`forget` makes it end at once. What is kept is found by a hash that only this process can make, so
    that neither the keys are in memory nor the time of a look tells anything of them. Lives in one event loop, but
    for :meth:`verify`, which is called in threads.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[bytes, tuple[float, Key]] = {}
        self._changes = 0

    def known(self, plain: str) -> Key | None:
        """The key with this plain text, if it was verified just now. Never waits."""
        found = self._known.get(self._name(plain))
        return found[1] if found is not None and time.monotonic() < found[0] else None

    def verify(self, plain: str) -> Key | None:
        """Ask the database for the key with this plain text; ``None``: there is none, or it was revoked."""
        # Counted from before the look, which may see what is no longer so by the time that it has been told.
        until, changes = time.monotonic() + TRUSTED_SECONDS, self._changes
        with self._store.read() as connection:
            key = keys.verify(connection, self._store.key_secret, plain)
        if key is not None and changes == self._changes:
            if len(self._known) >= _MOST:
                self._known = {}
            self._known[self._name(plain)] = (until, key)
        return key

    def forget(self) -> None:
        """Trust nothing that was found before: a key was revoked or changed."""
        self._changes += 1
        self._known = {}

    def _name(self, plain: str) -> bytes:
        return hashlib.blake2b(plain.encode(), key=self._store.key_secret[:64]).digest()
