"""What goes wrong here."""

from __future__ import annotations


class BenchmarkError(Exception):
    """A measurement cannot be made; the message is one line."""
