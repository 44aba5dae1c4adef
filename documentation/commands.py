"""All commands of `fqt`, read from the command itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer
from typer.main import get_command

from documentation.markdown import code, join, table


def listing(app: typer.Typer) -> str:
    """Every command with its arguments and options."""
    root = get_command(app)
    return join([_text(root.help), *(part for row in commands(root, "fqt") for part in _command(*row))])


def commands(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    """All commands below a group, by their whole names."""
    for part, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} {part}")
        else:
            yield f"{name} {part}", command


def _command(name: str, command: Any) -> Iterator[str]:
    yield f"## {name}"
    arguments = [entry for entry in command.params if entry.param_type_name == "argument"]
    yield f"```text\n{' '.join([name, '[OPTIONS]', *(_metavar(entry) for entry in arguments)])}\n```"
    yield _text(command.help)
    rows = ((_names(entry), _default(entry), _text(getattr(entry, "help", "") or "")) for entry in command.params)
    yield table(["argument or option", "default", "meaning"], rows)


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return code(_metavar(parameter))
    value = "" if parameter.is_flag else f" {_metavar(parameter)}"
    return ", ".join(code(f"{name}{value}") for name in (*parameter.opts, *parameter.secondary_opts))


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.default
    return "–" if value in (None, False, (), []) or callable(value) else code(str(value))


def _text(help_text: str | None) -> str:
    """Help as it is written for a terminal: with markup of rich, and ends of paragraphs for typer."""
    text = re.sub(r"\[/?(bold|dim|green|cyan|yellow|red)\]", "", (help_text or "").replace("\b", "").replace("\f", ""))
    return text.replace("<", "\\<").strip()
