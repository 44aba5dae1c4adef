"""Commands of other distributions, merged at the top level."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

import typer

GROUP = "fqt.commands"


def merge_plugins(app: typer.Typer) -> None:
    """Add the commands of every ``fqt.commands`` entry point (each one a Typer app) to ``app``.

    One that cannot be loaded is named on stderr; the other commands work on. A command that is there already stays.
    """
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            plugin = point.load()
        except Exception as error:  # noqa: BLE001 - whatever a foreign package does wrong must not break this one
            print(f"fqt: the commands of {point.value} cannot be loaded: {error}", file=sys.stderr)
            continue
        if not isinstance(plugin, typer.Typer):
            print(f"fqt: {point.value} is no Typer app; its commands are left out", file=sys.stderr)
            continue
        names = {_command_name(command) for command in app.registered_commands}
        app.registered_commands.extend(
            command for command in plugin.registered_commands if _command_name(command) not in names
        )
        app.registered_groups.extend(plugin.registered_groups)


def _command_name(command: typer.models.CommandInfo) -> str | None:
    if command.name or command.callback is None:
        return command.name
    return command.callback.__name__.replace("_", "-")
