"""Builds the extension in other ways than the installed one, and runs tests of kernels with it.

As a plugin of pytest (``-p tests.fqt_core.ops.extension``) it puts the extension that ``FQT_TEST_EXTENSION`` names in
the place of the installed one.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
VARIABLE = "FQT_TEST_EXTENSION"


def build(name: str, target: str = "_native", **options: str) -> Path:
    """Build a target with CMake options in ``build/<name>``, which makes it quick the second time; return the file."""
    folder, tools = ROOT / "build" / name, Path(sysconfig.get_path("scripts"))
    defines = {"Python_EXECUTABLE": sys.executable, "CMAKE_MAKE_PROGRAM": str(tools / "ninja"), **options}
    configure = [str(tools / "cmake"), "-S", str(ROOT), "-B", str(folder), "-G", "Ninja"]
    for command in (
        [*configure, *(f"-D{key}={value}" for key, value in defines.items())],
        [str(tools / "cmake"), "--build", str(folder), "--target", target],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / f"{target}.abi3.so"


def run_tests(extension: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest with that extension in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.fqt_core.ops.extension", "-p", "no:cacheprovider", *arguments],
        env={**os.environ, VARIABLE: str(extension), **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def _put_in_place(path: str) -> None:
    name = "fqt_core._native"
    loader = importlib.machinery.ExtensionFileLoader(name, path)
    import torch  # noqa: F401 - the extension needs its libraries

    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    sys.modules[name] = module


if VARIABLE in os.environ:
    _put_in_place(os.environ[VARIABLE])
