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

from tests.fqt_core.ops.extension import ROOT, VARIABLE, build, run_tests

pytestmark = [pytest.mark.elsewhere, pytest.mark.slow, pytest.mark.timeout(900)]

PRODUCTS = ("hwnc_binary_conv2d", "hwnc_input_gradient", "hwnc_weight_gradient")
COMPOSED = ("hwnc_block_forward", "hwnc_chain_forward", "hwnc_chain_gradient", "adam_binary_all_")
"""Operations that are put together from these products and others."""
LIST_KERNELS = """
import tests.fqt_core.ops.extension
from fqt_core.ops.native import EXTENSION
print(([isa for _, isa in EXTENSION.KERNELS], EXTENSION.USABLE))
"""


@pytest.fixture(scope="module")
def emulated() -> Path:
    """An extension that emulates AMX, beside the one that `make check` compiles, of the same objects."""
    return build("check", "_native_emulated", FQT_WERROR="ON")


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def amx_instructions(object_file: Path) -> set[str]:
    lines = run("objdump", "--disassemble", "--no-show-raw-insn", object_file).splitlines()
    names = {line.split("\t")[1].split(" ")[0] for line in lines if "\t" in line}
    return {name for name in names if name.startswith(("tdp", "tile")) or name.endswith("tilecfg")}


def test_emulated_kernels_equal_the_reference_bit_for_bit(emulated: Path) -> None:
    table, usable = ast.literal_eval(run(sys.executable, "-c", LIST_KERNELS, **{VARIABLE: str(emulated)}))
    assert table.count("amx") == len(PRODUCTS) + len(COMPOSED)
    assert ("amx" in usable) == ("avx512" in usable)
    if "amx" in usable:
        done = run_tests(emulated, "tests/fqt_core/ops/test_native.py", "-v", "-k", "amx")
        assert done.returncode == 0, done.stdout + done.stderr
        for name in (*PRODUCTS, *COMPOSED):
            assert f"test_equals_the_reference_bit_for_bit[{name}-amx] PASSED" in done.stdout


def test_only_the_amx_kernels_have_its_instructions(emulated: Path) -> None:
    folder = build("check", "fqt_amx", FQT_WERROR="ON").parent / "CMakeFiles"
    objects = {path: amx_instructions(path) for path in folder.glob("**/*.o")}
    assert {path.name.partition(".")[0] for path in objects} > {"hwnc_forward", "features", "memory", "register"}
    found = {path.name.partition(".")[0]: objects.pop(path) for path in folder.glob("fqt_amx.dir/**/*.o")}
    around = {"ldtilecfg", "tileloadd", "tilestored", "tilerelease"}
    assert {name: instructions - {"tilezero"} for name, instructions in found.items()} == {
        "hwnc_forward": around | {"tdpbssd"},
        "hwnc_input_gradient": around | {"tdpbusd"},
        "hwnc_weight_gradient": around | {"tdpbusd"},
    }
    assert {path: instructions for path, instructions in objects.items() if instructions} == {}
