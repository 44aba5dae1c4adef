"""Sends what waits in the outbox of webhooks. Any number of processes may run it at the same time."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import structlog
from sqlalchemy.exc import SQLAlchemyError
from standardwebhooks import Webhook as Signer

from api.outgoing import OutgoingError, post
from jobs import deliveries
from jobs.deliveries import MOST_FAILURES, SCHEDULE, Attempt, Due
from jobs.store import Store

log = structlog.get_logger("fqt.api.deliverer")

TIMEOUT_SECONDS = 15.0
_AT_ONCE = 8
# Time for one attempt, with a name server that is slow; whoever took it on is thought dead after that.
LEASE_SECONDS = 60.0
_LAST_SECONDS = 2.0


class Deliverer:
    """Sends deliveries that are due, a few at the same time, and writes down what became of them.

    Args:
        store: where the outbox is.
        told: called with the outcome of each attempt (``delivered`` or ``failed``) and its seconds.
        schedule: seconds before each further attempt.
        most_failures: failed attempts in a row after which a webhook is disabled.
        timeout: seconds for one attempt.
        lease_seconds: how long a delivery is nobody else's while it is sent.
    """

    def __init__(
        self,
        store: Store,
        *,
        told: Callable[[str, float], None] | None = None,
        schedule: Sequence[float] = SCHEDULE,
        most_failures: int = MOST_FAILURES,
        timeout: float = TIMEOUT_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._store = store
        self._told = told
        self._schedule = schedule
        self._most_failures = most_failures
        self._timeout = timeout
        self._lease_seconds = lease_seconds
        self._lock = threading.Lock()
        self._busy: Counter[str] = Counter()
        self._freed = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set. What is being sent then has a moment; if it ends later, it is sent once more."""
        while not stop.is_set():
            taken = 0
            try:
                taken = self.run_once()
            except Exception as error:  # noqa: BLE001 - outlives every outage; the next round tries again
                log.warning("a round of the deliverer failed; it will be repeated", error=str(error))
            if not taken:
                self._rest(stop)
        deadline = time.monotonic() + _LAST_SECONDS
        while any(self._busy.values()) and time.monotonic() < deadline:
            time.sleep(0.02)

    def run_once(self) -> int:
        """Take on what is due and there is room for; return how many. Each is sent in a thread of its own."""
        with self._lock:
            busy = dict(self._busy)
        room = _AT_ONCE - sum(busy.values())
        if room <= 0:
            return 0
        with self._store.read() as connection:
            if not deliveries.anything_due(connection):
                return 0
        with self._store.write() as connection:
            found = deliveries.claim(connection, room, self._lease_seconds, busy=busy)
        for due in found:
            with self._lock:
                self._busy[due.webhook.id] += 1
            # A daemon: a receiver that is slow to answer must not hold up the end of the process.
            threading.Thread(target=self._deliver, args=(due,), name="delivery", daemon=True).start()
        return len(found)

    def _rest(self, stop: threading.Event) -> None:
        """Wait for the next round; less, while others of a webhook wait for one of it to end."""
        self._freed.clear()
        if not any(self._busy.values()):
            stop.wait(self._store.settings.reaper_seconds)
            return
        deadline = time.monotonic() + self._store.settings.reaper_seconds
        while not stop.is_set() and not self._freed.is_set() and (left := deadline - time.monotonic()) > 0:
            self._freed.wait(min(left, 0.2))

    def _deliver(self, due: Due) -> None:
        try:
            attempt = self._send(due)
            with self._store.write() as connection:
                disabled = deliveries.finish(
                    connection, due, attempt, schedule=self._schedule, most_failures=self._most_failures
                )
            if disabled is not None:
                log.warning(
                    "webhook disabled", webhook=disabled.id, reason=disabled.disabled_reason, failures=disabled.failures
                )
        except SQLAlchemyError as error:  # it is sent again when its lease lapses
            log.warning(
                "the outcome of a delivery could not be written down", delivery=due.delivery.id, error=str(error)
            )
        except Exception:
            log.exception("a delivery broke down", delivery=due.delivery.id)
        finally:
            with self._lock:
                self._busy[due.webhook.id] -= 1
            self._freed.set()

    def _send(self, due: Due) -> Attempt:
        begin = time.perf_counter()
        status, error = None, None
        try:
            status = post(
                due.webhook.url,
                due.delivery.body.encode(),
                signed(due, due.webhook.secrets(self._store.key_secret)),
                seconds=self._timeout,
                private=self._store.settings.webhook_private,
            )
        except OutgoingError as problem:
            error = str(problem)
        seconds = time.perf_counter() - begin
        attempt = Attempt(status, error, round(seconds * 1000))
        outcome = "delivered" if attempt.succeeded else "failed"
        if self._told is not None:
            self._told(outcome, seconds)
        log.info(
            "webhook " + outcome,
            webhook=due.webhook.id,
            delivery=due.delivery.id,
            attempt=due.delivery.attempts,
            status=status,
            error=error,
            milliseconds=attempt.milliseconds,
        )
        return attempt


def signed(due: Due, secrets: Sequence[str]) -> dict[str, str]:
    """The headers of the Standard Webhooks scheme: one signature for each secret that counts now."""
    instant = datetime.now(UTC)
    message = due.delivery
    return {
        "Content-Type": "application/json",
        "User-Agent": "fqt-webhooks",
        "webhook-id": message.id,
        "webhook-timestamp": str(int(instant.timestamp())),
        "webhook-signature": " ".join(Signer(secret).sign(message.id, instant, message.body) for secret in secrets),
    }
