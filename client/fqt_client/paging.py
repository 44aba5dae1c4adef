"""Lists that come page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeVar

from fqt_client.models import Identified, Page, Resource
from fqt_client.transport import AsyncTransport

R = TypeVar("R", bound=Resource)
N = TypeVar("N", bound=Identified)


async def page(transport: AsyncTransport, kind: type[R], path: str, /, **params: Any) -> Page[R]:
    """One list object; ``params`` are those of its query, None for those that are left out."""
    return Page.from_json(kind, await transport.json("GET", path, params=params))


async def every(transport: AsyncTransport, kind: type[N], path: str, /, **params: Any) -> AsyncIterator[N]:
    """All entries of a list, each page fetched when the one before has been used up."""
    after: str | None = None
    while True:
        found = await page(transport, kind, path, after=after, **params)
        for entry in found.data:
            yield entry
        if not (found.has_more and found.data):
            return
        after = found.data[-1].id
