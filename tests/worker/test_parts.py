"""The parts of a supervisor, each by itself: buffer, journal, pulse, capacity, folders, inspection."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError, ProgrammingError

from fqt_core.events import LogLine, StepDone
from jobs import datasets, events, imports, jobs, lease, urls
from jobs.errors import LeaseLostError
from jobs.settings import Settings
from jobs.sqltypes import now
from jobs.store import Store
from jobs.tables import jobs as table
from tests.jobs.helpers import claim, running, state
from tests.worker.helpers import QUICK, log, until
from worker import capacity
from worker.buffer import EventBuffer
from worker.inspection import Inspector, _verdict
from worker.journal import Journal
from worker.pulse import Pulse
from worker.workdir import sweep, workdir

STEP = StepDone(step=1, epoch=0, loss=1, learning_rate=1, images_per_second=1)
LINE = LogLine(message="x")


def away() -> OperationalError:
    return OperationalError("INSERT", {}, ConnectionError("server closed the connection"))


class TestBuffer:
    def test_it_keeps_order_and_ends(self) -> None:
        buffer = EventBuffer()
        for _ in range(3):
            buffer.put(LINE)
        assert len(buffer.take(2, 0)) == 2
        buffer.close()
        assert not buffer.exhausted
        assert buffer.take(5, 10) == [LINE]
        assert buffer.exhausted
        assert buffer.take(5, 10) == []

    def test_a_full_buffer_leaves_out_steps_and_says_how_many_and_never_waits_for_them(self) -> None:
        buffer = EventBuffer(capacity=3, reserve=2)
        for _ in range(10):
            buffer.put(STEP)
        buffer.put(LINE)
        buffer.put(LINE)
        assert buffer.take_dropped() == 7
        assert buffer.take_dropped() == 0
        assert buffer.take(100, 0) == [STEP] * 3 + [LINE] * 2

    def test_what_must_not_be_lost_waits_for_room(self) -> None:
        buffer = EventBuffer(capacity=1, reserve=0)
        buffer.put(LINE)
        late = threading.Thread(target=buffer.put, args=(LINE,))
        late.start()
        late.join(0.1)
        assert late.is_alive()
        assert buffer.take(1, 0) == [LINE]
        late.join(5)
        assert buffer.take(1, 0) == [LINE]


class TestJournal:
    def test_a_write_is_repeated_until_the_database_is_back(self, store: Store) -> None:
        job = running(store)
        journal, calls = Journal(store, job, threading.Event()), []

        def write(connection):
            calls.append(1)
            if len(calls) < 3:
                raise away()
            return events.append(connection, job.id, 1, [("log", {"message": "once"})])

        assert journal.write(write) == 3
        assert [event.data["message"] for event in log(store, job.id) if event.type == "log"] == ["once"]

    def test_a_commit_of_unknown_outcome_is_looked_up_and_not_repeated(self, store: Store) -> None:
        job = running(store)
        journal, calls = Journal(store, job, threading.Event()), []

        def write(connection):
            calls.append(1)
            events.append(connection, job.id, 1, [("log", {"message": "once"})])
            connection.commit()  # it got through, and then the connection broke
            raise away()

        with store.write() as connection:
            jobs.request_cancel(connection, job.id)  # an event of the same time that is not ours
        assert journal.write(write) is None
        assert len(calls) == 1
        assert [event.data.get("message") for event in log(store, job.id) if event.type == "log"] == ["once"]

    def test_it_gives_up_when_the_lease_is_lost_and_raises_what_is_wrong(self, store: Store) -> None:
        job, lost = running(store), threading.Event()
        journal = Journal(store, job, lost)

        def wrong(_connection):
            raise ProgrammingError("SELEC", {}, ValueError("syntax"))

        def never(_connection):
            lost.set()
            raise away()

        with pytest.raises(ProgrammingError):
            journal.write(wrong)
        with pytest.raises(LeaseLostError):
            journal.write(never)


class TestPulse:
    def test_it_beats_from_the_beginning_and_sees_requests(self, store: Store) -> None:
        job = running(store, 0.2)  # would lapse long before the end of this test
        with Pulse(store, job) as pulse:
            time.sleep(1.0)
            with store.write() as connection:
                assert lease.expired(connection) == []
                jobs.request_cancel(connection, job.id)
            until(lambda: pulse.state == "cancelling", 2)
            assert not pulse.lost.is_set()

    def test_a_lost_lease_is_noticed_and_acted_on_at_once(self, store: Store) -> None:
        job, killed = running(store), threading.Event()
        with Pulse(store, job) as pulse:
            pulse.on_lost(killed.set)
            with store.write() as connection:
                connection.execute(update(table).values(lease_epoch=2))
            assert killed.wait(store.settings.heartbeat_seconds + 1)
            assert pulse.lost.is_set()
            assert not pulse.database_away
            killed.clear()
            pulse.on_lost(killed.set)  # a child that was started too late goes as well
            assert killed.is_set()

    def test_a_database_that_is_away_for_a_whole_lease_ends_the_attempt(
        self, quick_store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job, began = running(quick_store), time.monotonic()

        def refuse(*_args):
            raise away()

        monkeypatch.setattr("worker.pulse.lease.look", refuse)
        monkeypatch.setattr("worker.pulse.lease.heartbeat", refuse)
        with Pulse(quick_store, job) as pulse:
            assert pulse.lost.wait(10)
            assert pulse.database_away
        assert time.monotonic() - began >= quick_store.settings.lease_seconds

    def test_a_database_that_neither_answers_nor_refuses_ends_the_attempt_as_well(
        self, quick_store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A link that was cut without a word: whoever asks is left hanging, and must not be who watches the time."""
        job, link, killed = running(quick_store), threading.Event(), threading.Event()

        def hang(*_args):
            link.wait(60)
            raise away()

        monkeypatch.setattr("worker.pulse.lease.look", hang)
        monkeypatch.setattr("worker.pulse.lease.heartbeat", hang)
        with Pulse(quick_store, job) as pulse:
            pulse.on_lost(killed.set)
            assert killed.wait(10)
            assert pulse.database_away
            link.set()


