from __future__ import annotations

import httpx
import pytest

from fqt_client import Client
from fqt_client.cli import complete, main
from tests.client.cli.running import Run
from tests.client.fake import JOB_ID, Script, job, problem


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_what_the_service_has_and_is_silent_without_one(
    fqt: Run, script: Script, shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    http = httpx.MockTransport(script)
    monkeypatch.setattr(complete, "Client", lambda **options: Client("http://127.0.0.1:1", "x", http=http, **options))
    choices = [{"name": "fqt", "title": "1 bit"}, {"name": "fp32", "title": "none"}]
    script.on("GET", "/v1/jobs", httpx.Response(200, json={"data": [job(name="mine")], "has_more": False}))
    script.on("GET", "/v1/methods", httpx.Response(200, json={"data": choices, "has_more": False}))
    script.on("GET", "/v1/architectures", httpx.ConnectError("refused"))
    script.on("GET", "/v1/datasets", problem(503, "unavailable", "Starting."))

    def completed(words: str) -> str:
        for name, value in {
            "_FQT_COMPLETE": f"complete_{shell}",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
            "_TYPER_COMPLETE_ARGS": words,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit):
            main([])
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out

    assert JOB_ID in completed("fqt watch job_")
    assert "last" not in completed("fqt watch job_")
    told = completed("fqt submit --method fq")
    assert ("fqt" in told, "fp32" in told) == (True, False)
    for words in ("fqt submit --architecture r", "fqt datasets show d"):
        assert completed(words).strip() in {"", "_files"}  # zsh is told to offer files instead
    assert script.waits == []
