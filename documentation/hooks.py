"""What MkDocs is told beyond ``mkdocs.yml``: generated pages, links that leave ``docs/``, formulas as MathML.

Markdown stays what one reads in the repository. Links to a file beside ``docs/`` work there; here those to pages that
are part of the site become links to them, and those to sources become their names. A link to what does not exist is a
warning, and every warning is an error of the build.
"""

from __future__ import annotations

import html
import json
import logging
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from documentation import commands, configuration, reference
from fqt_client.cli.main import build_app

ROOT = Path(__file__).resolve().parent.parent
OPENAPI = ROOT / "api" / "openapi.json"
PROJECT_PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "README.md": "index.md"}
"""Files beside ``docs/`` and the pages that they are, or are stood in for by."""

_LOG = logging.getLogger("mkdocs.plugins.documentation")
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
_FENCE = re.compile(r"^ *(```|~~~)")
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def _document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(OPENAPI.read_text())
    return found


FILLED_IN: dict[str, Callable[[], str]] = {
    "<!-- operations -->": lambda: reference.overview(_document()),
    "<!-- commands -->": lambda: commands.listing(build_app()),
    "<!-- settings -->": configuration.listing,
}
"""Places in pages that only the site fills in."""


def on_config(config: MkDocsConfig) -> None:
    """Put a page for each resource of the API into the navigation, where it names their folder."""
    tags = [tag["name"] for tag in _document()["tags"]]
    pages: list[Any] = [{tag.capitalize(): reference.page_of(tag)} for tag in tags]
    for section in config.nav or ():
        for entries in section.values():
            if isinstance(entries, list) and f"{reference.FOLDER}/" in entries:
                place = entries.index(f"{reference.FOLDER}/")
                entries[place : place + 1] = pages


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is generated, and the project's own pages."""
    made = reference.pages(_document())
    for source, path in PROJECT_PAGES.items():
        if source != "README.md":
            made[path] = _from_the_root((ROOT / source).read_text())
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Mend links that leave ``docs/``, and fill in what is generated."""
    del config, files
    for mark, table in FILLED_IN.items():
        if mark in markdown:
            markdown = markdown.replace(mark, table())
    return "\n".join(_checked_lines(markdown, page.file.src_uri))


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Formulas as MathML, which browsers draw by themselves."""
    del page, config, files
    return _FORMULA.sub(_mathml, content)


def _checked_lines(markdown: str, here: str) -> list[str]:
    lines: list[str] = []
    fenced = False
    for line in markdown.split("\n"):
        fenced ^= bool(_FENCE.match(line))
        before = lines[-1] if lines else ""
        if not fenced and re.match(r"[-*] |\d+\. ", line) and re.match(r"[^\s\-*<|#\d]", before):
            _LOG.warning("%s: a list begins without an empty line before it: %r", here, line)
        lines.append(line if fenced else _LINK.sub(lambda found: _link(found, here), line))
    return lines


def _link(found: re.Match[str], here: str) -> str:
    """A link that stays within the pages as it is; another one as what it means here."""
    picture, text, target = found.groups()
    path, _, anchor = target.partition("#")
    if picture or not path or ":" in path:
        return found[0]
    place = posixpath.normpath(posixpath.join("docs", posixpath.dirname(here), path))
    if place.startswith("docs/"):
        return found[0]
    if place in PROJECT_PAGES:
        way = posixpath.relpath(PROJECT_PAGES[place], posixpath.dirname(here) or ".")
        return f"[{text}]({way}{f'#{anchor}' if anchor else ''})"
    if not (ROOT / place).exists():
        _LOG.warning("%s: a link to %s, which does not exist", here, place)
    return f"{text} (`{place}`)"


def _from_the_root(markdown: str) -> str:
    """A page of the root as if it stood in ``docs/``."""
    return re.sub(r"\]\((?!https?:|#)(docs/)?", lambda found: "](" if found[1] else "](../", markdown)


def _mathml(found: re.Match[str]) -> str:
    kind, _, formula = found.groups()
    return convert(html.unescape(formula).strip(), display="block" if kind == "div" else "inline")
