"""The domain of the service: what a job is, who may work on it, and what is kept about it.

Knows no HTTP, no Celery and no torch. A :class:`jobs.store.Store` is opened once per process; the modules hold
functions that take one of its connections, so that several of them can share a transaction::

    store = Store.open(Settings())
    with store.write() as connection:
        job = jobs.create(connection, spec, created_by=key.id)
"""
