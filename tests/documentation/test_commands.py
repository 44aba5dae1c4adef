"""Every command of the documentation: it is run as written, or stands below with the reason why it is not.

One service serves all pages: it is set up by the commands of the tutorial on several machines, on PostgreSQL and
Valkey, with an object store. What runs in a container there runs without one here.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from documentation.commands import commands
from fqt_client import Client, FqtClientError
from fqt_client.cli.main import build_app
from service import ports
from tests.documentation.shell import PAGES, ROOT, Block, Reader, blocks
from tests.fixtures import new_database
from tests.fqt_core.trees.tables import shops
from tests.object_store import ObjectStore
from tests.service.running import environment
from tests.system.flow import write_photos

NOT_RUN = {
    "make demo": "tests/system/test_demo.py runs it",
    "make up": "tests/service/test_up.py runs it; here the service has its parts as processes of their own",
    "docker compose up": "needs Docker's engine",
    "docker compose ps": "needs Docker's engine",
    "docker compose build": "needs Docker's engine",
    "docker compose run": "needs Docker's engine",
    "FQT_VARIANT=cuda docker compose": "needs Docker's engine",
    "docker compose --profile gpu exec worker-gpu": "needs Docker's engine, and a GPU",
    "fqt compare-methods ": "trains dozens of networks; tests/client/cli/test_compare_methods.py runs it in small",
    "fqt sweep ": "trains up to twenty networks; tests/client/cli/test_sweeps.py runs it on a scripted service",
    "python -m fqt_core.parallel ": "needs two machines; tests/system/test_parallel_hosts.py runs it on two of its own",
    "python -m benchmarks.": "takes minutes to hours; tests/benchmarks run it in small",
}
SEVERAL_MACHINES = "docs/tutorials/several-machines.md"
LAST = "docs/webhooks.md"  # its message would go out with the next job
PYTHON = {"README.md", "docs/tutorials/compare-methods.md", "docs/models.md"}
"""Pages whose Python is run here; that of the others is run by the tests of the client and of OpenAI's client."""

PYTHON_ELSEWHERE = {"docs/client.md", "docs/openai.md", "docs/webhooks.md"}


def _words(*, languages: set[str]) -> list[Block]:
    return [block for page in PAGES for block in blocks(page) if block.language in languages]


