"""Organisations in the domain, on both databases; and their audit log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobs import audit_log, datasets, events, jobs, keys, organisations
from jobs.audit_log import Entry
from jobs.errors import InvalidSpecError, NotFoundError, OrganisationExistsError
from jobs.store import Store
from jobs.tables import DEFAULT_ORGANISATION
from tests.jobs.helpers import ready_dataset, spec


def test_organisations(store: Store) -> None:
    with store.write() as connection:
        made = organisations.create(connection, "biology")
        with pytest.raises(OrganisationExistsError):
            organisations.create(connection, "biology")
        for wrong in ("", "x" * 201):
            with pytest.raises(ValueError, match="name"):
                organisations.create(connection, wrong)
        assert [row.id for row in organisations.list_organisations(connection)] == [DEFAULT_ORGANISATION, made.id]
        assert organisations.find(connection, "biology") == organisations.find(connection, made.id) == made
        with pytest.raises(NotFoundError):
            organisations.find(connection, "chemistry")


def test_what_is_another_organisations_is_not_found(store: Store) -> None:
    dataset = ready_dataset(store, {"a": 30, "b": 30})
    with store.write() as connection:
        other = organisations.create(connection, "biology").id
        key, _ = keys.create(connection, store.key_secret, name="x", scopes=["write"], organisation=other)
        mine = jobs.create(connection, spec(dataset=dataset))
        theirs = jobs.create(connection, spec(), created_by=key.id)
        assert (mine.organisation_id, theirs.organisation_id) == (DEFAULT_ORGANISATION, other)
    calls: list[tuple[str, Callable[..., Any]]] = [
        *((mine.id, call) for call in (jobs.get, jobs.request_cancel, jobs.request_pause, jobs.resume, jobs.remove)),
        (mine.id, events.last_seq),
        (dataset, datasets.get),
        (dataset, datasets.remove),
    ]
    for identity, call in calls:
        with store.write() as connection, pytest.raises(NotFoundError):
            call(connection, identity, organisation=other)
    with store.write() as connection:
        assert [job.id for job in jobs.list_jobs(connection, organisation=other).data] == [theirs.id]
        assert {job.id for job in jobs.list_jobs(connection).data} == {mine.id, theirs.id}
        assert datasets.list_datasets(connection, organisation=other).data == []
        assert [row.id for row in keys.list_keys(connection, organisation=other)] == [key.id]
        with pytest.raises(NotFoundError):
            keys.revoke(connection, key.id, organisation=DEFAULT_ORGANISATION)
        assert keys.verify(connection, b"", "") is None
        with pytest.raises(InvalidSpecError, match=f"there is no data set '{dataset}'"):
            jobs.create(connection, spec(dataset=dataset), created_by=key.id)


def test_the_audit_log(store: Store) -> None:
    entries = [
        Entry(action="create_job", key_id="key_a", resource_id="job_1", status=201),
        Entry(action="cancel_job", key_id="key_b", resource_id="job_1", status=200),
        Entry(action="create_job", organisation_id="org_other", key_id="key_c", resource_id="x" * 300),
    ]
    with store.write() as connection:
        audit_log.write(connection, entries)
        audit_log.write(connection, [])

        def found(**filters: Any) -> list[str]:
            return [entry.action for entry in audit_log.list_entries(connection, **filters).data]

        assert audit_log.list_entries(connection).data[1:] == entries[1::-1]
        assert audit_log.list_entries(connection).data[0].resource_id == "x" * 200
        assert found(organisation=DEFAULT_ORGANISATION) == ["cancel_job", "create_job"]
        assert found(organisation=DEFAULT_ORGANISATION, resource="job_1", key="key_a") == ["create_job"]
        assert found(action="create_job", after=entries[2].id) == ["create_job"]
        assert audit_log.list_entries(connection, limit=2).has_more
        assert audit_log.purge(connection, older_than_seconds=60) == 0
        assert audit_log.purge(connection, older_than_seconds=-60) == 3
