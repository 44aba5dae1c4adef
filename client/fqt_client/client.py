"""The clients of one service: one that blocks, and one for asyncio, with the same methods."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from fqt_client.comparison import Alignment, Comparison
from fqt_client.config import ClientConfig, find_config
from fqt_client.datasets import AsyncDatasets, Datasets
from fqt_client.jobs import AsyncJobs, Jobs
from fqt_client.models import Choice, Listing
from fqt_client.paging import page
from fqt_client.paths import job_path, sweep_path
from fqt_client.registry import AsyncModels, Models
from fqt_client.sweeps import AsyncSweeps, Sweeps
from fqt_client.transport import AsyncTransport, Transport, connection_options, once
from fqt_client.wire import AsyncioWire, Blocking, BlockingWire, sync


class AsyncCatalog:
    """What a service says of itself."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def methods(self) -> Listing[Choice]:
        """The training methods that can be asked for, with the JSON schema of their options."""
        return (await page(self._transport, Choice, "/v1/methods")).data

    async def architectures(self) -> Listing[Choice]:
        """The networks that can be asked for, with the JSON schema of their options."""
        return (await page(self._transport, Choice, "/v1/architectures")).data

    async def compare(
        self,
        jobs: Sequence[str] = (),
        *,
        sweep: str | None = None,
        metrics: Sequence[str] = (),
        kinds: Sequence[str] = (),
        align: Alignment = "step",
        points: int = 100,
        equal: bool = False,
    ) -> Comparison:
        """Jobs side by side: the parameters that differ, least, greatest and last value of each metric, and curves.

        Args:
            jobs: ids, in the order of the answer.
            sweep: id of a sweep, whose jobs come after those.
            metrics: only these, e.g. ``["loss"]``; all if empty.
            kinds: only those reported per ``step``, ``epoch``, …; per step and epoch if empty.
            align: what curves are put on: ``step``, ``epoch``, or ``time`` (seconds of running).
            points: of each curve, at most so many; 0: no curves.
            equal: also tell the parameters that do not differ.

        Raises:
            NotFoundError: there is no such job or sweep.
            UnusableValueError: one cannot be the id of a job, or of a sweep.
            InvalidRequestError: neither jobs nor a sweep are named, or there are too many.
        """
        for path, named in ((job_path, jobs), (sweep_path, [sweep] if sweep is not None else [])):
            for name in named:
                path(name)  # what is no id is told as such, and not by the pattern that ids have
        asked: dict[str, Any] = {
            "jobs": list(jobs) or None,
            "sweep": sweep,
            "metrics": list(metrics) or None,
            "kinds": list(kinds) or None,
        }
        body = {name: value for name, value in asked.items() if value is not None}
        body |= {"align": align, "points": points, "equal": equal}
        return Comparison.from_json(await self._transport.json("POST", "/v1/compare", json=body, headers=once()))

    async def ready(self) -> dict[str, Any]:
        """What the service says of its own readiness (needs no key).

        Raises:
            ServerFaultError: it is not ready; ``problem`` says what is missing.
        """
        answer = await self._transport.json("GET", "/readyz")
        return dict(answer) if isinstance(answer, dict) else {}

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.wire.close()


class AsyncClient(AsyncCatalog):
    """Talks to one fqt service over HTTP, within asyncio: arguments and methods of :class:`Client`, to be awaited.

    >>> async with AsyncClient() as client:                                  # doctest: +SKIP
    ...     job = await client.jobs.submit("digits")
    ...     async for event in client.jobs.events(job.id): ...
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        retries: int = 4,
        http: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.config: ClientConfig = find_config(base_url, api_key)
        connection = httpx.AsyncClient(transport=http, **connection_options(self.config, timeout))
        super().__init__(AsyncTransport(self.config, AsyncioWire(connection, sleep), retries=retries))
        self.datasets = AsyncDatasets(self._transport)
        self.jobs = AsyncJobs(self._transport)
        self.models = AsyncModels(self._transport)
        self.sweeps = AsyncSweeps(self._transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Client(Blocking):
    """Talks to one fqt service over HTTP.

    >>> client = Client()                                                    # doctest: +SKIP
    >>> data = client.datasets.upload("photos/")                             # doctest: +SKIP
    >>> job = client.jobs.submit(data.id, method={"name": "fqt", "bits": 4})   # doctest: +SKIP
    >>> for event in client.jobs.events(job.id): ...                         # doctest: +SKIP
    >>> client.jobs.download(job.id, "model", "model.safetensors")           # doctest: +SKIP

    Args:
        base_url: where the service is; if None from ``FQT_API_URL`` or the file that `fqt up` writes.
        api_key: the key; if None from ``FQT_API_KEY`` or the same file.
        timeout: seconds without a byte after which a request is given up.
        retries: how often a safe or idempotent request is repeated.
        http: transport under httpx, for tests.
        sleep: waits that many seconds, for tests.

    Raises:
        NotConfiguredError: nothing says where the service is.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        retries: int = 4,
        http: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.config: ClientConfig = find_config(base_url, api_key)
        connection = httpx.Client(transport=http, **connection_options(self.config, timeout))
        core = AsyncTransport(self.config, BlockingWire(connection, sleep), retries=retries)
        super().__init__(AsyncCatalog(core))
        self._transport = Transport(core)
        self.datasets = Datasets(AsyncDatasets(core))
        self.jobs = Jobs(AsyncJobs(core))
        self.models = Models(AsyncModels(core))
        self.sweeps = Sweeps(AsyncSweeps(core))

    methods = sync(AsyncCatalog.methods)
    architectures = sync(AsyncCatalog.architectures)
    compare = sync(AsyncCatalog.compare)
    ready = sync(AsyncCatalog.ready)
    close = sync(AsyncCatalog.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
