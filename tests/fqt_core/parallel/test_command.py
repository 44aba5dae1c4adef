"""What the command cannot do is told in a line, before anything is started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fqt_core.errors import ConfigurationError
from fqt_core.parallel.__main__ import main
from fqt_core.parallel.launch import interface_of

HOSTS = ["--hosts", "2"]


@pytest.mark.parametrize(
    ("spec", "arguments", "message"),
    [
        ({"processes": 3}, [*HOSTS, "--rendezvous", "10.0.0.1:1"], "--hosts: 3 processes cannot be divided evenly"),
        ({"processes": 2}, ["--hosts", "0"], "--hosts: 2 processes cannot be divided evenly among 0 hosts"),
        ({"processes": 2}, HOSTS, "--hosts and --rendezvous go together"),
        ({"processes": 2}, ["--rendezvous", "10.0.0.1:1"], "--hosts and --rendezvous go together"),
        ({"processes": 1}, [], "parallel.processes: Input should be greater than or equal to 2"),
        ({"processes": 2, "gradient_bits": 9}, [], "parallel.gradient_bits: Input should be less than or equal to 8"),
        (None, [], "parallel: Field required"),
    ],
)
def test_faults_of_the_command(
    spec: dict[str, Any] | None,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({} if spec is None else {"parallel": spec}))
    with pytest.raises(SystemExit) as ended:
        main([str(path), "--data", "digits", "--output", str(tmp_path / "out"), *arguments])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("fqt_core.parallel: error: ")
    assert message in said
    assert not (tmp_path / "out").exists()


def test_an_address_belongs_to_an_interface() -> None:
    assert interface_of("127.0.0.1") == "lo"
    with pytest.raises(ConfigurationError, match=r"no network interface of this machine has the address 192\.0\.2\.9"):
        interface_of("192.0.2.9")
