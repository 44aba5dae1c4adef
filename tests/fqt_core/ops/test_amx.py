"""The AMX kernels where there is no AMX: run on emulated tiles, and the machine code of the real ones looked at.

The emulation needs AVX-512. Where that is missing too, the kernels are compiled, and the table refuses them: nothing
runs them.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOOLS = Path(sys.executable).parent
PRODUCTS = ("hwnc_binary_conv2d", "hwnc_input_gradient", "hwnc_weight_gradient")

LOADER = """
import importlib.util, sys
import torch
spec = importlib.util.spec_from_file_location("fqt_core._native", sys.argv[1])
extension = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = extension
spec.loader.exec_module(extension)
"""
"""Puts an extension, named by its path, in the place of the installed one."""

LIST_KERNELS = "print(([isa for _, isa in extension.KERNELS], extension.USABLE))"

RUN_TESTS = """
import pytest
from fqt_core.ops import native
assert native.EXTENSION is extension
sys.exit(pytest.main(sys.argv[2:]))
"""


def run(*command: str | Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def configure(folder: Path, emulate: str) -> Path:
    options = {
        "FQT_WERROR": "ON",
        "FQT_EMULATE_AMX": emulate,
        "Python_EXECUTABLE": sys.executable,
        "CMAKE_MAKE_PROGRAM": TOOLS / "ninja",
    }
    settings = [f"-D{name}={value}" for name, value in options.items()]
    run(TOOLS / "cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", *settings)
    return folder


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a build that emulates AMX."""
    folder = configure(tmp_path_factory.mktemp("emulated"), "ON")
    run(TOOLS / "cmake", "--build", folder)
    return folder


def amx_instructions(object_file: Path) -> set[str]:
    lines = run("objdump", "--disassemble", "--no-show-raw-insn", object_file).splitlines()
    names = {line.split("\t")[1].split(" ")[0] for line in lines if "\t" in line}
    return {name for name in names if name.startswith(("tdp", "tile")) or name.endswith("tilecfg")}


@pytest.mark.slow
def test_emulated_kernels_equal_the_reference_bit_for_bit(emulated: Path) -> None:
    (extension,) = emulated.glob("_native*.so")
    table, usable = ast.literal_eval(run(sys.executable, "-c", LOADER + LIST_KERNELS, extension))
    assert table.count("amx") == len(PRODUCTS)
    assert ("amx" in usable) == ("avx512" in usable)
    if "amx" in usable:
        tests = ("tests/fqt_core/ops/test_native.py", "-v", "-k", "amx", "-p", "no:cacheprovider")
        output = run(sys.executable, "-c", LOADER + RUN_TESTS, extension, *tests)
        for name in PRODUCTS:
            assert f"test_equals_the_reference_bit_for_bit[{name}-amx] PASSED" in output


@pytest.mark.slow
def test_only_the_amx_kernels_have_its_instructions(emulated: Path, tmp_path: Path) -> None:
    for object_file in emulated.glob("CMakeFiles/**/*.o"):
        assert not amx_instructions(object_file), object_file
    run(TOOLS / "cmake", "--build", configure(tmp_path, "OFF"), "--target", "fqt_amx")
    objects = tmp_path.glob("CMakeFiles/fqt_amx.dir/**/*.o")
    found = {path.name.partition(".")[0]: amx_instructions(path) for path in objects}
    around = {"ldtilecfg", "tileloadd", "tilestored", "tilerelease"}
    assert {name: instructions - {"tilezero"} for name, instructions in found.items()} == {
        "hwnc_forward": around | {"tdpbssd"},
        "hwnc_input_gradient": around | {"tdpbusd"},
        "hwnc_weight_gradient": around | {"tdpbusd"},
    }
