"""The `fqt` command. Other distributions add commands through the entry-point group ``fqt.commands``."""

from fqt_client.cli.main import main

__all__ = ["main"]
