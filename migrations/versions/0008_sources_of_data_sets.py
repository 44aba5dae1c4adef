"""Data sets have thumbnails, and may be fetched or mounted: such a one has no bytes until a worker has looked.

Programs of before do not name the new columns. They know no data set without bytes, and leave those that wait for a
fetch or a folder to the programs of now.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_BYTES: dict[str, sa.types.TypeEngine[Any]] = {"sha256": sa.String(length=64), "size": sa.BigInteger()}


def upgrade() -> None:
    op.add_column("datasets", sa.Column("source", sa.JSON(none_as_null=True), nullable=True))
    # SQLite cannot add a constraint to a table that is there, only a column with its reference.
    if _sqlite():
        op.execute("ALTER TABLE datasets ADD COLUMN thumbnails_sha256 VARCHAR(64) REFERENCES blobs (sha256)")
    else:
        op.add_column("datasets", sa.Column("thumbnails_sha256", sa.String(length=64), nullable=True))
        op.create_foreign_key(
            op.f("fk_datasets_thumbnails_sha256"), "datasets", "blobs", ["thumbnails_sha256"], ["sha256"]
        )
    op.create_index(op.f("ix_datasets_thumbnails_sha256"), "datasets", ["thumbnails_sha256"], unique=False)
    _set_nullable(nullable=True)


def downgrade() -> None:
    # Those without bytes, and mounted folders, whose bytes are a listing: programs of before would take it for images.
    unknown = "sha256 IS NULL OR source ->> 'kind' = 'folder'"
    without = f"SELECT id FROM datasets WHERE {unknown}"  # noqa: S608 - a constant
    op.execute(f"UPDATE jobs SET dataset_id = NULL WHERE dataset_id IN ({without})")  # noqa: S608 - a constant
    op.execute(f"DELETE FROM datasets WHERE {unknown}")  # noqa: S608 - a constant
    _set_nullable(nullable=False)
    op.drop_index(op.f("ix_datasets_thumbnails_sha256"), table_name="datasets")
    op.drop_column("datasets", "thumbnails_sha256")
    op.drop_column("datasets", "source")


def _set_nullable(*, nullable: bool) -> None:
    """Allow or forbid rows without bytes.

    SQLite has no statement for it. Its documentation names two ways: to copy the table, whose removal would clear what
    refers to it, or (as here) to change the words of its definition, which leaves the rows alone.
    """
    if not _sqlite():
        for name, kind in _BYTES.items():
            op.alter_column("datasets", name, existing_type=kind, nullable=nullable)
        return
    version = op.get_bind().exec_driver_sql("PRAGMA schema_version").scalar_one()
    op.execute("PRAGMA writable_schema = ON")
    for words in ("sha256 VARCHAR(64)", "size BIGINT"):
        old, new = (f"{words} NOT NULL,", f"{words},")[:: 1 if nullable else -1]
        op.execute(
            f"UPDATE sqlite_schema SET sql = replace(sql, '\t{old}', '\t{new}') "  # noqa: S608 - constants
            "WHERE type = 'table' AND name = 'datasets'"
        )
    op.execute(f"PRAGMA schema_version = {version + 1}")
    op.execute("PRAGMA writable_schema = RESET")


def _sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"
