"""Errors of starting and running the service; the `fqt` command shows them in one line."""

from __future__ import annotations

from fqt_client import FqtClientError


class StartError(FqtClientError):
    """The service cannot be started."""


class AlreadyRunningError(StartError):
    """A service runs on this data folder already."""


class StopRequestedError(StartError):
    """The service was asked to stop before it was ready."""
