"""The outbox: rows that come with what they tell, and are one deliverer's at a time. On both databases."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jobs import datasets, deliveries, jobs, lease, webhooks
from jobs.deliveries import Attempt, Due
from jobs.errors import NotFoundError, TooManyWebhooksError, WebhookDisabledError
from jobs.records import Job
from jobs.store import Store
from jobs.tables import DEFAULT_ORGANISATION
from jobs.webhooks import Webhook
from tests.jobs.helpers import ready_dataset, running, submit

OURS = {"organisation": DEFAULT_ORGANISATION}
GOOD, BAD = Attempt(204, None, 1), Attempt(500, None, 1)


def hook(store: Store, *events: Any, organisation: str = DEFAULT_ORGANISATION) -> Webhook:
    with store.write() as connection:
        return webhooks.create(connection, organisation=organisation, url="https://example.org/", events=events)


def messages(store: Store, webhook: Webhook) -> list[tuple[str, dict[str, Any]]]:
    """Type and data of what the webhook is to be told, the oldest first."""
    with store.read() as connection:
        page = deliveries.list_deliveries(connection, webhook.id, organisation=webhook.organisation_id)
    return [(row.type, json.loads(row.body)["data"]) for row in reversed(page.data)]


def take(store: Store, limit: int = 8, **busy: int) -> list[Due]:
    with store.write() as connection:
        return deliveries.claim(connection, limit, 60, busy=busy)


def end(store: Store, due: Due, attempt: Attempt, **policy: Any) -> Webhook | None:
    with store.write() as connection:
        return deliveries.finish(connection, due, attempt, **policy)


def test_every_state_of_a_job_is_told_to_those_who_want_it(store: Store) -> None:
    everything, ends = hook(store), hook(store, "job.succeeded", "job.failed")
    elsewhere = hook(store, organisation="org_other")
    job = running(store)
    with store.write() as connection:
        jobs.request_pause(connection, job.id)
    with store.write() as connection:
        lease.release(connection, job.id, 1, reason="pausing")
    with store.write() as connection:
        jobs.resume(connection, job.id)
    with store.write() as connection:
        again = lease.claim(connection, ["cpu"], "me", 60)
    assert again is not None
    with store.write() as connection:
        lease.fail(connection, job.id, 2, {"code": "no_luck", "message": "none", "param": None, "log": ["a line"]})
    told = messages(store, everything)
    assert [type_ for type_, _ in told] == ["job.started", "job.paused", "job.queued", "job.started", "job.failed"]
    assert [data["seq"] for _, data in told] == [2, 4, 5, 6, 7]
    assert messages(store, ends) == [told[-1]]
    assert told[-1][1] == {
        "id": job.id, "name": None, "state": "failed", "reason": "no_luck", "seq": 7, "attempt": 2,
        "error": {"code": "no_luck", "message": "none", "param": None},
    }  # fmt: skip
    assert messages(store, elsewhere) == []


def test_data_sets_are_told_of(store: Store) -> None:
    webhook = hook(store, "dataset.ready", "dataset.invalid")
    good = ready_dataset(store, {"a": 3, "b": 3})
    blob = store.blobs.put_stream([b"no images"])
    with store.write() as connection:
        bad = datasets.create(connection, store.blobs, blob, name="bad").id
        datasets.claim_check(connection, bad, 60)
        datasets.finish_check(connection, bad, 1, error={"code": "dataset_invalid", "message": "none", "faults": []})
        assert not datasets.finish_check(connection, bad, 1, profile={})  # it is decided: told once
    ready, invalid = messages(store, webhook)
    assert (ready[0], ready[1]["id"], ready[1]["error"]) == ("dataset.ready", good, None)
    assert (invalid[0], invalid[1]["error"]["code"]) == ("dataset.invalid", "dataset_invalid")


def test_what_is_rolled_back_is_not_told(store: Store) -> None:
    webhook = hook(store)
    submit(store)

    def break_down() -> None:
        with store.write() as connection:
            assert lease.claim(connection, ["cpu"], "me", 60) is not None
            raise RuntimeError("the process dies before the commit")

    with pytest.raises(RuntimeError):
        break_down()
    assert messages(store, webhook) == []


def test_many_deliverers_share_what_is_due_without_doubles(store: Store) -> None:
    hooks = [hook(store) for _ in range(4)]
    cancelled: list[Job] = [submit(store) for _ in range(10)]
    with store.write() as connection:
        for job in cancelled:
            jobs.request_cancel(connection, job.id)
    gate = threading.Barrier(4)

    def work() -> list[str]:
        gate.wait()
        mine = []
        while found := take(store):
            mine += [due.delivery.id for due in found]
        return mine

    with ThreadPoolExecutor(4) as pool:
        taken = [id_ for part in [pool.submit(work) for _ in range(4)] for id_ in part.result()]
    assert len(taken) == len(set(taken)) == len(hooks) * len(cancelled)


def test_one_webhook_does_not_take_every_place(store: Store) -> None:
    slow = hook(store)
    for _ in range(9):
        with store.write() as connection:
            deliveries.test(connection, slow.id, **OURS)
    assert [due.webhook.id for due in take(store)] == [slow.id] * 4
    other = hook(store)
    with store.write() as connection:
        deliveries.test(connection, other.id, **OURS)
    assert [due.webhook.id for due in take(store, **{slow.id: 4})] == [other.id]


def test_an_outcome_that_comes_too_late_changes_nothing(store: Store) -> None:
    webhook = hook(store)
    with store.write() as connection:
        deliveries.test(connection, webhook.id, **OURS)
        [late] = deliveries.claim(connection, 8, -1)  # its lease is over at once
    [fresh] = take(store)
    assert fresh.delivery.id == late.delivery.id
    assert end(store, late, BAD, most_failures=1) is None
    assert end(store, fresh, GOOD) is None
    with store.read() as connection:
        [row] = deliveries.list_deliveries(connection, webhook.id, **OURS).data
        assert (row.state, row.attempts, [entry["status"] for entry in row.log]) == ("delivered", 2, [204])
        assert webhooks.get(connection, webhook.id, **OURS).failures == 0
        assert deliveries.counts(connection) == {"pending": 0, "delivered": 1, "failed": 0}


def test_failures_in_a_row_disable_a_webhook_and_a_success_forgives(store: Store) -> None:
    webhook = hook(store)
    policy: dict[str, Any] = {"schedule": (0, 0), "most_failures": 4}
    for attempts in ((BAD, BAD, GOOD), (BAD, BAD, BAD), (BAD,)):
        with store.write() as connection:
            deliveries.test(connection, webhook.id, **OURS)
        disabled = None
        for attempt in attempts:
            [due] = take(store)
            disabled = end(store, due, attempt, **policy)
    assert disabled is not None
    assert (disabled.failures, disabled.disabled_reason) == (4, "4 attempts in a row failed")
    assert take(store) == []
    with store.write() as connection:
        assert deliveries.counts(connection) == {"pending": 1, "delivered": 1, "failed": 1}
        with pytest.raises(WebhookDisabledError):
            deliveries.test(connection, webhook.id, **OURS)
        webhooks.enable(connection, webhook.id, **OURS)
    [due] = take(store)  # what waited goes out
    assert end(store, due, Attempt(410, None, 1)) is not None  # "gone" needs no second time
    with store.write() as connection:
        assert deliveries.purge(connection, older_than_seconds=-1) == 3


def test_secrets_are_not_in_the_database_and_rotate_with_an_overlap(store: Store) -> None:
    webhook = hook(store)
    [first] = webhook.secrets(store.key_secret)
    with store.write() as connection:
        rotated = webhooks.rotate(connection, webhook.id, **OURS)
    second, old = rotated.secrets(store.key_secret)
    assert old == first != second
    assert webhook.secrets(b"another service's secret") != [first]
    with store.read() as connection:
        row = connection.exec_driver_sql("SELECT * FROM webhooks").one()
    assert first.removeprefix("whsec_") not in str(row)


def test_organisations_do_not_see_each_others_webhooks_and_have_a_limit(store: Store) -> None:
    webhook = hook(store)
    theirs: dict[str, Any] = {"organisation": "org_other"}
    with store.write() as connection:
        delivery = deliveries.test(connection, webhook.id, **OURS)
        for call in (
            lambda: webhooks.get(connection, webhook.id, **theirs),
            lambda: webhooks.remove(connection, webhook.id, **theirs),
            lambda: webhooks.rotate(connection, webhook.id, **theirs),
            lambda: webhooks.enable(connection, webhook.id, **theirs),
            lambda: deliveries.test(connection, webhook.id, **theirs),
            lambda: deliveries.replay(connection, webhook.id, delivery.id, **theirs),
            lambda: deliveries.list_deliveries(connection, webhook.id, **theirs),
        ):
            with pytest.raises(NotFoundError):
                call()
        assert webhooks.list_webhooks(connection, **theirs).data == []
        for _ in range(webhooks.MOST_PER_ORGANISATION - 1):
            webhooks.create(connection, url="https://example.org/", **OURS)
        with pytest.raises(TooManyWebhooksError):
            webhooks.create(connection, url="https://example.org/", **OURS)
        webhooks.create(connection, url="https://example.org/", **theirs)
