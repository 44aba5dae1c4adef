"""The kernels for 64-bit ARM, compiled by a cross compiler and run by an emulator, against the reference, bit for bit.

There is no torch there: the real rim is compiled on a stand-in (``stand_in/torch.h``), whose tensors also end where
memory that nobody may touch begins.
"""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

import pytest

from fqt_core import ops
from fqt_core.ops import native
from fqt_core.verification.comparison import results
from tests.csrc import case_file
from tests.fqt_core.all_cases import drawn
from tests.fqt_core.hwnc_cases import LARGE, PRODUCTS
from tests.programs import program

pytestmark = [pytest.mark.elsewhere, pytest.mark.slow, pytest.mark.timeout(900)]

EXAMPLES = 20
HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "aarch64"  # kept: quick the second time
PRODUCTS_OF_NEON = {*PRODUCTS, "binary_conv2d", "binary_linear", "conv2d_input_gradient", "conv2d_weight_gradient"}


@pytest.fixture(scope="module")
def run_cases() -> Path:
    """The program, for 64-bit ARM."""
    tools = Path(sysconfig.get_path("scripts"))
    defines = {
        "CMAKE_SYSTEM_NAME": "Linux",
        "CMAKE_SYSTEM_PROCESSOR": "aarch64",
        "CMAKE_CXX_COMPILER": program("aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu"),
        "CMAKE_MAKE_PROGRAM": str(tools / "ninja"),
        "FQT_WERROR": "ON",
    }
    configure = [tools / "cmake", "-S", HERE, "-B", BUILD, "-G", "Ninja", *(f"-D{k}={v}" for k, v in defines.items())]
    for command in (configure, [tools / "cmake", "--build", BUILD]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return BUILD / "run_cases"


def emulate(executable: Path, cases: Path) -> subprocess.CompletedProcess[str]:
    command = [program("qemu-aarch64", "qemu-user"), executable, cases]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_equals_the_reference_bit_for_bit(run_cases: Path, tmp_path: Path) -> None:
    expected: dict[str, int] = {}
    with (tmp_path / "cases").open("wb") as file:
        for name, operation in ops.OPERATIONS.items():
            large = PRODUCTS[name](LARGE[-1]) if name in PRODUCTS else []
            cases = [*drawn(name, EXAMPLES), *large]
            for arguments in cases:
                case_file.write(file, name, arguments, results(operation.reference, arguments))
            expected[f"{name}.portable"] = len(cases)
            if (name, "avx2") in native.KERNELS:  # operations of few values have portable kernels alone
                expected[f"{name}.neon"] = len(cases)
    done = emulate(run_cases, tmp_path / "cases")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {line.split()[0]: int(line.split()[1]) for line in done.stdout.splitlines()} == expected
    assert {f"{name}.neon" for name in PRODUCTS_OF_NEON} <= set(expected)


def test_a_wrong_result_is_found(run_cases: Path, tmp_path: Path) -> None:
    name = "hwnc_input_gradient"
    (arguments, *_) = PRODUCTS[name](LARGE[-1])
    wrong = results(ops.OPERATIONS[name].reference, arguments)
    wrong[0].view(-1)[-1] += 1
    with (tmp_path / "cases").open("wb") as file:
        case_file.write(file, name, arguments, wrong)
    done = emulate(run_cases, tmp_path / "cases")
    assert done.returncode == 1
    assert "case 0: tensor 0 differs" in done.stderr
