"""Which jobs are meant: by state, name, network, method and data set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from typing import Annotated

import typer

from fqt_client.cli import complete
from fqt_client.client import Client
from fqt_client.models import Job

StateOption = Annotated[
    str | None, typer.Option("--state", help="Only jobs in this state.", autocompletion=complete.states)
]
NameOption = Annotated[
    str | None, typer.Option("--name", metavar="PATTERN", help="Only jobs of this name; * and ? stand for anything.")
]
MethodOption = Annotated[
    str | None, typer.Option("--method", "-m", help="Only of this method.", autocompletion=complete.methods)
]
NetworkOption = Annotated[
    str | None,
    typer.Option("--architecture", "-a", help="Only of this network.", autocompletion=complete.architectures),
]
DatasetOption = Annotated[
    str | None, typer.Option("--dataset", "-d", help="Only on this data set.", autocompletion=complete.datasets)
]


@dataclass(frozen=True)
class JobFilter:
    """What jobs must be like; None: anything will do. ``name`` is a pattern with ``*`` and ``?``."""

    state: str | None = None
    name: str | None = None
    method: str | None = None
    architecture: str | None = None
    dataset: str | None = None

    def __bool__(self) -> bool:
        return self != JobFilter()

    def find(self, client: Client, limit: int) -> Iterator[Job]:
        """The newest jobs that are like that."""
        return islice(filter(self._accepts, client.jobs.list(state=self.state)), limit)

    def _accepts(self, job: Job) -> bool:
        if self.name is not None and not fnmatchcase(job.name or "", self.name):
            return False
        asked = {"method": self.method, "architecture": self.architecture}
        if any(job.spec.get(part, {}).get("name") != name for part, name in asked.items() if name is not None):
            return False
        return self.dataset is None or job.spec.get("dataset") == self.dataset
