from __future__ import annotations

import httpx
import pytest

from fqt_client import Client
from fqt_client.cli import findings, main, plugins, session
from tests.client.cli.running import Run
from tests.client.fake import Script


@pytest.fixture
def fqt(script: Script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command line against the scripted service."""
    http, wait = httpx.MockTransport(script), script.waits.append
    monkeypatch.setattr(session, "Client", lambda: Client("http://127.0.0.1:1", "fqt_test", http=http, sleep=wait))
    for module in (plugins, findings):
        monkeypatch.setattr(module, "entry_points", lambda group: [])

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
