"""The Celery application of a worker: two tasks, rung by messages that may be lost, doubled or late without harm."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence

import structlog
from celery import Celery, signals
from celery.worker import state

from jobs import logs
from jobs.asks import DESKS
from jobs.offers import Offer
from jobs.queues import ANY_QUEUE
from jobs.settings import Settings
from jobs.store import Store
from worker import gpu, tracing
from worker.announcer import Announcer
from worker.asks import Listener
from worker.capacity import child_limits
from worker.inspection import INSPECTION_COMMAND, Inspector
from worker.slots import Slots
from worker.supervisor import TRAINING_COMMAND
from worker.workdir import sweep

_log = structlog.stdlib.get_logger(__name__)

RUN_TASK = "fqt.run"
INSPECT_TASK = "fqt.inspect"
INSPECT_QUEUE = "inspect"


class Worker:
    """One worker process: its slots, its Celery application, and the event that makes everything in it come to rest."""

    def __init__(
        self,
        settings: Settings,
        *,
        training_command: Sequence[str] = TRAINING_COMMAND,
        inspection_command: Sequence[str] = INSPECTION_COMMAND,
    ) -> None:
        self._gpu = gpu.look()
        self._settings = gpu.served(settings, self._gpu)
        self._store = Store.open(self._settings)
        self._draining = threading.Event()
        self._slots = Slots(self._store, self._draining, training_command)
        self._inspector = Inspector(self._store, self._draining, inspection_command)
        self.app = self._celery()

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; then give running jobs back at a checkpoint. Returns the exit code."""
        self._heed_signals()
        signals.setup_logging.connect(_keep_our_logging)
        signals.worker_shutting_down.connect(self._drain)
        traces = tracing.start()
        removed = sweep(self._settings.data_dir / "work")
        queues = [*self._settings.queue_names, ANY_QUEUE, INSPECT_QUEUE]
        _log.info(
            "worker starts",
            queues=queues,
            slots=self._settings.slots,
            leftovers_removed=removed,
            gpu=self._gpu.name or self._gpu.reason,
        )
        poller = threading.Thread(target=self._slots.poll, name="poll", daemon=True)
        poller.start()
        listeners = [
            threading.Thread(target=Listener(self._store, self._draining, desk).run, name=f"asks-{desk}", daemon=True)
            for desk in DESKS
        ]
        announcer = threading.Thread(target=self._announcer().run, name="announcer", daemon=True)
        for thread in (*listeners, announcer):
            thread.start()
        celery = self.app.Worker(
            pool="threads",
            concurrency=self._settings.slots + 2,  # doorbells to a busy worker, and inspections, do not wait for a slot
            queues=queues,
            loglevel=self._settings.log_level.upper(),
            quiet=True,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        try:
            celery.start()
        finally:
            self._draining.set()
            poller.join()
            for thread in (*listeners, announcer):
                thread.join()
            self._slots.join()
            self._store.close()
            if traces is not None:
                traces.shutdown()
        _log.info("worker stopped")
        return int(celery.exitcode or 0)

    def _celery(self) -> Celery:
        app = Celery("fqt", broker=self._settings.broker_url.get_secret_value(), set_as_current=False)
        app.conf.update(
            accept_content=["json"],
            task_serializer="json",
            task_ignore_result=True,
            # Early: a message is a doorbell. What is to be done, and by whom, is in the database.
            task_acks_late=False,
            worker_prefetch_multiplier=1,
            worker_hijack_root_logger=False,
            worker_redirect_stdouts=False,
            worker_send_task_events=False,
            broker_connection_retry_on_startup=True,
            broker_connection_max_retries=None,
            broker_transport_options={"socket_keepalive": True, "health_check_interval": 10},
        )

        @app.task(name=RUN_TASK)  # type: ignore[untyped-decorator]
        def run(job_id: str) -> None:
            with structlog.contextvars.bound_contextvars(rung_for=job_id):
                self._slots.work()

        @app.task(name=INSPECT_TASK)  # type: ignore[untyped-decorator]
        def inspect(dataset_id: str) -> None:
            self._inspector.run(dataset_id)

        return app

    def _announcer(self) -> Announcer:
        memory = child_limits(self._settings).memory_bytes
        offer = Offer(tuple(self._settings.queue_names), memory, self._gpu.name)
        return Announcer(self._settings, offer, self._draining)

    def _heed_signals(self) -> None:
        """Drain on SIGTERM and SIGINT from now on; Celery takes them over later, and jobs may run before that."""

        def stop(_number: int, _frame: object) -> None:
            self._drain()
            state.should_stop = 0  # Celery leaves with this exit code as soon as it looks

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)

    def _drain(self, **_: object) -> None:
        self._draining.set()


def _keep_our_logging(**_: object) -> None:
    """A receiver of this signal is what keeps Celery from configuring logging by itself."""


def main(settings: Settings) -> int:
    """Run a worker process with these settings."""
    logs.configure(settings.log_level, settings.log_format)
    return Worker(settings).run()
