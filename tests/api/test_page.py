"""The status page in a real browser: it takes a key, shows jobs and follows one, and loads nothing from elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from jobs.store import Store
from tests.api.conftest import SPEC, Attempt
from tests.api.process import Api

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture
def page() -> Iterator[Page]:
    binary = next((found for name in _NAMES if (found := shutil.which(name))), None)
    assert binary, "no Chromium found: run tests/install_browser.sh"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=_QUIET)
        yield browser.new_page()
        browser.close()


def test_a_job_is_followed_live(api: Api, shared_store: Store, page: Page) -> None:
    with api.client() as client:
        job_id = client.post("/v1/jobs", json={**SPEC, "name": "<b>bold</b> & brave"}).json()["id"]
    attempt = Attempt(shared_store, job_id)
    attempt.steps(1, 20)
    attempt.report(
        ("log", {"level": "info", "message": "hello"}), progress={"step": 20, "total_steps": 40, "loss": 0.05}
    )
    base = f"http://127.0.0.1:{api.port}"
    asked: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)

    page.goto(base)
    page.fill("#key", "fqt_wrong")
    page.press("#key", "Enter")
    expect(page.locator("#refused")).to_contain_text("unknown, mistyped, revoked or expired")

    page.fill("#key", api.settings.key_path.read_text().strip())
    page.press("#key", "Enter")
    row = page.locator("#jobs tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("<b>bold</b> & brave")
    expect(row.locator(".state")).to_have_text("running")
    expect(row).to_contain_text("0.0500")
    expect(page.locator("#log")).to_contain_text("hello")
    expect(page.locator("#caption")).to_contain_text("steps 1 to 20")
    attempt.steps(21, 30)
    expect(page.locator("#caption")).to_contain_text("steps 1 to 30")
    attempt.succeed()
    expect(row.locator(".state")).to_have_text("succeeded")
    expect(page.locator("#log")).to_contain_text("running → succeeded")
    assert page.locator("polyline").get_attribute("points").count(",") == 30  # type: ignore[union-attr]

    page.click("#forget")
    expect(page.locator("#board")).to_be_hidden()
    page.goto(f"{base}/docs")
    expect(page.locator("h1")).to_contain_text("API reference")
    page.click("#cancel_job summary")
    expect(page.locator("#cancel_job")).to_contain_text("Cancelling twice is no error")
    assert [fault for fault in faults if "401" not in fault] == [], "but for the wrong key"
    assert {url for url in asked if not url.startswith((base, "data:"))} == set()
