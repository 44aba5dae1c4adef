"""Programs of the system that tests run, and what is missing where there are none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


def program(name: str, package: str) -> str:
    """Path of a program that Debian's ``package`` brings.

    Where Debian's package manager is, ``tests/install_system.sh`` (which ``make test`` runs) could have installed it,
    so a missing one is a failure; elsewhere the test is skipped.
    """
    found = shutil.which(name)
    if found is None:
        problem = f"{name} is missing (Debian: apt-get install {package})"
        if Path("/usr/bin/apt-get").exists():
            pytest.fail(f"{problem}; tests/install_system.sh installs it")
        pytest.skip(problem)
    return found