class TestCapacity:
    def test_cores_and_memory_are_divided_among_slots(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(capacity, "usable_cores", lambda: 10)
        monkeypatch.setattr(capacity, "usable_memory", lambda: 10 << 30)
        settings = Settings(data_dir=tmp_path, slots=4)
        assert capacity.threads_per_slot(settings) == 2
        assert capacity.threads_per_slot(Settings(data_dir=tmp_path, slots=16)) == 1
        assert capacity.threads_per_slot(Settings(data_dir=tmp_path, slots=2, threads=6)) == 3
        assert capacity.child_limits(settings).memory_bytes == int((10 << 30) * 0.9) // 4
        assert capacity.child_limits(settings).file_bytes == settings.child_disk_bytes
        assert capacity.child_limits(Settings(data_dir=tmp_path, child_memory_bytes=2**30)).memory_bytes == 2**30

    def test_a_containers_quota_counts(self, tmp_path: Path) -> None:
        (tmp_path / "cpu.max").write_text("150000 100000\n")
        (tmp_path / "memory.max").write_text("1073741824\n")
        assert capacity.usable_cores(tmp_path) == 1
        assert capacity.usable_memory(tmp_path) == 2**30
        (tmp_path / "cpu.max").write_text("max 100000\n")
        (tmp_path / "memory.max").write_text("max\n")
        assert capacity.usable_cores(tmp_path) >= 1
        assert capacity.usable_memory(tmp_path) > 2**30
        assert capacity.usable_memory(tmp_path / "none") == capacity.usable_memory(tmp_path)


class TestWorkdir:
    def test_only_folders_of_the_dead_are_swept(self, tmp_path: Path) -> None:
        (tmp_path / "dead").mkdir()
        (tmp_path / "dead" / "lock").touch()
        (tmp_path / "strange").mkdir()
        with workdir(tmp_path, "alive") as folder:
            (folder / "file").touch()
            assert folder.stat().st_mode & 0o777 == 0o700
            assert sweep(tmp_path) == 1
            assert (folder / "file").exists()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["strange"]
        assert sweep(tmp_path / "none") == 0


class TestInspection:
    def upload(self, store: Store) -> str:
        blob = store.blobs.put_stream([b"upload"])
        with store.write() as connection:
            return datasets.create(connection, store.blobs, blob, name="x").id

    def get(self, store: Store, dataset_id: str) -> datasets.Dataset:
        with store.read() as connection:
            return datasets.get(connection, dataset_id)

    def inspector(self, store: Store, code: str, draining: threading.Event | None = None) -> Inspector:
        return Inspector(store, draining or threading.Event(), [sys.executable, "-c", code])

    def test_a_crash_is_repeated_a_few_times_and_then_told(self, quick_store: Store) -> None:
        dataset_id = self.upload(quick_store)
        inspector = self.inspector(quick_store, "import os; os.abort()")
        assert [inspector.run(dataset_id) for _ in range(4)] == [False, False, True, False]
        dataset = self.get(quick_store, dataset_id)
        assert dataset.state == "invalid"
        assert dataset.error is not None
        assert (dataset.error["code"], "SIGABRT" in dataset.error["message"]) == ("inspection_failed", True)

    def test_a_look_that_takes_too_long_is_ended(self, tmp_path: Path) -> None:
        settings = Settings(data_dir=tmp_path, inspect_seconds=0.5, **QUICK)
        store = Store.open(settings, migrate=True)
        dataset_id = self.upload(store)
        assert self.inspector(store, "import time; time.sleep(60)").run(dataset_id)
        error = self.get(store, dataset_id).error
        assert error is not None
        assert error["code"] == "inspection_too_long"
        store.close()

    @pytest.mark.parametrize(("complete", "said"), [(True, "has 20 faults and"), (False, "has at least 20 faults (")])
    def test_that_reading_stopped_is_told(self, complete: bool, said: str) -> None:
        profile = {"faults": [{"where": "a", "message": "x", "remedy": ""}] * 20, "complete": complete}
        assert said in _verdict(profile)["error"]["message"]

    def test_a_draining_worker_leaves_the_look_to_another(self, quick_store: Store) -> None:
        dataset_id, draining = self.upload(quick_store), threading.Event()
        draining.set()
        assert not self.inspector(quick_store, "import time; time.sleep(60)", draining).run(dataset_id)
        with quick_store.read() as connection:
            assert datasets.unchecked(connection) == [dataset_id]

    @pytest.mark.parametrize("left", ["link", "endless", "folder"])
    def test_only_a_plain_file_of_a_childs_folder_is_kept_as_thumbnails(
        self, quick_store: Store, left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("worker.inspection._LARGEST_THUMBNAILS", 1000)
        (tmp_path / "secret").write_bytes(b"secret")
        make = {
            "link": f"os.symlink({str(tmp_path / 'secret')!r}, path)",
            "endless": "open(path, 'wb').write(bytes(1001))",
            "folder": "os.mkdir(path)",
        }[left]
        code = (
            "import os, sys; path = os.path.join(sys.argv[1], 'thumbnails.webp'); "
            f"{make}; os.write(int(sys.argv[3]), "
            'b\'{"type": "profiled", "profile": {"faults": []}}\\n\')'
        )
        dataset_id = self.upload(quick_store)
        assert self.inspector(quick_store, code).run(dataset_id)
        dataset = self.get(quick_store, dataset_id)
        assert (dataset.state, dataset.thumbnails_sha256) == ("ready", None)

    def test_one_slow_download_holds_up_nothing_else(self, tmp_path: Path) -> None:
        store = Store.open(Settings(data_dir=tmp_path, dataset_urls="public", **QUICK), migrate=True)
        url, draining = "https://public.example/a.zip", threading.Event()
        target = urls.parse(url, private=False, ports=[443])
        with store.write() as connection:
            slow, other = (
                imports.from_url(connection, url, target, name=None, sha256=None, organisation="org_default").id
                for _ in range(2)
            )
        sleep, said = ([sys.executable, "-c", code] for code in ("import time; time.sleep(60)", "raise SystemExit(9)"))
        inspector = Inspector(store, draining, said, sleep)
        thread = threading.Thread(target=inspector.run, args=(slow,))
        thread.start()
        until(lambda: self.get(store, slow).check_epoch == 1)
        assert not inspector.run(other)
        assert self.get(store, other).check_epoch == 0, "left for when the first is through"
        assert not inspector.run(self.upload(store)), "looked through, and to be repeated"
        draining.set()
        thread.join(20)
        assert not thread.is_alive()
        store.close()

    def test_a_damaged_upload_is_told_apart(self, quick_store: Store) -> None:
        dataset_id = self.upload(quick_store)
        quick_store.blobs.path(self.get(quick_store, dataset_id).sha256).write_bytes(b"other")
        assert self.inspector(quick_store, "").run(dataset_id)
        error = self.get(quick_store, dataset_id).error
        assert error is not None
        assert error["code"] == "upload_damaged"


def test_a_job_in_hand_when_the_database_was_away_is_handed_back_without_blame(quick_store: Store) -> None:
    from worker.supervisor import Supervisor

    job = running(quick_store)
    with quick_store.write() as connection:
        connection.execute(update(table).values(lease_expires_at=now(-1)))
    Supervisor(quick_store, 1, threading.Event(), [])._hand_back(job)
    assert state(quick_store, job.id) == "queued"
    again = claim(quick_store)
    assert again is not None
    assert again.failures == 0
    Supervisor(quick_store, 1, threading.Event(), [])._hand_back(job)  # another's by now: hands off
    assert state(quick_store, job.id) == "running"


def test_a_folder_that_never_got_its_lock_is_swept_when_it_is_old(tmp_path: Path) -> None:
    old, young = tmp_path / "job_a-1", tmp_path / "job_b-1"
    for folder in (old, young):
        folder.mkdir()
    os.utime(old, (time.time() - 600, time.time() - 600))
    assert sweep(tmp_path) == 1
    assert (old.exists(), young.exists()) == (False, True)
