from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.settings import Settings
from jobs.store import Store
from tests.worker.helpers import FAKE, QUICK
from worker.slots import Slots


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", database_url=database_url, **QUICK)


@pytest.fixture
def quick_store(tmp_path: Path) -> Iterator[Store]:
    """A store on SQLite, for what does not depend on the database."""
    opened = Store.open(Settings(data_dir=tmp_path / "data", **QUICK), migrate=True)
    yield opened
    opened.close()


@dataclass
class Bench:
    """The slots of a worker in this process, without Celery, with scripted children."""

    store: Store

    def __post_init__(self) -> None:
        self.draining = threading.Event()
        self.slots = Slots(self.store, self.draining, FAKE)
        self.threads: list[threading.Thread] = []

    def ring(self) -> threading.Thread:
        thread = threading.Thread(target=self.slots.work)
        thread.start()
        self.threads.append(thread)
        return thread

    def rest(self) -> None:
        self.draining.set()
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture
def bench(quick_store: Store) -> Iterator[Bench]:
    made = Bench(quick_store)
    yield made
    made.rest()
