"""The status page: jobs, their loss and their log, live. Plain files; the page asks the API like any other client."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse

routes = APIRouter(include_in_schema=False)
_ASSETS = Path(__file__).parent / "page_assets"
_HEADERS = {"Cache-Control": "no-cache"}


@routes.get("/")
async def page() -> FileResponse:
    """Give the page."""
    return FileResponse(_ASSETS / "index.html", media_type="text/html", headers=_HEADERS)


@routes.get("/page.css")
async def style() -> FileResponse:
    """Give the style of the page and of the reference."""
    return FileResponse(_ASSETS / "page.css", media_type="text/css", headers=_HEADERS)


@routes.get("/page.js")
async def script() -> FileResponse:
    """Give the script of the page."""
    return FileResponse(_ASSETS / "page.js", media_type="text/javascript", headers=_HEADERS)
