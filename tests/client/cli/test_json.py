"""Every command takes `--json`."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer

from fqt_client.cli.main import build_app
from tests.client import models, sweeps
from tests.client.cli.running import PATH, Run, run_through
from tests.client.fake import JOB_ID, Script, job


def _leaves(command: Any, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    below = getattr(command, "commands", None)
    if below is None:
        return [path]
    return [leaf for name, inner in below.items() for leaf in _leaves(inner, (*path, name))]


ARGUMENTS = {
    "JOB": JOB_ID,
    "DATASET": "ds_1",
    "MODEL": models.MODEL_ID,
    "SWEEP": sweeps.SWEEP_ID,
    "[JOB…]": JOB_ID,
    "[FILE]": "-",
    "DIR|FILE|URL": __file__,
    "FILE": __file__,
    "IMAGE…": __file__,
}


def test_every_command_takes_json_and_prints_nothing_else(
    fqt: Run, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that the service adds as well take the option; all of the client are run with it."""
    alone = typer.main.get_command(build_app(plugins=False))
    whole = typer.main.get_command(_with_the_service())
    for path in _leaves(whole, ()):
        options = {option for parameter in _at(whole, path).params for option in parameter.opts}
        assert ("--json" in options) == (path not in {("api",), ("worker",)}), path
    run_through(script)
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
    script.on("DELETE", PATH, httpx.Response(204))
    script.on("DELETE", "/v1/datasets/ds_1", httpx.Response(204))
    models.answer(script)
    sweeps.answer(script)
    monkeypatch.setattr("sys.stdin", io.StringIO('{"base": {"dataset": "digits"}, "space": {"training.seed": {}}}'))
    more = {("submit",): ["--dataset", "digits"], ("fetch",): ["-o", str(tmp_path)]}
    more |= {("models", verb): ["-o", str(tmp_path)] for verb in ("download", "export")}
    for path in _leaves(alone, ()):
        needed = [parameter.metavar for parameter in _at(alone, path).params if parameter.param_type_name == "argument"]
        code, out, err = fqt(*path, *(ARGUMENTS[name] for name in needed), *more.get(path, []), "--json")
        assert (code, err) == (5 if path == ("doctor",) else 0, ""), (path, err)
        if path in {("watch",), ("logs",), ("sweep", "watch")}:
            assert all(json.loads(line) for line in out.splitlines()), path
        else:
            json.loads(out)


def _at(command: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        command = command.commands[name]
    return command


def _with_the_service() -> typer.Typer:
    from service.cli import app as service

    app = build_app(plugins=False)
    app.registered_commands.extend(service.registered_commands)
    app.registered_groups.extend(service.registered_groups)
    return app
