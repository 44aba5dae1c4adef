"""What every command needs: a client, and the job that a person means."""

from __future__ import annotations

from typing import Annotated

import typer

from fqt_client.cli import complete
from fqt_client.client import Client
from fqt_client.errors import NotFoundError

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]
JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="Id of the job; `last` is the newest one.", autocompletion=complete.jobs)
]


def connect() -> Client:
    """A client for the configured service.

    Raises:
        NotConfiguredError: there is none.
    """
    return Client()


def job_id(client: Client, text: str) -> str:
    """The id of the job that ``text`` means.

    Raises:
        NotFoundError: it is `last`, and there are no jobs.
    """
    if text != "last":
        return text
    page = client.jobs.list_page(limit=1)
    if not page.data:
        raise NotFoundError("there are no jobs yet", status=404, code="not_found")
    return page.data[0].id
