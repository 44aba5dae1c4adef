"""What `fqt doctor` finds, and where other distributions add checks of their own."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Literal

from fqt_client.cli.plugins import GROUP

Status = Literal["ok", "warning", "broken"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``remedy`` says how to mend what is not well."""

    check: str
    status: Status
    message: str
    remedy: str | None = None


Checks = Literal["local_checks", "gpu_checks"]


def found_here(kind: Checks = "local_checks") -> Iterator[Finding]:
    """What the checks of other distributions find on this machine.

    They are the function of this name in the modules that the ``fqt.commands`` entry points name, if there is one.
    """
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            checks = getattr(importlib.import_module(point.module), kind, None)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it is a finding
            yield Finding(
                point.name, "broken", f"{point.module} cannot be loaded: {error}", "install it anew: make setup"
            )
            continue
        if checks is not None:
            yield from checks()
