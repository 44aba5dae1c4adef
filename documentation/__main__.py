"""Builds the site: ``python -m documentation``. Any warning, and any dead link or anchor inside, is an error."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from documentation import links

ROOT = Path(__file__).resolve().parent.parent


def build(site: Path, settings: Path = ROOT / "mkdocs.yml") -> list[str]:
    """Build the site into a folder, and give what is wrong with it, one line each."""
    os.environ["NO_MKDOCS_2_WARNING"] = "1"  # the theme's word on versions that the lock does not admit
    from mkdocs.commands import build as mkdocs  # noqa: PLC0415 - after the variable
    from mkdocs.config import load_config  # noqa: PLC0415

    counted = _Counted()
    logging.getLogger("mkdocs").addHandler(counted)
    config = load_config(str(settings), site_dir=str(site))
    config.plugins.on_startup(command="build", dirty=False)
    try:
        mkdocs.build(config)
    finally:
        config.plugins.on_shutdown()
        logging.getLogger("mkdocs").removeHandler(counted)
    return [*counted.found, *links.faults(site)]


class _Counted(logging.Handler):
    """Keeps every warning."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """See :class:`logging.Handler`."""
        self.found.append(record.getMessage())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code is 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="documentation", description="Build the documentation site.")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "docs", help="the folder of the site")
    given = parser.parse_args(arguments)
    found = build(given.out.resolve())
    for fault in found:
        sys.stderr.write(f"{fault}\n")
    if found:
        sys.stderr.write(f"{len(found)} faults\n")
        return 1
    sys.stdout.write(f"The documentation is at {given.out / 'index.html'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
