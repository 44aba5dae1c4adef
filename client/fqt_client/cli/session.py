"""What every command needs: a client, and the job that a person means."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from fqt_client.cli import complete
from fqt_client.client import Client
from fqt_client.errors import NotFoundError
from fqt_client.models import Dataset, Job, Listing, Model, Page
from fqt_client.sweeps import Sweep

LAST = "last"

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]
JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="Id of the job; `last` is the newest one.", autocompletion=complete.jobs)
]


SweepArgument = Annotated[
    str,
    typer.Argument(metavar="SWEEP", help="Id of the sweep; `last` is the newest one.", autocompletion=complete.sweeps),
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
    return text if text != LAST else _newest(client.jobs.list_page(limit=1), "jobs", "fqt submit --dataset digits")


def dataset_id(client: Client, text: str) -> str:
    """The id of the data set that ``text`` means.

    Raises:
        NotFoundError: it is `last`, and nothing was ever uploaded.
    """
    if text != LAST:
        return text
    # Built-in ones were never created; of the others the newest comes first.
    uploaded = (dataset for dataset in client.datasets.list() if dataset.created_at is not None)
    return _newest(Page(Listing(islice(uploaded, 1)), True), "data sets", "fqt datasets add DIR")


def model_id(client: Client, text: str) -> str:
    """The id of the model that ``text`` means.

    Raises:
        NotFoundError: it is `last`, and there are no models.
    """
    return text if text != LAST else _newest(client.models.list_page(limit=1), "models", "fqt submit --dataset digits")


def sweep_id(client: Client, text: str) -> str:
    """The id of the sweep that ``text`` means.

    Raises:
        NotFoundError: it is `last`, and there are no sweeps.
    """
    return text if text != LAST else _newest(client.sweeps.list_page(limit=1), "sweeps", "fqt sweep create --help")


def _newest(page: Page[Job] | Page[Sweep] | Page[Dataset] | Page[Model], what: str, how: str) -> str:
    if not page.data:
        raise NotFoundError(f"there are no {what} yet", status=404, code="not_found", remedy=f"make one: {how}")
    return page.data[0].id
