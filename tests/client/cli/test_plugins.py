from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
import typer

from fqt_client.cli import main, plugins


def test_the_commands_of_plugins_are_merged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    points = [
        EntryPoint("good", "tests.client.cli.test_plugins:plugin", plugins.GROUP),
        EntryPoint("none", "tests.client.cli.test_plugins:NUMBER", plugins.GROUP),
        EntryPoint("broken", "no_such_module:app", plugins.GROUP),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points)
    assert main(["greet-all"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "hello from a plugin\n"
    assert "no_such_module:app cannot be loaded" in captured.err
    assert "tests.client.cli.test_plugins:NUMBER is no Typer app" in captured.err
    assert main(["jobs", "--help"]) == 0
    assert "the plugin's own" not in capsys.readouterr().out


NUMBER = 7
plugin = typer.Typer()


@plugin.command()
def greet_all() -> None:
    print("hello from a plugin")


@plugin.command()
def jobs() -> None:
    """The plugin's own: it must not replace the command that is there."""
