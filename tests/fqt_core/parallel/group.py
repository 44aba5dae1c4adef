"""The processes of a run, without an agent that starts them anew."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


def together(module: str, processes: int, folder: Path, *arguments: str) -> list[Any]:
    """Run ``python -m module ARGUMENTS FILE`` as each rank of a group; the JSON that each one left in its file."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    fixed = {
        "WORLD_SIZE": processes,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "GLOO_SOCKET_IFNAME": "lo",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
    }
    running = []
    for rank in range(processes):
        own = {**fixed, "RANK": rank, "LOCAL_RANK": rank, "PYTHONPATH": ROOT, "OMP_NUM_THREADS": 1}
        environment = os.environ | {name: str(value) for name, value in own.items()}
        command = [sys.executable, "-W", "error", "-m", module, *arguments, str(folder / f"rank-{rank}")]
        running.append(subprocess.Popen(command, env=environment))
    assert [process.wait(120) for process in running] == [0] * processes
    return [json.loads((folder / f"rank-{rank}").read_bytes()) for rank in range(processes)]
