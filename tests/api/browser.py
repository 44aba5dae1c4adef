"""A headless Chromium that remembers what a page asked for and what went wrong in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

AXE = Path(__file__).parents[2] / "build" / "axe-core-4.14.1" / "axe.min.js"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@contextmanager
def chromium() -> Iterator[Browser]:
    binary = next((found for name in _NAMES if (found := shutil.which(name))), None)
    assert binary, "no Chromium found: run tests/install_system.sh"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=_QUIET)
        yield browser
        browser.close()


@dataclass
class Visit:
    """One person's browser at one service. ``expected``: parts of messages of faults that are no faults there."""

    page: Page
    base: str
    expected: tuple[str, ...] = ()
    asked: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._said)

    def _said(self, line: ConsoleMessage) -> None:
        if line.type in {"error", "warning"}:
            self.faults.append(line.text)

    def sign_in(self, key: str) -> None:
        self.page.goto(self.base)
        self.page.fill("#key", key)
        self.page.press("#key", "Enter")
        self.page.wait_for_selector("#nav a")

    def go(self, view: str) -> None:
        """Go to a view by its address; the page stays loaded."""
        self.page.evaluate("hash => { location.hash = hash }", f"#{view}")

    def violations(self) -> list[str]:
        """What axe-core finds serious or critical in the view."""
        found: dict[str, Any] = self.page.evaluate("async () => (await axe.run()).violations")
        return [
            f"{row['id']}: {row['help']}: {node['html'][:200]} {node['failureSummary'][:300]}"
            for row in found  # type: ignore[attr-defined]
            if row["impact"] in {"serious", "critical"}
            for node in row["nodes"][:5]
        ]

    def check(self) -> None:
        """Nothing went wrong, and nothing was asked of anyone else."""
        unexpected = [fault for fault in self.faults if not any(part in fault for part in self.expected)]
        assert unexpected == [], unexpected
        assert {url for url in self.asked if not url.startswith((self.base, "data:", "blob:"))} == set()


@contextmanager
def visiting(browser: Browser, base: str, *, expected: tuple[str, ...] = (), **options: Any) -> Iterator[Visit]:
    """A new person's browser; what went wrong in it fails the test."""
    context = browser.new_context(**options)
    context.add_init_script(path=AXE)
    visit = Visit(context.new_page(), base, expected)
    yield visit
    visit.check()
    context.close()
