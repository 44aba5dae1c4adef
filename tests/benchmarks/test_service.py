"""The parts of ``python -m benchmarks.service`` that need no servers, and the claims, on SQLite."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import results
from benchmarks.service import __main__ as command
from benchmarks.service import claims, figures, page, place, turns
from benchmarks.service.http import Connection
from jobs import lease, queues
from tests.worker.helpers import until


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert (figures.percentile(values, 0.99), figures.percentile(values, 0.5)) == (99, 50)
    assert figures.percentile([7.0], 0.99) == 7


def test_one_part_measured_anew_leaves_the_others_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    values = iter([1.0, 2.0, 3.0])
    parts = {
        name: lambda name=name: [figures.row(name, "sqlite", f"time of {name}", next(values), "ms", most=5)]
        for name in ("claims", "streams")
    }
    monkeypatch.setattr(command, "PARTS", parts)
    path = tmp_path / "service.json"
    command.main(["--json", str(path)])
    command.main(["--json", str(path), "--part", "claims"])
    rows = results.of_service(results.read([path]))
    assert [(row["part"], row["value"]) for row in rows] == [("claims", 3.0), ("streams", 2.0)]
    assert "| time of claims  | sqlite   |   3 ms |    5 ms |" in capsys.readouterr().out


def test_a_family_can_be_stopped_and_goes_on_and_others_do_not_notice(tmp_path: Path) -> None:
    counts = [tmp_path / name / "count" for name in ("ours", "others")]
    program = "import sys\ni = 0\nwhile True:\n    i += 1\n    open(sys.argv[1], 'w').write(str(i))"
    busy = []
    try:
        for count in counts:
            count.parent.mkdir()
            busy.append(subprocess.Popen([sys.executable, "-c", program, str(count)]))
            until(lambda count=count: count.exists() and count.read_text(), 30)
        ours, other = busy
        assert turns.family(tmp_path / "ours") >= {ours.pid, other.pid}  # children of this process
        others = turns.family(tmp_path) - {ours.pid}
        assert turns.stop(tmp_path / "ours", others) == {ours.pid}
        stood, ran = (count.read_text() for count in counts)
        until(lambda: counts[1].read_text() not in {"", ran}, 30)
        assert counts[0].read_text() == stood
        turns.go_on({ours.pid})
        until(lambda: counts[0].read_text() not in {"", stood}, 30)
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_the_table_goes_between_the_markers_of_the_page(tmp_path: Path) -> None:
    copy = tmp_path / "performance.md"
    copy.write_text(page.PAGE.read_text())
    page.main(["--page", str(copy)])
    assert copy.read_text() == page.PAGE.read_text()  # what is stored is what is shown


def test_claims_are_timed_while_jobs_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[int] = []
    claim = lease.claim

    def counted(connection: Any, *arguments: Any, **options: Any) -> Any:
        waiting.append(len(queues.waiting(connection, 100)))
        return claim(connection, *arguments, **options)

    monkeypatch.setattr(lease, "claim", counted)
    monkeypatch.setattr(claims, "_WAITING", 20)
    monkeypatch.setattr(claims, "_CLAIMS", 12)
    assert len(claims._claims(place.SQLITE, 3)) == 2
    assert waiting == list(range(32, 20, -1))


def test_the_client_reads_answers_and_event_streams() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode():
            if head.startswith("POST"):
                length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
                assert "Idempotency-Key: one" in head
                body = await reader.readexactly(length)
                writer.write(b"HTTP/1.1 201 Created\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            else:
                writer.write(b'HTTP/1.1 200 OK\r\n\r\n: hello\n\nid: 1\ndata: {"seq": 1}\n\n')
                writer.close()
                return

    async def talk() -> tuple[list[tuple[int, bytes]], list[Any]]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            client = Connection(server.sockets[0].getsockname()[1], {"Authorization": "Bearer x"})
            answers = [await client.post("/v1/jobs", body, {"Idempotency-Key": "one"}) for body in (b"{}", b"[1]")]
            told = [event async for event in client.stream("/v1/jobs/1/events/stream")]
            client.close()
        return answers, told

    assert asyncio.run(talk()) == ([(201, b"{}"), (201, b"[1]")], [{"seq": 1}])
