"""The page: plain files, no build step. It asks the API like any other client, and loads nothing from elsewhere.

Each file of ``page_assets`` is a path of its own, so that the list of public paths stays exact. A view is a module in
``page_assets/views`` with a default export; it takes part by being there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

from api.routing import matches

_ASSETS = Path(__file__).parent / "page_assets"
_PREFIX = "/page/"
_VIEWS = f"{_PREFIX}views.js"
_MEDIA = {".css": "text/css", ".js": "text/javascript", ".html": "text/html"}
_FILES = sorted(path for path in _ASSETS.rglob("*") if path.suffix in _MEDIA and path.name != "index.html")
_PRELOADS = "<!-- modules -->"

routes = APIRouter(include_in_schema=False)


def _url(path: Path) -> str:
    return f"{_PREFIX}{path.relative_to(_ASSETS).as_posix()}"


def _index() -> str:
    """The page, which names all its modules: a browser loads them at once, not one import after the other."""
    modules = [_VIEWS, *(_url(path) for path in _FILES if path.suffix == ".js")]
    links = "\n  ".join(f'<link rel="modulepreload" href="{url}">' for url in modules)
    return (_ASSETS / "index.html").read_text(encoding="utf-8").replace(_PRELOADS, links)


def _views() -> str:
    """A module with every view there is."""
    names = [path.stem for path in _FILES if path.parent.name == "views"]
    imports = "".join(f'import view{n} from "./views/{name}.js";\n' for n, name in enumerate(names))
    return f"{imports}export default [{', '.join(f'view{n}' for n in range(len(names)))}];\n"


def _reader(path: Path) -> Callable[[], str]:
    return lambda: path.read_text(encoding="utf-8")


def _endpoint(content: Callable[[], str], media: str) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def answer(request: Request) -> Response:
        text = content()
        tag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if matches(request, tag):
            return Response(status_code=304, headers=headers)
        return Response(text, media_type=media, headers=headers)

    return answer


def _add() -> frozenset[str]:
    contents = {"/": (_index, "text/html"), _VIEWS: (_views, "text/javascript")}
    contents |= {_url(path): (_reader(path), _MEDIA[path.suffix]) for path in _FILES}
    for url, (content, media) in contents.items():
        routes.add_api_route(url, _endpoint(content, media), methods=["GET"], name=f"page {url}")
    return frozenset(contents)


PATHS = _add()
"""Every path of the page: they answer without a key."""
