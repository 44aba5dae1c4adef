from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import httpx
import pytest

from fqt_client.cli.exits import MEANINGS, ExitCode
from tests.client.cli.running import PATH, Run
from tests.client.fake import JOB_ID, Script, event, job, problem, stream

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["submit", "--dataset", "digits", "--set", "epochs"], "'epochs' is not of the form PATH=VALUE"),
        (["submit", "--dataset", "digits", "--set", "name.x=1", "--set", "name.x.y=1"], "x is no object"),
        (["submit"], "name a data set, e.g. --dataset digits"),
        (["submit", "--bogus"], "No such option"),
        (["bogus"], "No such command 'bogus'"),
        (["watch"], "Missing argument"),
        (["jobs", "--limit", "0"], "--limit"),
    ],
)
def test_wrong_usage_is_one_line_and_2(fqt: Run, arguments: list[str], said: str) -> None:
    code, out, err = fqt(*arguments)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert "--help`" in err
    assert out == ""


def test_what_the_machine_refuses_is_no_fault_of_ours(fqt: Run, script: Script) -> None:
    script.on("GET", "/v1/jobs", PermissionError(13, "Permission denied", "/somewhere"))
    assert fqt("jobs") == (5, "", "fqt: cannot use /somewhere: Permission denied\n")


def test_a_key_that_is_not_accepted_comes_with_the_remedy(fqt: Run, script: Script) -> None:
    script.on("GET", "/v1/jobs", problem(401, "unauthenticated", "A valid API key is needed."))
    code, _, err = fqt("jobs")
    assert code == 4
    assert "FQT_API_KEY" in err


def test_no_service_is_3(fqt: Run, script: Script) -> None:
    script.on("GET", "/v1/jobs", httpx.ConnectError("connection refused"))
    code, _, err = fqt("jobs", "--json")
    assert code == 3
    assert "cannot reach the service at http://127.0.0.1:1 (connection refused) — start it with `fqt up`" in err


def test_a_fault_of_ours_is_told_in_one_line(fqt: Run, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    script.on("GET", "/v1/jobs", ZeroDivisionError("oh"))
    code, _, err = fqt("jobs")
    assert code == 70
    assert err.startswith("fqt: ZeroDivisionError: oh")
    assert err.count("\n") == 1
    monkeypatch.setenv("FQT_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        fqt("jobs")


def test_nothing_from_elsewhere_reaches_the_terminal_raw(fqt: Run, script: Script) -> None:
    name = "\x1b[31m\x9bred\x07"
    script.on("GET", "/v1/jobs", httpx.Response(200, json={"data": [job(name=name)], "has_more": False}))
    profile = {"classes": [{"name": name, "count": 1}], "images": 1}
    script.on("GET", "/v1/datasets/ds_1", httpx.Response(200, json={"id": "ds_1", "profile": profile}))
    events = [event(1, "log", message=name), event(2, "warning", message=name)]
    script.on("GET", f"{PATH}/events", httpx.Response(200, json={"data": events, "has_more": False}))
    script.on("GET", f"{PATH}/events/stream", stream(*events, end=True))
    script.on("GET", PATH, httpx.Response(200, json=job("failed", name=name, error={"message": name})))
    script.on("POST", f"{PATH}/cancel", problem(409, "conflict", name))
    for arguments in (["jobs"], ["datasets", "show", "ds_1"], ["logs", JOB_ID], ["watch", JOB_ID], ["cancel", JOB_ID]):
        _, out, err = fqt(*arguments)
        assert "red" in out + err, arguments
        assert not set("\x1b\x9b\x07") & set(out + err), arguments


def test_exit_codes_are_told_by_the_help_and_by_the_documentation(fqt: Run) -> None:
    table = "".join(f"| {code.value} | {meaning} |\n" for code, meaning in MEANINGS.items())
    assert list(MEANINGS) == list(ExitCode)
    assert table in (ROOT / "docs" / "client.md").read_text()
    told = " ".join(fqt("--help")[1].split())
    assert all(f"{code.value} {meaning.replace('`', '')}" in told for code, meaning in MEANINGS.items())


def test_help_and_version_need_no_service(fqt: Run) -> None:
    for arguments in ([], ["--help"], ["datasets"], ["submit", "--help"]):
        code, out, err = fqt(*arguments)
        assert code == 0
        assert "Usage" in out
        assert err == ""
    assert fqt("--version")[1].startswith("fqt 0.")


@pytest.mark.parametrize(
    ("redirection", "said"),
    [
        ("> /dev/full", "fqt: cannot read or write: No space left on device\n"),
        (">&-", "fqt: stdout is closed — send it to a file or to /dev/null\n"),
        (">&- 2>&-", ""),
    ],
)
def test_output_that_cannot_be_written_is_told(redirection: str, said: str) -> None:
    run = subprocess.run(
        f"{sys.executable} -m fqt_client --help {redirection}", shell=True, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (5, "", said)


def test_ctrl_c_while_it_loads_is_quiet() -> None:
    # The interruption comes from the import of a module that the command needs.
    code = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'rich': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from fqt_command import main\n"
        "sys.exit(main())\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "fqt: interrupted\n")
    [script] = entry_points(group="console_scripts", name="fqt")
    assert script.value == "fqt_command:main"


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = "import sys; from fqt_client.cli import main; sys.exit(main(['--help']))"
    run = subprocess.run(
        f'{sys.executable} -c "{code}" | true; exit ${{PIPESTATUS[0]}}',
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
