"""Random passwords for a deployment, made once: none has a default, and none stands under version control.

Each file is a secret; those named after a setting (``fqt_database_url``, …) are read by
:class:`jobs.settings.Settings` from the folder that ``FQT_SECRETS_DIR`` names.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

OWNER_ONLY = 0o600
# Read by the database's and the broker's own users, in containers that share nothing else with ours.
READABLE = 0o644


def make_secrets(directory: Path, *, database_host: str, broker_host: str) -> list[str]:
    """Write the secrets that ``directory`` lacks, and return the names of the files written.

    What is there already stays as it is, so that a second start finds its database again. Files that hold the same
    password (``postgres_password`` and ``fqt_database_url``) are derived from the one that exists.

    Raises:
        OSError: the folder cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written: list[str] = []

    def keep_or_write(name: str, content: str, mode: int) -> str:
        path = directory / name
        if path.exists():
            return path.read_text()
        temporary = path.with_name(f".{name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        written.append(name)
        return content

    database_password = keep_or_write("postgres_password", secrets.token_hex(24), READABLE)
    broker_password = keep_or_write("valkey_password", secrets.token_hex(24), READABLE)
    keep_or_write("valkey.conf", f"requirepass {broker_password}\nappendonly yes\ndir /data\n", READABLE)
    keep_or_write("fqt_database_url", f"postgresql://fqt:{database_password}@{database_host}:5432/fqt", OWNER_ONLY)
    keep_or_write("fqt_broker_url", f"redis://:{broker_password}@{broker_host}:6379/0", OWNER_ONLY)
    keep_or_write("fqt_secret", secrets.token_hex(32), OWNER_ONLY)
    return written
