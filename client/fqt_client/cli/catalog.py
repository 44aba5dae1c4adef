"""`fqt methods`, `fqt architectures` and `fqt open`: what a service has to show."""

from __future__ import annotations

import os
import sys
import webbrowser

import typer

from fqt_client.cli.output import print_json, print_table
from fqt_client.cli.session import JsonOption, connect
from fqt_client.models import Choice

app = typer.Typer()
PANEL = "Choices"


@app.command(rich_help_panel=PANEL)
def methods(as_json: JsonOption = False) -> None:
    """List the training methods and their options."""
    with connect() as client:
        _show(client.methods(), as_json)


@app.command(rich_help_panel=PANEL)
def architectures(as_json: JsonOption = False) -> None:
    """List the networks and their options."""
    with connect() as client:
        _show(client.architectures(), as_json)


@app.command("open", rich_help_panel="Service")
def open_(as_json: JsonOption = False) -> None:
    """Print the address of the service's page, and open it in a browser where there is a terminal and a screen."""
    with connect() as client:
        url = f"{client.config.base_url}/"
    if as_json:
        print_json({"url": url})
        return
    print(url)
    if sys.stdout.isatty() and (sys.platform in {"darwin", "win32"} or os.environ.get("DISPLAY")):
        webbrowser.open(url)


def _show(choices: list[Choice], as_json: bool) -> None:
    if as_json:
        print_json([choice.raw for choice in choices])
        return
    rows = [(choice.name, choice.title, choice.summary, ", ".join(_options(choice)) or "none") for choice in choices]
    print_table(("name", "title", "summary", "options (default)"), rows, empty="none")


def _options(choice: Choice) -> list[str]:
    properties = choice.options.get("properties", {})
    return [f"{name} ({schema.get('default')})" for name, schema in properties.items() if name != "name"]
