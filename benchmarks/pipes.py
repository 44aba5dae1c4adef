"""The parent's end of a :mod:`benchmarks.child` or :mod:`benchmarks.predict_child`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from benchmarks.errors import BenchmarkError
from benchmarks.setting import LIMITS, Setting
from fqt_core.config.malloc import for_training
from fqt_core.config.threads import WAITING

ROOT = Path(__file__).resolve().parent.parent
_PATIENCE_SECONDS = 10


def side_name(side: str, method: str) -> str:
    """What a side is called; ours by its method as well."""
    return f"{side} ({method})" if method else side


class Pipe:
    """A child process that is told what to do, one command at a time. Use it in a ``with`` statement."""

    def __init__(
        self, side: str, setting: Setting, *, method: str = "", keep_pages: bool, module: str = "benchmarks.child"
    ) -> None:
        """Start the child; it comes up while others do.

        Args:
            side: ``ours``, or one of the baselines.
            setting: what is measured; both sides are held to its instruction set where PyTorch can be.
            method: of ours.
            keep_pages: whether malloc keeps what is freed, and asks for huge pages, as in a worker's processes.
            module: what the child runs.
        """
        self.side = side
        self.name = side_name(side, method)
        spec = {"side": side, "setting": setting.to_json(), "method": method, "keep_pages": keep_pages}
        environment = {**os.environ, **LIMITS.get(setting.isa, {}), "OMP_NUM_THREADS": str(setting.threads)}
        environment["FQT_ISA"] = setting.isa if side == "ours" else "reference"
        if side == "ours":
            environment |= WAITING  # as in a worker's processes; PyTorch alone is fastest as it is
        if keep_pages:
            environment = for_training(environment)
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(spec)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Have a command done, and wait for the answer; see :meth:`hear`."""
        self.tell(command, **arguments)
        return self.hear()

    def tell(self, command: str, **arguments: Any) -> None:
        """Send a command, without waiting."""
        if self._process.stdin is None:
            raise RuntimeError("the child was started without pipes")
        with suppress(BrokenPipeError):  # then there is no answer, and a reason
            self._process.stdin.write(json.dumps({"do": command, **arguments}) + "\n")
            self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Wait for the answer to the last command.

        Raises:
            BenchmarkError: it failed, or the child is gone.
        """
        if self._process.stdout is None:
            raise RuntimeError("the child was started without pipes")
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError(f"{self.name}: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BenchmarkError(f"{self.name}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the child: its input ends, and so does it. Again is harmless."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines and code > 0 else f"the process ended with exit code {code}"

    def __enter__(self) -> Pipe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
