"""Alembic migrations of the service's tables; :func:`jobs.database.upgrade` runs them."""
