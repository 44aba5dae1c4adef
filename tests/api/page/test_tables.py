"""A table in the browser: dropped, described, learned from, compared with full precision, and asked for a row."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.api.browser import Visit, visiting
from tests.api.page.helpers import REFUSED, SOON, drop, points_of, state_is
from tests.api.process import Api
from tests.fqt_core.trees.tables import shops

LONG = 120_000


def test_from_a_dropped_table_to_the_prediction_of_a_row(browser: Browser, api: Api, key: str, tmp_path: Path) -> None:
    """Two fields are wrong on the way, and told."""
    with visiting(browser, f"http://127.0.0.1:{api.port}", expected=(REFUSED,)) as visit:
        visit.sign_in(key)
        _go_through(visit, tmp_path)


def _go_through(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    visit.go("/datasets")
    drop(page, "shops.csv", shops(tmp_path / "shops.csv", 400).read_bytes())
    card = page.locator(".dataset", has=page.get_by_role("heading", name="shops", exact=True))
    expect(card.locator(".state")).to_have_text("ready", timeout=SOON)
    expect(card).to_contain_text("town 0 (")
    expect(card.get_by_role("row")).to_have_count(6)

    card.get_by_role("link", name="Train on it").click()
    target = page.get_by_label("Target")
    expect(target).to_have_value("grade")
    expect(page.get_by_label("Batch size")).to_be_hidden()
    expect(page.get_by_role("radio", name="Full precision (FP32)")).to_be_hidden()
    expect(page.locator("#plan")).to_contain_text("3")
    page.get_by_label("Feature fraction").fill("0.5")
    expect(page.locator("#plan")).to_contain_text("One field is wrong")
    page.get_by_label("Feature fraction").fill("")
    page.get_by_label("Iterations").fill("20")
    expect(page.locator("#plan")).to_contain_text("20 (1 per epoch)")
    page.get_by_label("Name", exact=True).fill("shops by grade")
    page.locator("#submit").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("shops by grade")
    state_is(page, "succeeded")
    expect(page.get_by_text("In full precision")).to_be_visible(timeout=LONG)
    assert points_of(page) == 20
    assert points_of(page, "Rows per second") == 20
    expect(page.locator("#configuration")).to_contain_text("table.target")
    page.get_by_role("link", name="Use as template").click()
    expect(page.get_by_label("Target")).to_have_value("grade")
    expect(page.get_by_label("Iterations")).to_have_value("20")
    page.go_back()

    page.get_by_role("link", name="Try the model").click()
    expect(page.get_by_text("Predicts")).to_be_visible()
    expect(page.locator("#confusion")).to_contain_text("validation rows are right")
    page.get_by_label("size", exact=True).fill("big")
    page.locator("#predict").click()
    expect(page.get_by_role("alert")).to_contain_text("holds numbers", timeout=SOON)
    page.get_by_label("size", exact=True).fill("3")
    page.get_by_label("town", exact=True).fill("town 4")
    page.get_by_label("price", exact=True).fill("9.5")
    page.locator("#predict").click()
    expect(page.locator("#predictions strong")).to_have_text("good", timeout=SOON)
    visit.go("/models")
    expect(page.get_by_role("row", name="shops by grade")).to_contain_text("predict grade from 4 columns")
    visit.go("/jobs")
    expect(page.locator("#jobs")).to_contain_text("shops by grade")
