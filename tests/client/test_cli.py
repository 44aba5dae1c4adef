from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer

from fqt_client import Client
from fqt_client.cli import complete, findings, main, plugins, session
from fqt_client.cli.main import build_app
from tests.client import models
from tests.client.fake import JOB_ID, Script, event, job, problem, stream

PATH = f"/v1/jobs/{JOB_ID}"
Run = Callable[..., tuple[int, str, str]]


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


def _run_through(script: Script, state: str = "succeeded") -> None:
    log = event(2, "log", message="training", started={"total_steps": 4, "epochs": 2})
    steps = [event(2 + n, kind="step", step=n, epoch=n / 2, loss=1 / n, images_per_second=50.0) for n in range(1, 5)]
    cosines = {"conv1": {"accumulated_dw_cosine": 0.125}, "conv2": {"accumulated_dw_cosine": 0.5}, "conv3": {}}
    noise = event(7, kind="telemetry", step=4, images=16, layers=cosines)
    epoch = event(8, kind="epoch", step=4, epoch=2, train_loss=0.5, validation_accuracy=0.875)
    warning = event(9, "warning", code="slow", message="the kernels are the slow ones")
    last = event(10, "state", **{"from": "running", "to": state, "reason": "done"})
    script.on(
        "GET",
        f"{PATH}/events/stream",
        stream(event(1, "state", to="running"), log, *steps, noise, epoch, warning, last, end=True),
    )
    error = {"code": "nan", "message": "the loss is not finite", "param": "training.learning_rate"}
    times = {"started_at": "2026-01-02T03:04:05Z", "finished_at": "2026-01-02T03:05:12Z"}
    script.on("GET", PATH, httpx.Response(200, json=job(state, error=error if state == "failed" else None, **times)))


def test_watch_tells_epochs_warnings_and_the_outcome_in_plain_lines(fqt: Run, script: Script) -> None:
    _run_through(script)
    code, out, err = fqt("watch", JOB_ID)
    assert code == 0
    assert "step 4/4 · epoch 2.0/2 · loss" in out
    assert "accuracy 87.5 % · gradient cosines 0.12 to 0.50 · 50 images/s" in out
    assert "warning: the kernels are the slow ones" in out
    assert out.splitlines()[-1].endswith("succeeded · 1:07 min · accuracy 87.5 %")
    assert err == ""


def test_watch_of_a_job_that_fails_ends_with_1_and_the_field(fqt: Run, script: Script) -> None:
    _run_through(script, "failed")
    code, out, _ = fqt("watch", JOB_ID)
    assert code == 1
    assert "training.learning_rate: the loss is not finite" in out.splitlines()[-1]


