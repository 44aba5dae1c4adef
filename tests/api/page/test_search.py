"""A search of a network's structure on the page: how it goes, what it finds, and a job that trains that."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.api.browser import Visit
from tests.api.page.helpers import points_of, wait_for_success
from tests.api.process import Api

SPEC = {
    "name": "how wide",
    "dataset": "digits",
    "architecture": {"name": "convnet", "width": 0.25, "image_size": 8, "channels": 1},
    "method": {"name": "qat"},
    "training": {"epochs": 3, "batch_size": 256},
    "search": {"name": "nce", "macs_budget": 0.9},
}


def test_a_search_shows_widths_and_budgets_and_hands_its_network_on(visit: Visit, api: Api) -> None:
    with api.client() as client:
        job_id = client.post("/v1/jobs", json=SPEC).json()["id"]
        wait_for_success(client, [job_id])
        job = client.get(f"/v1/jobs/{job_id}").json()
        told = client.get(f"/v1/jobs/{job_id}/metrics?kind=search").json()["data"]
    page, found = visit.page, job["record"]["structure"]
    reports = len(told[0]["steps"])
    assert reports > 3
    visit.go(f"/jobs/{job_id}")
    widths = page.locator(".heat", has_text="Widths by layer")
    expect(widths.locator(".plot")).to_have_attribute("data-reports", str(reports))
    shown = f"Expected channels, {len(found['widths'])} layers, {reports} reports"
    expect(widths.locator(".plot")).to_have_attribute("aria-label", re.compile(shown))
    assert points_of(page, "Share of the budget") == reports
    expect(page.get_by_role("heading", name="Gradient noise by layer")).to_have_count(0)
    layer, width = next(iter(found["widths"].items()))
    expect(page.locator("#structure tbody tr").first).to_have_text(f"{layer}{found['began'][layer]}{width}")
    assert visit.violations() == []
    page.get_by_role("link", name="Train this network").click()
    expect(page.locator("#plan dl")).to_be_visible()
    page.get_by_label("Name", exact=True).fill("as wide as that")
    with page.expect_response(
        lambda answer: answer.request.method == "POST" and answer.url.endswith("/v1/jobs")
    ) as sent:
        page.locator("#submit").click()
    made = sent.value.json()["spec"]
    assert (made["architecture"]["widths"], made["search"]) == (list(found["widths"].values()), None)