@pytest.fixture(scope="module")
def reader(postgres_server: str, valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    home = tmp_path_factory.mktemp("reader")
    objects = ObjectStore(ports.any_free(), home / "objects.log")
    with new_database(postgres_server) as database:
        found = _reader(home, database, valkey_url, objects)
        try:
            _start(found)
            yield found
        finally:
            for process in found.servers:
                os.killpg(process.pid, signal.SIGTERM)
            codes = [process.wait(60) for process in found.servers]
            objects.stop()
        assert codes == [0] * len(codes)


def _reader(home: Path, database: str, broker: str, objects: ObjectStore) -> Reader:
    port = ports.any_free()
    for page in PAGES:
        folder = home / str(page.relative_to(ROOT)).replace("/", "-").removesuffix(".md")
        write_photos(folder / "photos", range(2), 10)
        (folder / "photos" / "0" / "0.png").rename(folder / "photo.png")
        (folder / "photos" / "1" / "0.png").rename(folder / "new-photo.jpg")
        shops(folder / "houses.csv", 200)
        (folder / ".venv").symlink_to(sys.prefix)
        for name in ("api.log", "worker.log"):
            (folder / name).symlink_to(home / name)
    fills = {
        "postgresql://fqt:password@db.example.org/fqt": f"'{database}'",
        "redis://:password@db.example.org:6379/0": broker,
        "s3://our-bucket/fqt": objects.url,
        "https://objects.example.org": objects.endpoint,
        "http://fqt.example.org:8000": f"http://127.0.0.1:{port}",
        "http://127.0.0.1:8000": f"http://127.0.0.1:{port}",
        "--host 0.0.0.0": f"--host 127.0.0.1 --port {port}",
        "/srv/backups/": f"{home}/operations-",
        "/data/backup-1": f"{home}/compose-backup",
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return Reader(
        home, environment(home, PATH=path, FQT_CHILD_NICE="0", FQT_PREDICT_SECONDS="300"), fills, tuple(NOT_RUN)
    )


def _start(reader: Reader) -> None:
    """Do what the tutorial says, up to the machine of whoever uses it."""
    settings, api, worker, large, _ = (block for block in blocks(ROOT / SEVERAL_MACHINES) if block.language == "sh")
    for number, block in enumerate((api, worker, large)):
        env_file = reader.folder(SEVERAL_MACHINES) / "fqt.env"
        env_file.write_text(reader._filled(settings.text) + f"FQT_DATA_DIR={reader.home}/machine-{number}\n")
        log = reader.home / ("api.log" if block is api else "worker.log")
        reader.serve(block, log)
        if block is api:
            reader.fills["fqt_…"] = _key(reader, log)
            reader.fills["req_…"] = re.findall(r"req_\w+", log.read_text())[-1]
    reader.done.update(settings.commands)
    # What administers the service runs on one of its machines, with the same settings.
    reader.environment |= dict(line.split("=", 1) for line in env_file.read_text().replace("'", "").splitlines())


def _key(reader: Reader, log: Path) -> str:
    """The key that the first machine was shown, once its API answers."""
    for _ in range(600):
        found = re.search(r"fqt_\w{20,}", log.read_text())
        if found is not None:
            try:
                with Client(reader.fills["http://127.0.0.1:8000"], found[0], retries=0) as client:
                    client.ready()
                return found[0]
            except FqtClientError:
                pass
        assert reader.servers[0].poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_command_runs_as_written(reader: Reader) -> None:
    tutorial = [block for block in blocks(ROOT / SEVERAL_MACHINES) if block.language == "sh"]
    pages = [page for page in PAGES if str(page.relative_to(ROOT)) not in {SEVERAL_MACHINES, LAST}]
    for block in [tutorial[-1], *(b for page in [*pages, ROOT / LAST] for b in blocks(page))]:
        if block.language == "sh" or (block.language == "python" and block.page in PYTHON):
            begin = time.monotonic()
            reader.run(block)
            print(f"{time.monotonic() - begin:5.1f} s  {block.page}: {block.text.splitlines()[0]}")
    assert {line for line in reader.left_out if not line.startswith(tuple(NOT_RUN))} == set()


def test_each_command_that_is_not_run_is_there() -> None:
    lines = [line for block in _words(languages={"sh"}) for line in block.commands]
    for beginning in NOT_RUN:
        assert any(line.startswith(beginning) for line in lines), beginning


def test_no_command_hides_in_another_kind_of_block() -> None:
    for block in (block for page in PAGES for block in blocks(page)):
        assert block.language in {"sh", "python", "text", "json", "yaml", ""}, block
        if block.language in {"", "text"}:
            assert not re.search(r"^\$? ?(fqt [a-z]+ |make [a-z]|docker |python -m|curl )", block.text, re.MULTILINE), (
                block
            )
    python = {block.page for block in _words(languages={"python"})}
    assert python == PYTHON | PYTHON_ELSEWHERE


def _inline() -> list[tuple[str, str]]:
    prose = {page: re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL) for page in PAGES}
    return [(page.name, code) for page, text in prose.items() for code in re.findall(r"`([^`\n]+)`", text)]


def test_commands_within_sentences_exist_with_their_options() -> None:
    known: dict[str, Any] = dict(commands(get_command(build_app()), "fqt"))
    groups = {name.rsplit(" ", 1)[0] for name in known}
    checked = 0
    for page, code in _inline():
        if not (found := re.match(r"(?:docker compose exec api )?fqt((?: [a-z][a-z-]*)*)", code)) or not found[1]:
            continue
        words = found[1].split()
        name = next((n for k in (2, 3, 1) if (n := " ".join(["fqt", *words[:k]])) in known), None)
        assert name is not None or f"fqt {words[0]}" in groups, f"{page}: {code}"
        options = {option for parameter in known[name].params for option in parameter.opts} if name else set()
        for option in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", code.split("|")[0]):
            assert name is None or option in options | {"--help"}, f"{page}: {code}"
        checked += 1
    assert checked > 40


def test_modules_within_sentences_exist() -> None:
    named = {module for _, code in _inline() for module in re.findall(r"python -m ([a-z_.]+)", code)}
    named |= {
        m for b in _words(languages={"sh"}) for line in b.commands for m in re.findall(r"python -m ([a-z_.]+)", line)
    }
    assert "documentation.pictures" in named
    for module in named:
        assert importlib.util.find_spec(module) is not None, module


def test_what_is_to_be_put_into_compose_files_is_taken(tmp_path: Path) -> None:
    compose = Path(sys.executable).parent / "docker-compose"
    page = ROOT / "docs" / "tutorials" / "compose.md"
    for number, block in enumerate(block for block in blocks(page) if block.language == "yaml"):
        override = tmp_path / f"{number}.yml"
        override.write_text(block.text)
        files = ["-f", str(ROOT / "docker-compose.yml"), "-f", str(override)]
        run = subprocess.run([compose, *files, "config"], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        merged, asked = yaml.safe_load(run.stdout), yaml.safe_load(block.text)
        for name, service in asked["services"].items():
            assert service["environment"].items() <= merged["services"][name]["environment"].items()