def test_watch_as_json_lines_ends_with_the_job(fqt: Run, script: Script) -> None:
    _run_through(script)
    code, out, _ = fqt("watch", JOB_ID, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [line["seq"] for line in lines[:-1]] == list(range(1, 11))
    assert lines[-1]["object"] == "job"


def test_ctrl_c_leaves_the_job_running_and_says_so(fqt: Run, script: Script) -> None:
    _run_through(script)

    def interrupt(_: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    script.on("GET", f"{PATH}/events/stream", interrupt)
    code, _, err = fqt("watch", JOB_ID)
    assert code == 130
    assert f"the job goes on. Watch again: fqt watch {JOB_ID}" in err
    assert not script.seen("POST", f"{PATH}/cancel")


def test_submit_sends_what_the_options_say(fqt: Run, script: Script, tmp_path: Path) -> None:
    script.on("POST", "/v1/jobs", httpx.Response(201, json=job("queued")))
    script.on("GET", "/v1/jobs", httpx.Response(200, json={"data": [job("succeeded")], "has_more": False}))
    spec = tmp_path / "spec.json"
    spec.write_text('{"method": {"name": "qat", "weight_scale": "none"}, "training": {"seed": 1, "epochs": 2}}')
    arguments = ["--dataset", "digits", "--method", "fqt", "--bits", "2", "--epochs", "3", "--classes", "5, 6"]
    arguments += ["--optimizer", "muon", "--teacher", "last", "--set", "training.ema.decay=0.9"]
    arguments += ["--width", "0.25", "--from", "last", "--set", "training.augment.pad_crop=2", "--set", "name=seven"]
    code, out, _ = fqt("submit", *arguments, "--spec", str(spec))
    assert code == 0
    assert JOB_ID in out
    assert json.loads(script.seen("POST", "/v1/jobs")[0].content) == {
        "dataset": "digits",
        "classes": ["5", "6"],
        "method": {"name": "fqt", "bits": 2},  # another method: the options of the old one are gone
        "architecture": {"name": "resnet18", "width": 0.25},
        "training": {"seed": 1, "epochs": 3, "optimizer": "muon", "augment": {"pad_crop": 2}, "ema": {"decay": 0.9}},
        "initial_weights": JOB_ID,
        "teacher": JOB_ID,
        "name": "seven",
    }


def test_a_dry_run_shows_what_keeps_the_job_from_running(fqt: Run, script: Script) -> None:
    warning = {"field": "device", "message": "no worker serves 'cuda'", "allowed": ["cpu"]}
    script.on("POST", "/v1/jobs", httpx.Response(200, json={"object": "plan", "warnings": [warning]}))
    code, out, _ = fqt("submit", "--dataset", "digits", "--dry-run")
    assert code == 0
    assert out.splitlines()[-1] == "warning: device: no worker serves 'cuda' (allowed: cpu)"


def test_bits_that_the_job_chooses_are_asked_for_by_a_budget_and_shown(fqt: Run, script: Script) -> None:
    plan = {"object": "plan", "gradient_bits": 2.0, "bits_are_chosen": True}
    script.on("POST", "/v1/jobs", httpx.Response(200, json=plan))
    code, out, _ = fqt("submit", "--dataset", "digits", "--bits", "auto", "--budget", "2", "--dry-run")
    assert code == 0
    assert json.loads(script.seen("POST", "/v1/jobs")[0].content)["method"] == {
        "name": "fqt",
        "bits": "auto",
        "budget": 2.0,
    }
    assert "at most 2 bits per element on average, chosen layer by layer when the job starts" in out
    layers = {"a": {"bits": 2.0, "keep": 0.375, "clip": 3.0}, "b": {"bits": 32, "keep": 1.0, "clip": None}}
    chosen = {"average_bits": 1.9, "seconds": 2.25, "layers": layers}
    script.on("GET", PATH, httpx.Response(200, json=job("running", record={"bits_chosen": chosen})))
    script.on("GET", f"{PATH}/artifacts", httpx.Response(200, json={"data": [], "has_more": False}))
    code, out, _ = fqt("show", JOB_ID)
    assert code == 0
    assert "1.9 on average, chosen in 2.2 s: a 2 bits of 0.375 clip 3, b 32 bits of 1" in " ".join(out.split())


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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["submit", "--dataset", "digits", "--learning-rate", "nan"], "training.learning_rate: nan is no number"),
        (["submit", "--dataset", "digits", "--learning-rate", "inf"], "training.learning_rate: inf is no number"),
        (["submit", "--dataset", "digits", "--width", "nan", "--dry-run"], "architecture.width: nan is no number"),
        (["submit", "--dataset", "digits", "--set", "training.augment.x=[1, NaN]"], "training.augment.x.1: nan"),
        (["submit", "--dataset", "digits", "--name", "\udcff"], "name: '\\udcff' is not valid Unicode"),
        (["submit", "--dataset", "digits", "--idempotency-key", "ä€"], "Idempotency-Key is 'ä€'; only visible ASCII"),
        (["submit", "--dataset", "digits", "--idempotency-key", "a\nb"], "Idempotency-Key is 'a\\nb'; only visible"),
        (["show", "../keys"], "'../keys' cannot be the id of a job — `fqt jobs` lists them"),
        (["watch", "../../healthz"], "'../../healthz' cannot be the id of a job"),
        (["datasets", "show", "../jobs/last"], "'../jobs/last' cannot be the id of a data set"),
        (["cancel", "a?b"], "'a?b' cannot be the id of a job"),
    ],
)
def test_what_cannot_be_sent_is_named_and_not_sent(fqt: Run, script: Script, arguments: list[str], said: str) -> None:
    code, out, err = fqt(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert script.requests == []


def test_a_file_in_the_way_of_a_folder_is_named(fqt: Run, script: Script, tmp_path: Path) -> None:
    entry = {"name": "report.json", "kind": "report", "size": 1, "sha256": "0" * 64}
    script.on("GET", f"{PATH}/artifacts", httpx.Response(200, json={"data": [entry], "has_more": False}))
    (tmp_path / "note.txt").touch()
    for folder, reason in ((tmp_path / "note.txt", "it is a file"), (Path("/proc/x"), "No such file or directory")):
        code, _, err = fqt("fetch", JOB_ID, "-o", str(folder))
        assert code == 5
        assert err == f"fqt: cannot make the folder {folder}: {reason} — name another folder with -o\n"


def test_what_the_machine_refuses_is_no_fault_of_ours(fqt: Run, script: Script) -> None:
    script.on("GET", "/v1/jobs", PermissionError(13, "Permission denied", "/somewhere"))
    assert fqt("jobs") == (5, "", "fqt: cannot use /somewhere: Permission denied\n")


def test_refusals_name_every_field_and_end_with_4(fqt: Run, script: Script) -> None:
    faults = [
        {"field": "training.epochs", "message": "too small", "allowed": {"minimum": 1}},
        {"field": "b", "message": "x"},
    ]
    script.on("POST", "/v1/jobs", problem(422, "validation_error", "Some fields are wrong.", errors=faults))
    code, out, err = fqt("submit", "--dataset", "digits")
    assert (code, out) == (4, "")
    assert err == "fqt: training.epochs: too small (allowed: at least 1); b: x\n"


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


def test_lists_are_tables_for_people_and_json_for_programs(fqt: Run, script: Script) -> None:
    rows = [job("succeeded", name="first", result={"validation_accuracy": 0.5})]
    script.on("GET", "/v1/jobs", httpx.Response(200, json={"data": rows, "has_more": False}))
    _, out, _ = fqt("jobs")
    assert out.splitlines()[0].split()[:3] == ["id", "name", "state"]
    assert {JOB_ID, "first", "succeeded", "50.0"} <= set(out.splitlines()[1].split())
    _, out, _ = fqt("jobs", "--json")
    assert json.loads(out) == rows
    script.on("GET", "/v1/jobs", httpx.Response(200, json={"data": [], "has_more": False}))
    assert "fqt submit" in fqt("jobs")[1]
    assert fqt("show", "last")[0] == 4


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


def test_a_failed_job_is_shown_with_its_last_lines(fqt: Run, script: Script) -> None:
    error = {"code": "child_crashed", "message": "it ended", "attempts": 3, "log": ["Traceback", "\x1b[31mValueError"]}
    script.on("GET", PATH, httpx.Response(200, json=job("failed", error=error)))
    script.on("GET", f"{PATH}/artifacts", httpx.Response(200, json={"data": [], "has_more": False}))
    _, out, _ = fqt("show", JOB_ID)
    assert "it ended" in out
    assert "Its last lines:\n  Traceback\n" in out
    assert "ValueError" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(("verb", "state"), [("pause", "pausing"), ("resume", "queued"), ("cancel", "cancelling")])
def test_a_job_is_steered_and_a_request_that_broke_off_is_repeated(
    fqt: Run, script: Script, verb: str, state: str
) -> None:
    script.on("POST", f"{PATH}/{verb}", httpx.ReadError("reset"), httpx.Response(200, json=job(state)))
    assert fqt(verb, JOB_ID) == (0, f"{JOB_ID} is {state}\n", "")
    assert len(script.seen("POST", f"{PATH}/{verb}")) == 2
    assert json.loads(fqt(verb, JOB_ID, "--json")[1])["state"] == state
    script.on("POST", f"{PATH}/{verb}", problem(409, "conflict", f"Job {JOB_ID} has ended."))
    code, _, error = fqt(verb, JOB_ID)
    assert (code, "has ended" in error) == (4, True)


def test_pages_are_read_on_only_as_far_as_needed(fqt: Run, script: Script) -> None:
    script.on("GET", "/v1/jobs", httpx.Response(200, json={"data": [job()] * 3, "has_more": True}))
    _, out, _ = fqt("jobs", "--limit", "5", "--json")
    assert len(json.loads(out)) == 5
    assert len(script.requests) == 2


def test_logs_are_a_line_each_without_the_single_steps(fqt: Run, script: Script) -> None:
    events = [
        event(1, "state", **{"from": "queued", "to": "running", "reason": "claimed"}),
        event(2, kind="step", step=1, loss=1.0),
        event(3, kind="epoch", epoch=1, train_loss=0.25, validation_accuracy=0.75),
        event(4, "log", message="hello"),
        event(5, "artifact", kind="model", size=9),
    ]
    script.on("GET", f"{PATH}/events", httpx.Response(200, json={"data": events, "has_more": False}))
    _, out, _ = fqt("logs", JOB_ID)
    texts = [line.split(maxsplit=2)[2] for line in out.splitlines()]
    assert texts == [
        "queued → running (claimed)",
        "epoch 1: loss 0.250, accuracy 75.0 %",
        "hello",
        "kind model, size 9",
    ]


def test_logs_go_on_over_a_broken_connection(fqt: Run, script: Script) -> None:
    answers = stream(event(1, "log", message="one")), httpx.ReadError("reset"), problem(503, "unavailable", "Starting.")
    script.on("GET", f"{PATH}/events/stream", *answers, stream(event(2, "log", message="two"), end=True))
    code, out, err = fqt("logs", "-f", JOB_ID)
    assert (code, err, [line.split()[-1] for line in out.splitlines()]) == (0, "", ["one", "two"])


def test_the_commands_of_plugins_are_merged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    points = [
        EntryPoint("good", "tests.client.test_cli:plugin", plugins.GROUP),
        EntryPoint("none", "tests.client.test_cli:PATH", plugins.GROUP),
        EntryPoint("broken", "no_such_module:app", plugins.GROUP),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points)
    assert main(["greet-all"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "hello from a plugin\n"
    assert "no_such_module:app cannot be loaded" in captured.err
    assert "tests.client.test_cli:PATH is no Typer app" in captured.err
    assert main(["jobs", "--help"]) == 0
    assert "the plugin's own" not in capsys.readouterr().out


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
    assert "Traceback" not in run.stderr


def _commands(app: typer.Typer, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = typer.main.get_command(app)
    return _leaves(found, path)


def _leaves(command: Any, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    below = getattr(command, "commands", None)
    if below is None:
        return [path]
    return [leaf for name, inner in below.items() for leaf in _leaves(inner, (*path, name))]


ARGUMENTS = {
    "JOB": JOB_ID,
    "DATASET": "ds_1",
    "MODEL": models.MODEL_ID,
    "DIR|FILE": __file__,
    "FILE": __file__,
    "IMAGE…": __file__,
}


def test_every_command_takes_json_and_prints_nothing_else(fqt: Run, script: Script, tmp_path: Path) -> None:
    """All that the service adds as well take the option; all of the client are run with it."""
    everything = _commands(build_app(plugins=False))
    whole = typer.main.get_command(_with_the_service())
    for path in _leaves(whole, ()):
        command = whole
        for name in path:
            command = command.commands[name]  # type: ignore[attr-defined]
        options = {option for parameter in command.params for option in parameter.opts}
        assert ("--json" in options) == (path not in {("api",), ("worker",)}), path
    _run_through(script)
    for verb in ("pause", "resume", "cancel"):
        script.on("POST", f"{PATH}/{verb}", httpx.Response(200, json=job()))
    nothing = httpx.Response(200, json={"data": [], "has_more": False})
    for place in ("/v1/jobs", "/v1/datasets", "/v1/methods", "/v1/architectures", f"{PATH}/events"):
        script.on("GET", place, nothing)
    entry = {"name": "r", "kind": "report", "size": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    script.on("GET", f"{PATH}/artifacts", httpx.Response(200, json={"data": [entry], "has_more": False}))
    script.on("GET", f"{PATH}/artifacts/r", httpx.Response(200, content=b""))
    script.on("POST", "/v1/jobs", httpx.Response(201, json=job()))
    for method, place in (("POST", "/v1/datasets"), ("GET", "/v1/datasets/ds_1")):
        script.on(method, place, httpx.Response(200, json={"id": "ds_1", "state": "ready"}))
    models.answer(script)
    more = {("submit",): ["--dataset", "digits"], ("fetch",): ["-o", str(tmp_path)]}
    more |= {("models", verb): ["-o", str(tmp_path)] for verb in ("download", "export")}
    for path in everything:
        needed = [parameter.metavar for parameter in _at(path).params if parameter.param_type_name == "argument"]
        code, out, err = fqt(*path, *(ARGUMENTS[name] for name in needed), *more.get(path, []), "--json")
        assert (code, err) == (5 if path == ("doctor",) else 0, ""), (path, err)
        if path in {("watch",), ("logs",)}:
            assert all(json.loads(line) for line in out.splitlines()), path
        else:
            json.loads(out)


def _at(path: tuple[str, ...]) -> Any:
    command: Any = typer.main.get_command(build_app(plugins=False))
    for name in path:
        command = command.commands[name]
    return command


def _with_the_service() -> typer.Typer:
    from service.cli import app as service

    app = build_app(plugins=False)
    app.registered_commands.extend(service.registered_commands)
    app.registered_groups.extend(service.registered_groups)
    return app


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


def test_the_address_of_the_page_is_printed(fqt: Run) -> None:
    assert fqt("open") == (0, "http://127.0.0.1:1/\n", "")


plugin = typer.Typer()


@plugin.command()
def greet_all() -> None:
    print("hello from a plugin")


@plugin.command()
def jobs() -> None:
    """The plugin's own: it must not replace the command that is there."""
