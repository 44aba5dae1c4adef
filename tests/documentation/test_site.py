"""The site as `make docs` builds it: whole, without network, and from disk in a real browser."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from documentation import links
from documentation.__main__ import build
from tests.api.browser import chromium

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make docs` builds it: any warning is an error, and so is a page that the navigation leaves out."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "documentation", "--out", str(folder)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return folder


def test_every_operation_has_its_place(site: Path) -> None:
    document = json.loads((ROOT / "api" / "openapi.json").read_text())
    text = {tag["name"]: (site / "api" / f"{tag['name']}.html").read_text() for tag in document["tags"]}
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            [tag] = operation["tags"]
            assert re.search(rf"{verb.upper()}\b.{{0,80}}{re.escape(path)}<", text[tag], re.DOTALL)
            for parameter in operation.get("parameters", ()):
                assert f"<code>{parameter['name']}</code>" in text[tag]
            for answer in operation["responses"].values():
                for code in answer.get("content", {}).get("application/problem+json", {}).get("examples", {}):
                    assert f'href="problems.html#{code}"' in text[tag]


def test_formulas_are_drawn_by_the_browser(site: Path) -> None:
    page = (site / "how-it-works.html").read_text()
    assert page.count("<math") > 50
    assert "arithmatex" not in page
    assert "\\mathrm" not in re.sub(r"<annotation.*?</annotation>", "", page)


def test_a_browser_opens_it_from_disk_and_searches_in_it(site: Path) -> None:
    asked: list[str] = []
    faults: list[str] = []
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text) if line.type in {"error", "warning"} else None)
        page.goto((site / "index.html").as_uri())
        page.locator(".md-search__input").press_sequentially("systematic")  # the theme listens to keys
        page.wait_for_selector(".md-search-result__item", state="attached")
        assert re.fullmatch(r"\d+ matching documents", page.inner_text(".md-search-result__meta"))
        page.set_viewport_size({"width": 390, "height": 800})
        page.goto((site / "how-it-works.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
    assert faults == []


def test_what_is_wrong_with_links_is_found(tmp_path: Path) -> None:
    (tmp_path / "good.html").write_text('<h1 id="top"></h1><a href="#top"></a><a href="https://example.org/"></a>')
    assert list(links.faults(tmp_path)) == []
    (tmp_path / "bad.html").write_text(
        '<a href="good.html#bottom"></a><a href="gone.html"></a><script src="https://example.org/x.js"></script>'
    )
    assert [fault.rpartition(": ")[2] for fault in links.faults(tmp_path)] == [
        "there is no such anchor", "there is no such file", "it is loaded from elsewhere",
    ]  # fmt: skip


def test_what_is_wrong_with_a_page_ends_the_build(tmp_path: Path) -> None:
    """A page that nobody put into the navigation, links that lead nowhere, and a list that would be no list."""
    (tmp_path / "docs").mkdir()
    wrong = "[a](missing.md), [b](index.md#no-such-place), [c](../no_such_source.py)\n- no list\n"
    for name, text in {"index.md": "# Start\n", "wrong.md": wrong, "lost.md": "# Lost\n"}.items():
        (tmp_path / "docs" / name).write_text(text)
    settings = {
        "INHERIT": str(ROOT / "mkdocs.yml"),
        "hooks": [str(ROOT / "documentation" / "hooks.py")],
        "nav": [{"All": ["index.md", "wrong.md", "api/"]}],
        "extra_css": [],
        "plugins": [],
    }
    (tmp_path / "mkdocs.yml").write_text(json.dumps(settings))
    found = "\n".join(build(tmp_path / "site", tmp_path / "mkdocs.yml"))
    for reason in ("lost.md", "missing.md", "no-such-place", "no_such_source.py", "an empty line before it"):
        assert reason in found


def test_links_between_files_of_the_repository_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^()\s#:]+)(?:#[^()\s]*)?\)", page.read_text()):
            found = (page.parent / target).resolve()
            assert found.exists(), f"{page.relative_to(ROOT)}: {target}"
