"""One look at the database for all open event streams, a few times a second, however many there are."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import structlog
from anyio import to_thread
from sqlalchemy import select

from jobs.states import JobState
from jobs.store import Store
from jobs.tables import jobs

log = structlog.get_logger("fqt.api.hub")

_REST_SECONDS = 1.0


@dataclass(frozen=True)
class Tip:
    """The end of a job's log: its last ``seq``, and the job's state. ``state`` is ``None`` once the job is gone."""

    seq: int
    state: JobState | None

    @property
    def final(self) -> bool:
        """Whether no event will follow."""
        return self.state is None or self.state.terminal


class EventHub:
    """Tells waiting streams that a job's log has grown. Lives in one event loop; :meth:`close` ends all waiting."""

    def __init__(self, store: Store, *, interval: float = 0.2) -> None:
        self._store = store
        self._interval = interval
        self._wanted = asyncio.Event()
        self._watched: Counter[str] = Counter()
        self._tips: dict[str, Tip] = {}
        self._news = asyncio.Event()
        self.closed = False

    async def run(self) -> None:
        """Look at the watched jobs until :meth:`close`. A failing database is asked again in the next round."""
        while not self.closed:
            if not self._watched:
                self._wanted.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wanted.wait(), _REST_SECONDS)
                continue
            await asyncio.sleep(self._interval)
            try:
                tips = await to_thread.run_sync(self._look, list(self._watched))
            except Exception as error:  # noqa: BLE001 - the streams outlive an outage of the database
                log.warning("cannot look for events", error=str(error))
                continue
            if tips != self._tips:
                self._tips = tips
                self._wake()
        self._wake()

    def close(self) -> None:
        """End every stream. May be called from a signal handler: the loop notices within a moment."""
        self.closed = True
        self._wanted.set()

    @contextmanager
    def watch(self, job_id: str) -> Iterator[None]:
        """Include a job in the looks while the context is open."""
        self._watched[job_id] += 1
        self._wanted.set()
        try:
            yield
        finally:
            self._watched[job_id] -= 1
            if not self._watched[job_id]:
                del self._watched[job_id]
                self._tips.pop(job_id, None)

    async def wait(self, job_id: str, after: int) -> Tip | None:
        """Wait until the log of a watched job is longer than ``after``, or complete; ``None`` when closed."""
        while not self.closed:
            tip = self._tips.get(job_id)
            if tip is not None and (tip.seq > after or tip.final):
                return tip
            await self._news.wait()
        return None

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _look(self, job_ids: Iterable[str]) -> dict[str, Tip]:
        wanted = list(job_ids)
        with self._store.read() as connection:
            rows = connection.execute(select(jobs.c.id, jobs.c.next_seq, jobs.c.state).where(jobs.c.id.in_(wanted)))
            found = {row.id: Tip(row.next_seq - 1, JobState(row.state)) for row in rows}
        return {job_id: found.get(job_id, Tip(0, None)) for job_id in wanted}
