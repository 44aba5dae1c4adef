"""Models of trees beside packed ones and weights."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_BEFORE, _NOW = ("format IN ('packed', 'weights')", "format IN ('packed', 'weights', 'trees')")


def upgrade() -> None:
    _change(_BEFORE, _NOW)


def downgrade() -> None:
    op.execute("DELETE FROM models WHERE format = 'trees'")
    _change(_NOW, _BEFORE)


def _change(old: str, new: str) -> None:
    """Change the rule. On SQLite in the words of the table's definition (see revision 0008)."""
    if op.get_bind().dialect.name != "sqlite":
        op.drop_constraint(op.f("ck_models_format"), "models", type_="check")
        op.create_check_constraint(op.f("ck_models_format"), "models", new)
        return
    version = op.get_bind().exec_driver_sql("PRAGMA schema_version").scalar_one()
    op.execute("PRAGMA writable_schema = ON")
    words = [text.replace("'", "''") for text in (old, new)]
    op.execute(
        f"UPDATE sqlite_schema SET sql = replace(sql, '{words[0]}', '{words[1]}') "  # noqa: S608 - constants
        "WHERE type = 'table' AND name = 'models'"
    )
    op.execute(f"PRAGMA schema_version = {version + 1}")
    op.execute("PRAGMA writable_schema = RESET")
