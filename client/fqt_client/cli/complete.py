"""What the shell completes from the service: quickly or not at all, and never with a word of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import get_args

from fqt_client.client import Client
from fqt_client.errors import FqtClientError
from fqt_client.models import JobState

PATIENCE_SECONDS = 1.0
MOST = 50

Completion = Callable[[str], list[tuple[str, str]]]


def _from_service(ask: Callable[[Client], Iterable[tuple[str, str]]]) -> Completion:
    """A completion from what ``ask`` gives; empty when the service is away, slow, or refuses."""

    def complete(incomplete: str) -> list[tuple[str, str]]:
        try:
            with Client(timeout=PATIENCE_SECONDS, retries=0) as client:
                return [entry for entry in ask(client) if entry[0].startswith(incomplete)]
        except FqtClientError:
            return []

    return complete


def _jobs(client: Client) -> list[tuple[str, str]]:
    page = client.jobs.list_page(limit=MOST)
    return [("last", "the newest job"), *((job.id, f"{job.state} {job.name or ''}".strip()) for job in page.data)]


def _datasets(client: Client) -> list[tuple[str, str]]:
    page = client.datasets.list_page(limit=MOST)
    return [("last", "the newest data set"), *((dataset.id, dataset.name or dataset.state) for dataset in page.data)]


def _sweeps(client: Client) -> list[tuple[str, str]]:
    page = client.sweeps.list_page(limit=MOST)
    return [("last", "the newest sweep"), *((sweep.id, f"{sweep.state} {sweep.name or ''}") for sweep in page.data)]


def _models(client: Client) -> list[tuple[str, str]]:
    page = client.models.list_page(limit=MOST)
    return [("last", "the newest model"), *((model.id, model.name or model.format) for model in page.data)]


def states(incomplete: str) -> list[str]:
    """The states of jobs."""
    return [state for state in get_args(JobState) if state.startswith(incomplete)]


jobs = _from_service(_jobs)
datasets = _from_service(_datasets)
sweeps = _from_service(_sweeps)
models = _from_service(_models)
methods = _from_service(lambda client: [(choice.name, choice.title) for choice in client.methods()])
architectures = _from_service(lambda client: [(choice.name, choice.title) for choice in client.architectures()])
