"""The `fqt` script. A module of its own, so that Ctrl-C is quiet already while everything else is being loaded."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the `fqt` command and return its exit code."""
    try:
        from fqt_client.cli import main as run  # noqa: PLC0415 - takes half a second

        return run()
    except KeyboardInterrupt:
        print("fqt: interrupted", file=sys.stderr)
        return 130
