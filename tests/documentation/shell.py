"""The commands of the documentation: where they stand, and a shell of one reader in which they run as written."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_SERVERS = re.compile(r"^(\w+=\S+ )*fqt (api|worker|up)\b")
_AGAIN = ("export ", "set ", "source ")
_EXEC = "docker compose exec api "


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, and its text."""

    page: str
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """Its lines without comments."""
        lines = (re.sub(r"\s+# .*$", "", line).rstrip() for line in self.text.replace("\\\n", "").splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page."""
    found = re.findall(r"^```([a-z]*)[^\n]*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [Block(str(page.relative_to(ROOT)), language, text) for language, text in found]


@dataclass
class Reader:
    """Somebody who goes through the pages and types what they say, with what is theirs filled in.

    ``fills``: what a reader puts in place of what a page cannot know, such as ids and hosts. ``not_run``: beginnings of
    commands that are not run. ``done``: those that were; a command that stands on several pages is run once.
    """

    home: Path
    environment: dict[str, str]
    fills: dict[str, str]
    not_run: tuple[str, ...]
    done: set[str] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)
    servers: list[subprocess.Popen[str]] = field(default_factory=list)

    def folder(self, page: str) -> Path:
        """The folder in which a page's commands run."""
        return self.home / page.replace("/", "-").removesuffix(".md")

    def run(self, block: Block) -> str:
        """Run a block's commands, but for those that are not run or have been; what it prints."""
        if block.language == "python":
            return self._bash(block, f"python -W error - <<'END'\n{block.text}\nEND")
        told = ""
        for line in block.commands:
            if self._is_due(line):
                told += self._bash(block, line)
                self.done.add(line)
                self._note(told)
        return told

    def _note(self, told: str) -> None:
        """Remember the ids that a reader would copy."""
        for prefix in ("ds_", "job_"):
            if found := re.findall(rf"\b{prefix}[0-9A-Za-z]{{24,26}}\b", told):
                self.fills[f"{prefix}…"] = found[-1]

    def serve(self, block: Block, log: Path) -> None:
        """Start a block that ends with a server."""
        *before, last = block.commands
        assert _SERVERS.match(last)
        self.done.update(block.commands)
        with log.open("a") as out:
            process = subprocess.Popen(
                ["bash", "-eu", "-c", self._filled("\n".join([*before, f"exec env {last}"]))],
                cwd=self.folder(block.page), env=self.environment, stdout=out, stderr=subprocess.STDOUT, text=True,
                start_new_session=True,
            )  # fmt: skip
        self.servers.append(process)

    def _is_due(self, line: str) -> bool:
        if line.startswith(self.not_run):
            self.left_out.add(line)
            return False
        return line not in self.done or line.startswith(_AGAIN) or "$" in line

    def _bash(self, block: Block, script: str) -> str:
        """Run it; the variables that it sets stay for what follows, on whatever page."""
        state = self.home / "state"
        before = f"source {state}; " if state.exists() else ""  # variables are exported, so that they stay
        after = f"export -p | grep -v '^declare -[a-z]*r' > {state}"
        run = subprocess.run(
            ["bash", "-aeu", "-c", f"{before}{self._filled(script)}\n{after}"],
            cwd=self.folder(block.page), env=self.environment, capture_output=True, text=True, timeout=800, check=False,
        )  # fmt: skip
        assert run.returncode == 0, f"{block.page}: {script}\n{run.stdout}{run.stderr}"
        return run.stdout

    def _filled(self, script: str) -> str:
        for placeholder, value in self.fills.items():
            script = script.replace(placeholder, value)
        return script.replace(_EXEC, "")
