"""What nvcc made of the CUDA kernels: the instructions that are meant, nothing spilled, room for the blocks as stated.

Run by ``make cuda`` on what it has built, which takes minutes for all targets, and so is no part of ``make test``.
"""

from __future__ import annotations

import re
import subprocess
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

from tests.fqt_core.ops.extension import ROOT, run_tests

EXTENSION = ROOT / "build/cuda/_native.abi3.so"
TOOLS = Path(sysconfig.get_path("purelib")) / "nvidia/cu13/bin"
TARGETS = {"sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"}
WITH_BINARY_UNITS = {"sm_80", "sm_86", "sm_89", "sm_90"}
PRODUCTS = {"Forward": 2, "InputGradient": 2, "WeightGradient": 1, "RowProducts": 1}
"""How many kernels there are of each on a path: some for a layer by itself, and for chains."""
UNFUSED = (
    r"PackRows|AddRows|Leave|SumRuns|AddRuns|MeasureRange|InputGradientILNS0_4PathE\dENS\w+ScaledInputs|ScaledWeights"
    r"|AddTaps|Gather|SquareSums"
)
"""Kernels whose floats the reference rounds operation by operation, and that do not divide (which takes such steps)."""
BITS, BYTES, WORDS = range(3)  # as csrc/cuda/queue.h numbers the paths
REGISTERS_OF_A_MULTIPROCESSOR = 65536
SHARED_MEMORY_OF_A_BLOCK = 48 << 10


@dataclass
class Kernel:
    """One kernel for one target."""

    target: str
    name: str
    registers: int = 0
    shared: int = 0
    local: int = 0
    stack: int = 0
    instructions: list[str] = field(default_factory=list)

    def is_product(self, problem: str, path: int) -> bool:
        return bool(re.search(rf"{problem}ILNS0_4PathE{path}E", self.name))

    def count(self, pattern: str) -> int:
        return sum(re.match(pattern, instruction) is not None for instruction in self.instructions)


def dump(option: str) -> str:
    environment = {"PATH": f"{TOOLS}:/usr/bin:/bin"}
    command = [TOOLS / "cuobjdump", option, EXTENSION]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def read() -> list[Kernel]:
    kernels: dict[tuple[str, str], Kernel] = {}
    target = name = ""
    for line in dump("--dump-resource-usage").splitlines():
        if found := re.match(r"arch = (\w+)", line):
            target = found[1]
        elif found := re.match(r" *Function (\S+):", line):
            name = found[1]
        elif found := re.match(r" *REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", line):
            registers, stack, shared, local = map(int, found.groups())
            kernels[target, name] = Kernel(target, name, registers, shared, local, stack)
    for line in dump("-sass").splitlines():
        if found := re.search(r"arch = (\w+)", line):
            target = found[1]
        elif found := re.search(r"Function : (\S+)", line):
            name = found[1]
        elif found := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ +)?([A-Z][A-Z0-9_.]*)", line):
            kernels[target, name].instructions.append(found[1])
    return list(kernels.values())


KERNELS = read()


def products(path: int, targets: set[str]) -> list[Kernel]:
    found = [k for k in KERNELS if k.target in targets and any(k.is_product(p, path) for p in PRODUCTS)]
    assert len(found) == sum(PRODUCTS.values()) * len(targets)
    return found


def all_products() -> list[Kernel]:
    return [*(kernel for path in (BITS, BYTES, WORDS) for kernel in products(path, TARGETS)), *signed_products()]


def signed_products() -> list[Kernel]:
    return [k for k in KERNELS if re.search(r"7ProductI\w+int8_cu", k.name)]


def test_every_target_has_every_kernel() -> None:
    assert {kernel.target for kernel in KERNELS} == TARGETS
    names = {
        target: sorted(re.sub(r"_[0-9a-f]{8}", "", k.name) for k in KERNELS if k.target == target) for target in TARGETS
    }
    assert all(of_target == names["sm_75"] for of_target in names.values())


def test_binary_products_are_ands_and_population_counts_of_tensor_cores() -> None:
    for kernel in products(BITS, WITH_BINARY_UNITS):
        assert kernel.count(r"BMMA\.168256\.AND\.POPC$") == 16  # 2 x 8 fragments
        assert kernel.count("IMMA") == 0


def test_products_of_bytes_run_on_tensor_cores() -> None:
    for kernel in products(BYTES, TARGETS - {"sm_75"}):
        assert kernel.count(r"IMMA\.16832\.U8\.U8$") >= 16
    for kernel in products(BYTES, {"sm_75"}):
        assert kernel.count(r"IMMA\.8816\.U8\.U8$") >= 4 * 16


def test_products_of_signed_bytes_run_on_tensor_cores() -> None:
    found = signed_products()
    assert len(found) == 3 * len(TARGETS)
    for kernel in found:
        pattern = r"IMMA\.8816\.S8\.S8$" if kernel.target == "sm_75" else r"IMMA\.16832\.S8\.S8$"
        assert kernel.count(pattern) >= 16


def test_products_of_words_need_no_tensor_cores() -> None:
    for kernel in products(WORDS, TARGETS):
        assert kernel.count("[BI]MMA") == 0
        assert kernel.count("POPC") >= 2 * 64  # two for each of 64 sums


def test_products_keep_everything_in_registers() -> None:
    for kernel in all_products():
        assert (kernel.local, kernel.stack) == (0, 0)
        assert kernel.count("LDL|STL") == 0


def test_the_stated_number_of_blocks_fits_a_multiprocessor() -> None:
    for kernel in all_products():
        assert 3 * 128 * -(-kernel.registers // 8) * 8 <= REGISTERS_OF_A_MULTIPROCESSOR
        assert 3 * kernel.shared <= SHARED_MEMORY_OF_A_BLOCK
    for kernel in KERNELS:
        assert kernel.shared <= SHARED_MEMORY_OF_A_BLOCK // 3
        assert kernel.local == 0


def test_no_multiplication_is_fused_with_an_addition() -> None:
    found = [kernel for kernel in KERNELS if re.search(UNFUSED, kernel.name)]
    assert len(found) == 17 * len(TARGETS)
    assert all(kernel.count("FFMA|DFMA") == 0 for kernel in found)


def test_the_library_works_where_torch_has_no_cuda() -> None:
    """With every symbol bound at once; its CUDA kernels are registered, with the operations' schemas."""
    tests = [
        f"tests/fqt_core/ops/{name}.py" for name in ("test_packing", "test_selection", "test_registry", "test_native")
    ]
    done = run_tests(EXTENSION, *tests, "-k", "packing or selection or gpu or schema", LD_BIND_NOW="1")
    assert done.returncode == 0, done.stdout + done.stderr
