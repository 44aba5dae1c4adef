"""The rules of the house that a machine can check (docs/architecture.md, "Rules that a test keeps")."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import split

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ["api", "worker", "jobs", "fqt_core", "service", "migrations", "client/fqt_client", "benchmarks"]
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def _calls(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def _imported_modules(tree: ast.AST) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    return modules


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_from_data(path: Path) -> None:
    """Nothing unpickles, loads a torch archive, or lets an archive write where it wants."""
    tree = ast.parse(path.read_text())
    forbidden = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    assert not {module.split(".")[0] for module in _imported_modules(tree)} & forbidden
    for call in _calls(tree):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        # A trace's header, and torch's switch of a model to inference, only have the names.
        harmless = ast.unparse(call.func) == "propagate.extract" or (name == "eval" and not call.args)
        assert name not in {"extractall", "extract", "eval", "exec"} or harmless, f"{path}:{call.lineno} calls {name}"
        if ast.unparse(call.func) == "torch.load":
            assert any(keyword.arg == "weights_only" for keyword in call.keywords)
        allow_pickle = [keyword.value for keyword in call.keywords if keyword.arg == "allow_pickle"]
        assert all(isinstance(value, ast.Constant) and value.value is False for value in allow_pickle)


@pytest.mark.parametrize(
    "module",
    ["fqt_core", "fqt_core.config", "fqt_core.events", "jobs.spec", "api.app", "worker.supervisor", "service.cli"],
)
def test_torch_stays_out_of_the_parents(module: str) -> None:
    """The API, the supervisor and what describes choices never import torch; only a job's own process does."""
    code = f"import {module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("module", ["fqt_client", "fqt_client.cli"])
def test_the_client_needs_none_of_the_service(module: str) -> None:
    code = (
        f"import {module}, sys; "
        "found = {'torch', 'fastapi', 'sqlalchemy', 'celery', 'pydantic', 'numpy'} & set(sys.modules); "
        "sys.exit(repr(found) if found else 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_the_readme_names_only_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    named = {name for page in pages for name in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)}
    assert {"demo", "test"} <= named
    assert named <= targets


def test_continuous_integration_runs_the_commands_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert re.findall(r"^make .*$", script, re.MULTILINE) == ["make check", "make test", "make kernels"]


def test_tests_that_find_ports_for_servers_run_one_after_the_other() -> None:
    """Between finding a port and taking it, another test could take it (tests/split.py)."""
    finds = (
        r"^from tests\.service\.running import .*\b(Up|running)\b|\bapi: Api\b|\bports\.any_free\(|\bservice\.repeat\("
    )
    tests = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    finders = {name for name, text in tests.items() if re.search(finds, text, re.MULTILINE)}
    assert {"tests/api/test_process.py", "tests/service/test_up.py", "tests/system/test_flow_parts.py"} <= finders
    assert {name for name in finders if split.group(name) != split.PROCESSES} == set()
    assert all((ROOT / name).exists() for name in split.SERIAL)


def test_locks_are_exact_hashed_and_name_no_host() -> None:
    for name, least in [("dev.txt", 30), ("service.txt", 30), ("bench.txt", 5), ("docs.txt", 5)]:
        text = (ROOT / "requirements" / name).read_text()
        requirements = re.findall(r"^[a-z0-9].*$", text, re.MULTILINE)
        assert len(requirements) > least
        assert all("==" in line for line in requirements)
        assert text.count("--hash=sha256:") >= len(requirements)
        assert "://" not in text
        assert "--index" not in text
        assert not re.search(r"^torch==", text, re.MULTILINE)
