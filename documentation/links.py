"""The site as it was built: every link and anchor inside it leads somewhere, and nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_ADDRESSES = {"a": "href", "link": "href", "img": "src", "script": "src", "iframe": "src", "source": "src"}
_LOADED = {"link", "img", "script", "iframe", "source"}
_NOT_LOADED = {"canonical", "prev", "next", "alternate"}


class _Page(HTMLParser):
    """The addresses and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[tuple[str, str]] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See :class:`HTMLParser`."""
        given = dict(attrs)
        if anchor := given.get("id") or given.get("name"):
            self.anchors.add(anchor)
        address = given.get(_ADDRESSES.get(tag, ""))
        if address is not None:
            loaded = tag in _LOADED and not set((given.get("rel") or "").split()) & _NOT_LOADED
            self.addresses.append(("loads" if loaded else "links", address))


def faults(site: Path) -> Iterator[str]:
    """What is wrong with the links of a site, one line each."""
    pages = {path: _Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        if path.name == "404.html":  # its addresses are those of a server's root
            continue
        for kind, address in page.addresses:
            if reason := _fault(path, kind, address, pages):
                yield f"{path.relative_to(site)} {kind} {address}: {reason}"


def _fault(path: Path, kind: str, address: str, pages: dict[Path, _Page]) -> str | None:
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return "it is loaded from elsewhere" if kind == "loads" and parts.scheme != "data" else None
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_file():
        return "there is no such file"
    if parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
        return "there is no such anchor" if not parts.fragment.startswith("__") else None
    return None
